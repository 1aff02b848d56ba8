//! `docker_image_push`: an image that its registry has too.

use super::daemon::is_id;
use super::docker_arguments;
use super::reference::{Reference, is_tag, wrong_tag};
use super::registry::registry_of;
use super::values::from_json;
use crate::machine::Machine;
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

docker_arguments! {
    /// Push Docker images to registries.
    struct DockerImagePushArgs for "community.docker.docker_image_push" {
        /// The image; a tag in it beats `tag`.
        name: String { required },
        tag: String { default: "latest" },
    }
}

/// Pushes the image.
pub(crate) fn run_image_push(machine: &mut Machine, args: DockerImagePushArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, DockerImagePushArgs::SPEC.module) {
        return Ok(skipped);
    }
    if is_id(&args.name) {
        return Err(Failure::new("Cannot push an image by ID"));
    }
    let Reference { name, tag } = Reference::new(&args.name, &args.tag, "!")?;
    if is_id(&tag) {
        return Err(Failure::new("Cannot push an image by digest"));
    }
    if !is_tag(&tag) {
        return Err(wrong_tag(&tag, "!"));
    }
    let mut daemon = args.daemon(machine)?;
    let shown = format!("{name}:{tag}");
    let image = daemon
        .image(&shown)?
        .ok_or_else(|| Failure::new(format!("Cannot find image {shown}")))?;
    let pushed = daemon.push(&name, &tag).map_err(|failure| {
        let why = failure.msg;
        if !why.contains("unauthorized") {
            return Failure::new(format!("Error pushing image {shown}: {why}"));
        }
        let registry = registry_of(&name);
        let start = format!("{registry}/");
        let repository = name.strip_prefix(&start).unwrap_or(&name);
        let help = if why.contains("authentication required") {
            format!("Try logging into {registry} first.")
        } else {
            "Does the repository exist?".into()
        };
        Failure::new(format!(
            "Error pushing image {registry}/{repository}:{tag} - {why}. {help}"
        ))
    })?;
    Ok(Outcome::unchanged()
        .with_changed(pushed.changed)
        .with("actions", Value::list([format!("Pushed image {shown}")]))
        .with("image", from_json(image)))
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::Host;

    const NAME: &str = "community.docker.docker_image_push";

    fn daemon(said: &'static str) -> Host {
        Host::new(move |request| match request.split(' ').nth(1).unwrap() {
            "/images/host:5000/app:1/json" => r#"{"Id": "sha256:1"}"#.into(),
            path if path.starts_with("/images/host:5000/app/push") => said.into(),
            _ => String::new(),
        })
    }

    #[test]
    fn an_image_is_pushed_and_pushed_again_without_a_change() {
        let result = |changed| {
            format!(
                r#"{{"changed":{changed},"actions":["Pushed image host:5000/app:1"],"image":{{"Id":"sha256:1"}}}}"#
            )
        };
        let options = r#""name": "host:5000/app", "tag": "1""#;
        let host = daemon(r#"{"status": "Pushing"} {"status": "1: digest"}"#);
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":false,"msg":"remote module (community.docker.docker_image_push) does not support check mode","skipped":true}"#
        );
        assert_eq!(host.changes(), Vec::<String>::new());
        assert_eq!(host.run(NAME, options), result(true));
        assert_eq!(host.changes(), ["POST /images/host:5000/app/push?tag=1"]);
        let there = daemon(r#"{"status": "Layer already exists"} {"status": "1: digest"}"#);
        assert_eq!(there.run(NAME, options), result(false));
    }

    #[test]
    fn what_cannot_be_pushed_is_said() {
        let closed =
            daemon(r#"{"status": "a"} {"error": "unauthorized: authentication required"}"#);
        for (options, msg) in [
            (
                r#""name": "host:5000/app:1""#,
                "Error pushing image host:5000/app:1 - unauthorized: authentication required. Try logging into host:5000 first.",
            ),
            (r#""name": "other""#, "Cannot find image other:latest"),
            (
                r#""name": "other@sha256:0000000000000000000000000000000000000000000000000000000000000000""#,
                "Cannot push an image by digest",
            ),
        ] {
            let result = closed.run(NAME, options);
            assert_eq!(
                result,
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
