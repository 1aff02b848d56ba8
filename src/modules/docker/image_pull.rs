//! `docker_image_pull`: an image from its registry.

use serde_json::{Value as Json, json};

use super::daemon::{Daemon, is_id};
use super::docker_arguments;
use super::platform::Platform;
use super::reference::{Reference, id, told};
use super::values::from_json;
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::Value;

docker_arguments! {
    /// Pull Docker images from registries.
    struct DockerImagePullArgs for "community.docker.docker_image_pull" {
        /// The image; a tag or digest in it beats `tag`.
        name: String { required },
        tag: String { default: "latest" },
        /// The platform of the image, `linux/amd64`.
        platform: Option<String> {},
        /// When it is pulled.
        pull: String { default: "always", choices: ["always", "not_present"] },
    }
}

/// Pulls the image.
pub(crate) fn run_image_pull(machine: &mut Machine, args: DockerImagePullArgs) -> ModuleResult {
    if is_id(&args.name) {
        return Err(Failure::new("Cannot pull an image by ID"));
    }
    let reference = Reference::new(&args.name, &args.tag, "!")?;
    let mut daemon = args.daemon(machine)?;
    let found = daemon.image(&reference.shown())?;
    let (mut outcome, mut actions) = (Outcome::unchanged(), Vec::new());
    let (before, mut after) = (told(found.as_ref()), told(found.as_ref()));
    let is_wanted = match (&found, args.pull.as_str()) {
        (Some(image), "not_present") => is_of(&mut daemon, image, args.platform.as_deref())?,
        _ => false,
    };
    let mut image = found.clone().unwrap_or_else(|| json!({}));
    if !is_wanted {
        let Reference { name, tag } = &reference;
        actions.push(format!("Pulled image {name}:{tag}"));
        if daemon.machine.is_check() {
            outcome.changed = true;
            after = json!({"id": "unknown"});
        } else {
            daemon.pull(name, tag, args.platform.as_deref())?;
            image = daemon
                .image(&reference.shown())?
                .unwrap_or_else(|| json!({}));
            outcome.changed = found.is_none_or(|found| id(&found) != id(&image));
            after = told(Some(&image));
        }
    }
    Ok(outcome
        .with("actions", Value::list(actions))
        .with("image", from_json(image))
        .only_diff(Diff::new(from_json(before), from_json(after))))
}

/// Tells whether an image is of the platform that is asked for.
fn is_of(daemon: &mut Daemon<'_>, image: &Json, platform: Option<&str>) -> Result<bool, Failure> {
    let Some(platform) = platform else {
        return Ok(true);
    };
    let host = daemon.get("/info")?;
    let text = |of: &Json, name: &str| of.get(name).and_then(Json::as_str).map(str::to_owned);
    let of_host = |name| text(&host, name).unwrap_or_default();
    let (system, processor) = (of_host("OSType"), of_host("Architecture"));
    let wanted = Platform::read(platform, &system, &processor)?;
    let found = Platform::told(
        &text(image, "Os").unwrap_or(system),
        &text(image, "Architecture").unwrap_or(processor),
        &text(image, "Variant").unwrap_or_default(),
    );
    Ok(wanted == found)
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_image_pull";

    /// A daemon whose registry has the image `new` under each name but `none`.
    fn daemon() -> Host {
        let there: State = State::default();
        Host::new(move |request| {
            let mut there = there.lock().unwrap();
            let path = request.split(' ').nth(1).unwrap();
            if path.starts_with("/images/create?fromImage=none") {
                return r#"{"status": "a"} {"error": "no such image"}"#.into();
            }
            if path.starts_with("/images/create") {
                there.insert("id".into(), "new".into());
                return r#"{"status": "a"} {"status": "b"}"#.into();
            }
            match (path, there.get("id")) {
                ("/info", _) => r#"{"OSType": "linux", "Architecture": "x86_64"}"#.into(),
                (_, Some(id)) => {
                    format!(r#"{{"Id": "sha256:{id}", "Os": "linux", "Architecture": "amd64"}}"#)
                }
                _ => String::new(),
            }
        })
    }

    #[test]
    fn an_image_is_pulled_and_pulled_again_without_a_change() {
        let host = daemon();
        let options = r#""name": "app:1""#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"actions":["Pulled image app:1"],"image":{},"diff":{"before":{"exists":false},"after":{"id":"unknown"}}}"#
        );
        assert_eq!(host.changes(), Vec::<String>::new());
        let image = r#"{"Id":"sha256:new","Os":"linux","Architecture":"amd64"}"#;
        let pulled = |changed: bool, before: &str| {
            format!(
                r#"{{"changed":{changed},"actions":["Pulled image app:1"],"image":{image},"diff":{{"before":{before},"after":{{"id":"sha256:new"}}}}}}"#
            )
        };
        assert_eq!(host.run(NAME, options), pulled(true, r#"{"exists":false}"#));
        assert_eq!(
            host.run(NAME, options),
            pulled(false, r#"{"id":"sha256:new"}"#)
        );
        assert_eq!(host.undo_steps(), ["rmi app:1", "tag sha256:new app:1"]);
    }

    #[test]
    fn an_image_that_is_there_is_pulled_only_for_another_platform() {
        let host = daemon();
        host.run(NAME, r#""name": "app", "pull": "not_present""#);
        let asked = |platform: &str| {
            let options = format!(r#""name": "app", "pull": "not_present"{platform}"#);
            let before = host.changes().len();
            let result = host.run(NAME, &options);
            assert!(result.starts_with(r#"{"changed":false,"#), "{result}");
            host.changes().len() - before
        };
        assert_eq!(asked(""), 0);
        assert_eq!(asked(r#", "platform": "linux/amd64""#), 0);
        assert_eq!(asked(r#", "platform": "arm64""#), 1);
        assert!(host.changes()[1].ends_with("&platform=arm64"));
    }

    #[test]
    fn what_cannot_be_pulled_is_said() {
        let host = daemon();
        let id = format!(r#""name": "sha256:{}""#, "0".repeat(64));
        for (options, msg) in [
            (r#""name": "none""#, "Error pulling none - no such image"),
            (&id, "Cannot pull an image by ID"),
            (
                r#""name": "a", "tag": "b c""#,
                r#"\"b c\" is not a valid docker tag!"#,
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
