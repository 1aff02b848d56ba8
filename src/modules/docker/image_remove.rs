//! `docker_image_remove`: an image that is not there any more.

use serde_json::{Value as Json, json};

use super::daemon::is_id;
use super::docker_arguments;
use super::reference::{Reference, id};
use super::values::from_json;
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::Value;

docker_arguments! {
    /// Remove Docker images.
    struct DockerImageRemoveArgs for "community.docker.docker_image_remove" {
        /// The image by name or ID; a tag or digest in it beats `tag`.
        name: String { required },
        tag: String { default: "latest" },
        /// Remove an image that is in use, and all its names.
        force: bool { default: "false" },
        /// Remove parents that have no name either.
        prune: bool { default: "true" },
    }
}

/// Removes the image.
pub(crate) fn run_image_remove(machine: &mut Machine, args: DockerImageRemoveArgs) -> ModuleResult {
    let reference = Reference::new(&args.name, &args.tag, "")?;
    let mut daemon = args.daemon(machine)?;
    let shown = reference.shown();
    let wants_diff = daemon.machine.wants_diff();
    let with_diff = |outcome: Outcome, before: Json, after: Json| {
        if wants_diff {
            outcome.only_diff(Diff::new(from_json(before), from_json(after)))
        } else {
            outcome
        }
    };
    let Some(image) = daemon.image(&shown)? else {
        let outcome = told(false, Vec::new(), json!({}), Gone::default());
        let state = state_of(None);
        return Ok(with_diff(outcome, state.clone(), state));
    };
    let before = state_of(Some(&image));
    let query = format!("force={}&noprune={}", args.force, !args.prune);
    let failed =
        |failure: Failure| Failure::new(format!("Error removing image {shown} - {}", failure.msg));
    let done = daemon
        .remove_image(&shown, &image, &query)
        .map_err(failed)?;
    let (gone, after) = match done {
        Some(said) => {
            let after = if wants_diff {
                daemon.image(id(&image))?
            } else {
                None
            };
            (Gone::read(&said), state_of(after.as_ref()))
        }
        None => predicted(&reference, &image, args.force)?,
    };
    let actions = vec![format!("Removed image {shown}")];
    Ok(with_diff(told(true, actions, image, gone), before, after))
}

/// What the daemon said it took away.
#[derive(Default)]
struct Gone {
    deleted: Vec<String>,
    untagged: Vec<String>,
}

impl Gone {
    fn read(said: &Json) -> Self {
        let named = |name: &str| {
            let entries = said.as_array().into_iter().flatten();
            let mut names: Vec<String> = entries
                .filter_map(|entry| entry.get(name)?.as_str().map(str::to_owned))
                .collect();
            names.sort_unstable();
            names
        };
        Self {
            deleted: named("Deleted"),
            untagged: named("Untagged"),
        }
    }
}

/// Returns what the daemon would say, and what would be left.
fn predicted(reference: &Reference, image: &Json, force: bool) -> Result<(Gone, Json), Failure> {
    let shown = reference.shown();
    let (tags, digests) = (names(image, "RepoTags"), names(image, "RepoDigests"));
    let mut gone = Gone::default();
    if is_id(&reference.name) {
        gone.deleted.push(id(image).to_owned());
        gone.untagged = [tags, digests].concat();
        gone.untagged.sort_unstable();
        if !force && !gone.untagged.is_empty() {
            return Err(Failure::new(
                "Cannot delete image by ID that is still in use - use force=true",
            ));
        }
        return Ok((gone, state_of(None)));
    }
    let (last, list) = if is_id(&reference.tag) {
        (tags.is_empty() && digests.len() < 2, "digests")
    } else {
        (tags.len() < 2 && digests.is_empty(), "tags")
    };
    if last {
        gone.deleted.push(id(image).to_owned());
    }
    let mut after = state_of(Some(image));
    if let Some(left) = after.get_mut(list).and_then(Json::as_array_mut) {
        left.retain(|name| name != shown.as_str());
    }
    gone.untagged.push(shown);
    Ok((gone, after))
}

fn names(image: &Json, list: &str) -> Vec<String> {
    let names = image.get(list).and_then(Json::as_array);
    let names = names.into_iter().flatten();
    let mut names: Vec<String> = names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names
}

fn state_of(image: Option<&Json>) -> Json {
    match image {
        Some(image) => json!({
            "exists": true, "id": id(image), "tags": names(image, "RepoTags"),
            "digests": names(image, "RepoDigests"),
        }),
        None => json!({"exists": false}),
    }
}

fn told(changed: bool, actions: Vec<String>, image: Json, gone: Gone) -> Outcome {
    Outcome::unchanged()
        .with_changed(changed)
        .with("actions", Value::list(actions))
        .with("image", from_json(image))
        .with("deleted", Value::list(gone.deleted))
        .with("untagged", Value::list(gone.untagged))
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_image_remove";

    /// A daemon with one image, whose only name is `app:1`.
    fn daemon(digests: &'static str) -> Host {
        let gone: State = State::default();
        Host::new(move |request| {
            let mut gone = gone.lock().unwrap();
            if request.starts_with("DELETE ") {
                gone.insert("app".into(), String::new());
                return r#"[{"Untagged": "app:1"}, {"Deleted": "sha256:a"}]"#.into();
            }
            if gone.is_empty() && !request.contains("none") {
                return format!(
                    r#"{{"Id": "sha256:a", "RepoTags": ["app:1"], "RepoDigests": [{digests}]}}"#
                );
            }
            String::new()
        })
    }

    #[test]
    fn an_image_goes_once() {
        let host = daemon("");
        let options = r#""name": "app:1", "force": true, "prune": false"#;
        let done = r#"{"changed":true,"actions":["Removed image app:1"],"image":{"Id":"sha256:a","RepoTags":["app:1"],"RepoDigests":[]},"deleted":["sha256:a"],"untagged":["app:1"]}"#;
        assert_eq!(host.predict(NAME, options), done);
        assert_eq!(host.run(NAME, options), done);
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"actions":[],"image":{},"deleted":[],"untagged":[]}"#
        );
        assert_eq!(
            host.changes(),
            ["DELETE /images/app:1?force=true&noprune=true"]
        );
        assert_eq!(host.undo_steps(), Vec::<String>::new());
    }

    #[test]
    fn what_has_a_digest_can_be_pulled_again() {
        let host = daemon(r#""app@sha256:d""#);
        host.run(NAME, r#""name": "app:1""#);
        assert_eq!(host.undo_steps(), ["pull app@sha256:d"]);
    }

    #[test]
    fn a_name_is_not_taken_from_an_image_by_its_id() {
        let host = daemon("");
        let options = format!(r#""name": "sha256:{}""#, "0".repeat(64));
        assert_eq!(
            host.predict(NAME, &options),
            r#"{"failed":true,"changed":false,"msg":"Cannot delete image by ID that is still in use - use force=true"}"#
        );
        assert_eq!(
            host.run(NAME, r#""name": "none", "tag": "b c""#),
            r#"{"failed":true,"changed":false,"msg":"\"b c\" is not a valid docker tag"}"#
        );
    }
}
