//! `docker_container_info`, `docker_image_info`, `docker_network_info`, `docker_volume_info` and
//! `docker_host_info`: what the daemon knows.

use serde_json::{Value as Json, json};

use super::daemon::{is_id, joined, quoted, split_tag};
use super::docker_arguments;
use super::values::from_json;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

docker_arguments! {
    /// Retrieves facts about a Docker container.
    struct DockerContainerInfoArgs for "community.docker.docker_container_info" {
        /// The container's name or ID.
        name: String { required },
    }
}

docker_arguments! {
    /// Inspect Docker images.
    struct DockerImageInfoArgs for "community.docker.docker_image_info" {
        /// Names or IDs; all images without any.
        name: Option<Vec<String>> {},
    }
}

docker_arguments! {
    /// Retrieves facts about a Docker network.
    struct DockerNetworkInfoArgs for "community.docker.docker_network_info" {
        /// The network's name or ID.
        name: String { required },
    }
}

docker_arguments! {
    /// Retrieve facts about Docker volumes.
    struct DockerVolumeInfoArgs for "community.docker.docker_volume_info" {
        name: String { required, aliases: ["volume_name"] },
    }
}

docker_arguments! {
    /// Retrieves facts about the Docker host and lists of objects of its services.
    struct DockerHostInfoArgs for "community.docker.docker_host_info" {
        /// List containers too.
        containers: bool { default: "false" },
        /// With containers that do not run.
        containers_all: bool { default: "false" },
        containers_filters: Option<Map> {},
        images: bool { default: "false" },
        images_filters: Option<Map> {},
        networks: bool { default: "false" },
        networks_filters: Option<Map> {},
        volumes: bool { default: "false" },
        volumes_filters: Option<Map> {},
        /// Tell how much space all of it takes.
        disk_usage: bool { default: "false" },
        /// Return all that the daemon tells of each.
        verbose_output: bool { default: "false" },
    }
}

/// Tells of one container.
pub(crate) fn run_container_info(
    machine: &mut Machine,
    args: DockerContainerInfoArgs,
) -> ModuleResult {
    let found = args.daemon(machine)?.container(&args.name)?;
    Ok(told("container", found))
}

/// Tells of one network.
pub(crate) fn run_network_info(machine: &mut Machine, args: DockerNetworkInfoArgs) -> ModuleResult {
    let path = format!("/networks/{}", quoted(&args.name));
    let found = args.daemon(machine)?.find(&path)?;
    Ok(told("network", found))
}

/// Tells of one volume.
pub(crate) fn run_volume_info(machine: &mut Machine, args: DockerVolumeInfoArgs) -> ModuleResult {
    let path = format!("/volumes/{}", quoted(&args.name));
    let found = args.daemon(machine)?.find(&path)?;
    Ok(told("volume", found))
}

fn told(what: &str, found: Option<Json>) -> Outcome {
    Outcome::unchanged()
        .with("exists", found.is_some())
        .with(what, from_json(found.unwrap_or_default()))
}

/// Tells of images.
pub(crate) fn run_image_info(machine: &mut Machine, args: DockerImageInfoArgs) -> ModuleResult {
    let mut daemon = args.daemon(machine)?;
    let names = match &args.name {
        Some(names) => names.clone(),
        None => {
            let all = daemon.get("/images/json")?;
            let ids = all.as_array().into_iter().flatten();
            ids.filter_map(|image| Some(image.get("Id")?.as_str()?.to_owned()))
                .collect()
        }
    };
    let mut images = Vec::new();
    for name in names {
        let name = match split_tag(&name) {
            _ if is_id(&name) => name,
            (repository, "") => joined(repository, "latest"),
            _ => name,
        };
        images.extend(daemon.image(&name)?.map(from_json));
    }
    Ok(Outcome::unchanged().with("images", Value::list(images)))
}

/// A kind of thing: its name, whether it is asked for, where it is listed, what is left out, and
/// what is shown of each.
type Asked<'a> = (
    &'static str,
    bool,
    String,
    &'a Option<Map>,
    &'static [&'static str],
);

