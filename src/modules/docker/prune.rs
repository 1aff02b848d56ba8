//! `docker_prune`: what nobody uses goes: containers, images, networks, volumes, caches of builds.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::daemon::quoted;
use super::docker_arguments;
use super::values::from_json;
use crate::arguments::size;
use crate::machine::{Effect, Machine};
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

docker_arguments! {
    /// Allows to prune various docker objects.
    struct DockerPruneArgs for "community.docker.docker_prune" {
        /// Prune containers that do not run.
        containers: bool { default: "false" },
        /// Which of them.
        containers_filters: Option<Map> {},
        /// Prune images without a name.
        images: bool { default: "false" },
        images_filters: Option<Map> {},
        /// Prune networks without a container.
        networks: bool { default: "false" },
        networks_filters: Option<Map> {},
        /// Prune volumes without a container.
        volumes: bool { default: "false" },
        volumes_filters: Option<Map> {},
        /// Prune what builds keep.
        builder_cache: bool { default: "false" },
        /// All of it, also what was used lately.
        builder_cache_all: bool { default: "false" },
        builder_cache_filters: Option<Map> {},
        /// How much of it stays, `10G`.
        builder_cache_keep_storage: Option<String> {},
    }
}

/// Prunes what the options name.
pub(crate) fn run_prune(machine: &mut Machine, args: DockerPruneArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, DockerPruneArgs::SPEC.module) {
        return Ok(skipped);
    }
    let kept = args.builder_cache_keep_storage.as_ref().map(|text| {
        size::parse(text, None, false).ok_or_else(|| {
            Failure::new(format!(
                "Error while parsing value of builder_cache_keep_storage: human_to_bytes() can't \
                 interpret following string: {text}"
            ))
        })
    });
    let kept = kept.transpose()?;
    let mut builds = String::new();
    if args.builder_cache_all {
        builds += "&all=true";
    }
    if let Some(bytes) = kept {
        builds += &format!("&keep-storage={bytes}");
    }
    let mut outcome = Outcome::unchanged();
    let mut daemon = args.daemon(machine)?;
    for (is_meant, name, filters, of_api, gone, more) in [
        (
            args.containers,
            "containers",
            &args.containers_filters,
            "containers",
            "ContainersDeleted",
            "",
        ),
        (
            args.images,
            "images",
            &args.images_filters,
            "images",
            "ImagesDeleted",
            "",
        ),
        (
            args.networks,
            "networks",
            &args.networks_filters,
            "networks",
            "NetworksDeleted",
            "",
        ),
        (
            args.volumes,
            "volumes",
            &args.volumes_filters,
            "volumes",
            "VolumesDeleted",
            "",
        ),
        (
            args.builder_cache,
            "builder_cache",
            &args.builder_cache_filters,
            "build",
            "CachesDeleted",
            builds.as_str(),
        ),
    ] {
        if !is_meant {
            continue;
        }
        let filters = quoted(&words(filters.as_ref()).to_string());
        let path = format!("/{of_api}/prune?filters={filters}{more}");
        let effect = Effect::opaque(format!("prune {name}"));
        let said = daemon.post(&path, None, effect)?.unwrap_or_default();
        let list = match said.get(gone) {
            Some(Json::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        let space = said.get("SpaceReclaimed").and_then(Json::as_i64);
        outcome.changed |= !list.is_empty() || space.is_some_and(|space| space > 0);
        let is_build = name == "builder_cache";
        // An older daemon says nothing of what it pruned of builds.
        if !is_build || said.get(gone).is_some() {
            let name = if is_build {
                "builder_cache_caches_deleted"
            } else {
                name
            };
            outcome = outcome.with(name, from_json(list.into()));
        }
        if name != "networks" {
            outcome = outcome.with(&format!("{name}_space_reclaimed"), space.unwrap_or(0));
        }
    }
    Ok(outcome)
}

/// Returns filters as the API takes them: lists of texts.
fn words(filters: Option<&Map>) -> Json {
    let word = |value: &Value| match value {
        Value::Bool(flag) => flag.to_string(),
        value => value.to_string(),
    };
    let mut words = JsonMap::new();
    for (name, value) in filters.into_iter().flatten() {
        let list: Vec<String> = match value {
            Value::List(values) => values.iter().map(word).collect(),
            value => vec![word(value)],
        };
        words.insert(name.to_string(), json!(list));
    }
    words.into()
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_prune";

    /// A daemon with one container that can go.
    fn daemon() -> Host {
        let gone: State = State::default();
        Host::new(move |request| {
            let mut gone = gone.lock().unwrap();
            let path = request.split(' ').nth(1).unwrap();
            match path.split('?').next().unwrap() {
                "/containers/prune" if gone.insert("c".into(), String::new()).is_none() => {
                    r#"{"ContainersDeleted": ["c1"], "SpaceReclaimed": 7}"#.into()
                }
                "/containers/prune" => r#"{"ContainersDeleted": null, "SpaceReclaimed": 0}"#.into(),
                "/networks/prune" => r#"{"NetworksDeleted": null}"#.into(),
                "/build/prune" => r#"{"CachesDeleted": [], "SpaceReclaimed": 0}"#.into(),
                _ => "!409 {\"message\": \"a prune operation is already running\"}".into(),
            }
        })
    }

    #[test]
    fn what_nobody_uses_goes_once() {
        let host = daemon();
        let options = r#""containers": true, "networks": true, "containers_filters": {"until": "24h", "label": ["a", "b"]}, "builder_cache": true, "builder_cache_all": true, "builder_cache_keep_storage": "1K""#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":false,"msg":"remote module (community.docker.docker_prune) does not support check mode","skipped":true}"#
        );
        assert_eq!(host.changes(), Vec::<String>::new());
        let rest =
            r#""networks":[],"builder_cache_caches_deleted":[],"builder_cache_space_reclaimed":0}"#;
        assert_eq!(
            host.run(NAME, options),
            format!(
                r#"{{"changed":true,"containers":["c1"],"containers_space_reclaimed":7,{rest}"#
            )
        );
        assert_eq!(
            host.run(NAME, options),
            format!(r#"{{"changed":false,"containers":[],"containers_space_reclaimed":0,{rest}"#)
        );
        assert_eq!(
            host.changes()[..3],
            [
                "POST /containers/prune?filters=%7B%22until%22:%5B%2224h%22%5D%2C%22label%22:%5B%22a%22%2C%22b%22%5D%7D",
                "POST /networks/prune?filters=%7B%7D",
                "POST /build/prune?filters=%7B%7D&all=true&keep-storage=1024",
            ]
        );
    }

    #[test]
    fn what_cannot_be_pruned_is_said() {
        let host = daemon();
        for (options, msg) in [
            (
                r#""volumes": true"#,
                "409 Client Error: a prune operation is already running",
            ),
            (
                r#""builder_cache_keep_storage": "lots""#,
                "Error while parsing value of builder_cache_keep_storage: human_to_bytes() can't interpret following string: lots",
            ),
        ] {
            assert_eq!(
                host.run(NAME, options),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
