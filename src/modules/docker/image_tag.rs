//! `docker_image_tag`: further names of an image.

use serde_json::{Value as Json, json};

use super::daemon::is_id;
use super::docker_arguments;
use super::reference::{Reference, id, is_tag};
use super::values::from_json;
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::Value;

docker_arguments! {
    /// Tag Docker images with new names and/or tags.
    struct DockerImageTagArgs for "community.docker.docker_image_tag" {
        /// The image by name or ID; a tag in it beats `tag`.
        name: String { required },
        tag: String { default: "latest" },
        /// The names it gets; those without a tag get that of `tag`.
        repository: Vec<String> { required },
        /// What becomes of another image that has such a name.
        existing_images: String { default: "overwrite", choices: ["keep", "overwrite"] },
    }
}

/// Gives the image its names.
pub(crate) fn run_image_tag(machine: &mut Machine, args: DockerImageTagArgs) -> ModuleResult {
    let reference = Reference::new(&args.name, &args.tag, "")?;
    let mut wanted = Vec::new();
    for (index, name) in args.repository.iter().enumerate() {
        let number = index + 1;
        if is_id(name) {
            return Err(Failure::new(format!(
                "repository[{number}] must not be an image ID; got: {name}"
            )));
        }
        let new = Reference::new(name, &args.tag, "")?;
        if !new.tag.is_empty() && !is_tag(&new.tag) {
            return Err(Failure::new(format!(
                "repository[{number}] must not have a digest; got: {name}"
            )));
        }
        wanted.push(new);
    }
    let mut daemon = args.daemon(machine)?;
    let image = daemon.image(&reference.shown())?.ok_or_else(|| {
        let Reference { name, tag } = &reference;
        Failure::new(if tag.is_empty() {
            format!("Error inspecting image ID {name} - no such image")
        } else {
            format!("Cannot find image {name}:{tag}")
        })
    })?;
    let own = id(&image).to_owned();
    let mut outcome = Outcome::unchanged();
    let (mut actions, mut tagged) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for new in &wanted {
        let Reference { name, tag } = new;
        let old = daemon.image(&new.shown())?;
        let was = old.as_ref().map(|old| id(old).to_owned());
        let (todo, why) = match &was {
            Some(was) if *was == own => (
                false,
                format!("target image already exists ({was}) and is as expected"),
            ),
            Some(was) if args.existing_images == "keep" => (
                false,
                format!("target image already exists ({was}) and is not as expected, but kept"),
            ),
            Some(was) => (
                true,
                format!("target image existed ({was}) and was not as expected"),
            ),
            None => (true, "target image did not exist".into()),
        };
        before.push(named(new, old.as_ref()));
        after.push(named(new, if todo { Some(&image) } else { old.as_ref() }));
        if todo {
            daemon
                .tag(&own, name, tag, was.as_deref())
                .map_err(|failure| {
                    let why = failure.msg;
                    Failure::new(format!(
                        "Error: failed to tag image as {name}:{tag} - {why}"
                    ))
                })?;
            outcome.changed = true;
            actions.push(format!("Tagged image {own} as {name}:{tag}: {why}"));
            tagged.push(format!("{name}:{tag}"));
        } else {
            actions.push(format!("Not tagged image {own} as {name}:{tag}: {why}"));
        }
    }
    let images = |list: Vec<Json>| from_json(json!({"images": list}));
    Ok(outcome
        .with("actions", Value::list(actions))
        .with("image", from_json(image))
        .with("tagged_images", Value::list(tagged))
        .only_diff(Diff::new(images(before), images(after))))
}

fn named(reference: &Reference, image: Option<&Json>) -> Json {
    let mut told = super::reference::told(image);
    told["name"] = reference.name.as_str().into();
    told["tag"] = reference.tag.as_str().into();
    told
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_image_tag";

    /// A daemon with the images `app:1` and `old:2`.
    fn daemon() -> Host {
        let names: State = State::default();
        names.lock().unwrap().extend([
            ("app:1".to_owned(), "sha256:a".to_owned()),
            ("old:2".to_owned(), "sha256:o".to_owned()),
        ]);
        Host::new(move |request| {
            let mut names = names.lock().unwrap();
            let (verb, path) = request.split_once(' ').unwrap();
            let name = path.trim_start_matches("/images/");
            if verb == "GET" {
                let found = names.get(name.trim_end_matches("/json"));
                return found.map_or(String::new(), |id| format!(r#"{{"Id": "{id}"}}"#));
            }
            let (id, query) = name.split_once("/tag?repo=").unwrap();
            names.insert(query.replace("&tag=", ":"), id.to_owned());
            "{}".into()
        })
    }

    #[test]
    fn an_image_gets_names_once() {
        let host = daemon();
        let options = r#""name": "app:1", "repository": ["new", "old:2"]"#;
        let done = r#"{"changed":true,"actions":["Tagged image sha256:a as new:latest: target image did not exist","Tagged image sha256:a as old:2: target image existed (sha256:o) and was not as expected"],"image":{"Id":"sha256:a"},"tagged_images":["new:latest","old:2"],"diff":{"before":{"images":[{"exists":false,"name":"new","tag":"latest"},{"id":"sha256:o","name":"old","tag":"2"}]},"after":{"images":[{"id":"sha256:a","name":"new","tag":"latest"},{"id":"sha256:a","name":"old","tag":"2"}]}}}"#;
        assert_eq!(host.predict(NAME, options), done);
        assert_eq!(host.changes(), Vec::<String>::new());
        assert_eq!(host.run(NAME, options), done);
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"actions":["Not tagged image sha256:a as new:latest: target image already exists (sha256:a) and is as expected","Not tagged image sha256:a as old:2: target image already exists (sha256:a) and is as expected"],"image":{"Id":"sha256:a"},"tagged_images":[],"diff":{"before":{"images":[{"id":"sha256:a","name":"new","tag":"latest"},{"id":"sha256:a","name":"old","tag":"2"}]},"after":{"images":[{"id":"sha256:a","name":"new","tag":"latest"},{"id":"sha256:a","name":"old","tag":"2"}]}}}"#
        );
        assert_eq!(host.undo_steps(), ["rmi new:latest", "tag sha256:o old:2"]);
    }

    #[test]
    fn another_image_can_keep_its_name() {
        let host = daemon();
        let options = r#""name": "app:1", "repository": ["old:2"], "existing_images": "keep""#;
        let result = host.run(NAME, options);
        assert!(
            result.contains(
                "target image already exists (sha256:o) and is not as expected, but kept"
            )
        );
        assert_eq!(host.changes(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_tagged_is_said() {
        let host = daemon();
        for (options, msg) in [
            (
                r#""name": "none", "repository": ["a"]"#,
                "Cannot find image none:latest",
            ),
            (
                r#""name": "app:1", "repository": ["a@sha256:00"]"#,
                "repository[1] must not have a digest; got: a@sha256:00",
            ),
            (
                r#""name": "app:1""#,
                "missing required arguments: repository",
            ),
        ] {
            let result = host.run(NAME, options);
            assert_eq!(
                result,
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