/// Tells of the host, and lists what is asked for.
pub(crate) fn run_host_info(machine: &mut Machine, args: DockerHostInfoArgs) -> ModuleResult {
    let mut daemon = args.daemon(machine)?;
    let host = daemon
        .get("/info")
        .map_err(|failure| Failure::new(failure.msg).with("can_talk_to_docker", false))?;
    let mut outcome = Outcome::unchanged()
        .with("can_talk_to_docker", true)
        .with("host_info", from_json(host));
    if args.disk_usage {
        let usage = daemon.get("/system/df")?;
        let shown = if args.verbose_output {
            usage
        } else {
            json!({"LayersSize": usage.get("LayersSize")})
        };
        outcome = outcome.with("disk_usage", from_json(shown));
    }
    let all = u8::from(args.containers_all);
    let lists: [Asked<'_>; 4] = [
        (
            "volumes",
            args.volumes,
            "/volumes?".into(),
            &args.volumes_filters,
            &["Driver", "Name"],
        ),
        (
            "networks",
            args.networks,
            "/networks?".into(),
            &args.networks_filters,
            &["Id", "Driver", "Name", "Scope"],
        ),
        (
            "containers",
            args.containers,
            format!("/containers/json?all={all}&"),
            &args.containers_filters,
            &[
                "Id", "Image", "Command", "Created", "Status", "Ports", "Names",
            ],
        ),
        (
            "images",
            args.images,
            "/images/json?".into(),
            &args.images_filters,
            &["Id", "RepoTags", "Created", "Size"],
        ),
    ];
    for (name, is_asked, path, filters, keys) in lists {
        if !is_asked {
            continue;
        }
        let answer = daemon.get(&format!(
            "{path}filters={}",
            quoted(&filter(filters.as_ref()))
        ))?;
        let list = answer.get("Volumes").unwrap_or(&answer);
        let items = list.as_array().into_iter().flatten().map(|item| {
            if args.verbose_output {
                return from_json(item.clone());
            }
            let pairs = keys.iter().map(|key| {
                (
                    (*key).to_owned(),
                    item.get(*key).cloned().unwrap_or_default(),
                )
            });
            from_json(Json::Object(pairs.collect()))
        });
        outcome = outcome.with(name, Value::list(items));
    }
    Ok(outcome)
}

/// Writes filters as the daemon reads them: lists of texts.
fn filter(given: Option<&Map>) -> String {
    let mut filters = serde_json::Map::new();
    for (key, value) in given.into_iter().flatten() {
        let key = key.to_string();
        let texts = match value {
            Value::List(items) => items.iter().map(Value::to_string).collect(),
            Value::Bool(flag) => vec![flag.to_string()],
            other => vec![other.to_string()],
        };
        filters.insert(key, texts.into());
    }
    Json::Object(filters).to_string()
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::Host;

    fn host() -> Host {
        Host::new(|request| {
            match request {
            "GET /containers/web/json" => r#"{"Id": "c1"}"#.into(),
            "GET /images/nginx:latest/json" => r#"{"Id": "sha256:1"}"#.into(),
            "GET /info" => r#"{"Name": "host"}"#.into(),
            "GET /networks?filters=%7B%22driver%22:%5B%22bridge%22%5D%7D" => {
                r#"[{"Id": "n", "Name": "bridge", "Driver": "bridge", "Scope": "local", "More": 1}]"#
                    .into()
            }
            _ => String::new(),
        }
        })
    }

    #[test]
    fn what_is_there_is_told_and_what_is_not_too() {
        let host = host();
        assert_eq!(
            host.run("community.docker.docker_container_info", r#""name": "web""#),
            r#"{"changed":false,"exists":true,"container":{"Id":"c1"}}"#
        );
        assert_eq!(
            host.run("community.docker.docker_network_info", r#""name": "none""#),
            r#"{"changed":false,"exists":false,"network":null}"#
        );
        assert_eq!(
            host.run("community.docker.docker_volume_info", r#""name": "none""#),
            r#"{"changed":false,"exists":false,"volume":null}"#
        );
        assert_eq!(
            host.run(
                "community.docker.docker_image_info",
                r#""name": "nginx,none""#
            ),
            r#"{"changed":false,"images":[{"Id":"sha256:1"}]}"#
        );
    }

    #[test]
    fn a_host_lists_what_is_asked_for() {
        assert_eq!(
            host().run(
                "community.docker.docker_host_info",
                r#""networks": true, "networks_filters": {"driver": "bridge"}"#
            ),
            r#"{"changed":false,"can_talk_to_docker":true,"host_info":{"Name":"host"},"networks":[{"Id":"n","Driver":"bridge","Name":"bridge","Scope":"local"}]}"#
        );
    }

    #[test]
    fn a_daemon_that_is_not_there_is_an_error() {
        let result = host().run(
            "community.docker.docker_container_info",
            r#""name": "web", "docker_url": "unix:///backstay/none.sock""#,
        );
        assert!(result.contains("Error connecting: Error while fetching server API version"));
        let result = host().run(
            "community.docker.docker_container_info",
            r#""name": "web", "docker_url": "ssh://host""#,
        );
        assert!(result.contains("docker_host must begin with unix:// or tcp://, got: ssh://host"));
    }
}
