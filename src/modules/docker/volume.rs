//! `docker_volume`: a volume that is there, as wanted.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::daemon::{Daemon, quoted};
use super::docker_arguments;
use super::values::{from_json, texts};
use crate::machine::{Effect, Machine};
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

docker_arguments! {
    /// Manage Docker volumes.
    struct DockerVolumeArgs for "community.docker.docker_volume" {
        volume_name: String { required, aliases: ["name"] },
        state: String { default: "present", choices: ["present", "absent"] },
        driver: String { default: "local" },
        driver_options: Map { default: "{}" },
        labels: Option<Map> {},
        /// When a volume is made anew, with the loss of what is in it.
        recreate: String { default: "never", choices: ["always", "never", "options-changed"] },
    }
}

/// Brings the volume into the wanted state.
pub(crate) fn run_volume(machine: &mut Machine, args: DockerVolumeArgs) -> ModuleResult {
    let (is_check, wants_diff) = (machine.is_check(), machine.wants_diff());
    let mut daemon = args.daemon(machine)?;
    let path = format!("/volumes/{}", quoted(&args.volume_name));
    let found = daemon.find(&path)?;
    let mut differences = match &found {
        Some(found) if args.state == "present" => differences(found, &args),
        _ => Vec::new(),
    };
    let name = args.volume_name.as_str();
    let mut actions = Vec::new();
    let removes = found.is_some()
        && (args.state == "absent"
            || args.recreate == "always"
            || (args.recreate == "options-changed" && !differences.is_empty()));
    if removes {
        let effect = Effect::opaque(format!("remove volume {name}"));
        daemon.delete(&path, effect)?;
        actions.push(format!("Removed volume {name}"));
    }
    let creates = args.state == "present" && (found.is_none() || removes);
    if creates {
        create(&mut daemon, &args)?;
        actions.push(format!("Created volume {name} with driver {}", args.driver));
    }
    if found.is_some() != (args.state == "present") {
        differences.push((
            "exists".into(),
            found.is_none().into(),
            found.is_some().into(),
        ));
    }
    let mut outcome = Outcome::unchanged().with_changed(!actions.is_empty());
    if args.state == "present" {
        let volume = daemon.find(&path)?.unwrap_or_default();
        outcome = outcome.with("volume", from_json(volume));
    }
    if is_check || args.debug {
        outcome = outcome.with("actions", Value::list(actions));
    }
    if wants_diff {
        let (mut before, mut after) = (JsonMap::new(), JsonMap::new());
        for (name, wanted, there) in differences {
            after.insert(name.clone(), wanted);
            before.insert(name, there);
        }
        let diff = Diff::new(from_json(before.into()), from_json(after.into()));
        outcome = outcome.only_diff(diff);
    }
    Ok(outcome)
}

/// Returns what is otherwise: its name, as wanted, as it is.
fn differences(found: &Json, args: &DockerVolumeArgs) -> Vec<(String, Json, Json)> {
    let mut differences = Vec::new();
    let at = |key: &str| found.get(key).cloned().unwrap_or_default();
    if at("Driver") != args.driver.as_str() {
        differences.push(("driver".into(), args.driver.as_str().into(), at("Driver")));
    }
    let given = [
        ("driver_options", Some(&args.driver_options), "Options"),
        ("labels", args.labels.as_ref(), "Labels"),
    ];
    for (name, given, key) in given {
        let Some(Json::Object(pairs)) = given.map(texts) else {
            continue;
        };
        for (option, value) in pairs {
            let there = at(key).get(&option).cloned().unwrap_or_default();
            if there != value {
                differences.push((format!("{name}.{option}"), value, there));
            }
        }
    }
    differences
}

fn create(daemon: &mut Daemon<'_>, args: &DockerVolumeArgs) -> Result<(), Failure> {
    let body = json!({
        "Name": args.volume_name, "Driver": args.driver,
        "DriverOpts": texts(&args.driver_options),
        "Labels": args.labels.as_ref().map(texts),
    });
    let effect = daemon.undone_by(
        format!("create volume {}", args.volume_name),
        &["volume", "rm", &args.volume_name],
    );
    daemon.post("/volumes/create", Some(&body), effect)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::modules::docker::testing::Host;

    #[test]
    fn a_volume_is_made_once_and_anew_only_if_that_is_wanted() {
        const NAME: &str = "community.docker.docker_volume";
        let made: Arc<Mutex<Option<Json>>> = Arc::default();
        let host = Host::with_bodies(move |request, body| {
            let mut made = made.lock().unwrap();
            match request {
                "GET /volumes/data" => made.as_ref().map(Json::to_string).unwrap_or_default(),
                "POST /volumes/create" => {
                    *made = Some(serde_json::from_str(body).unwrap());
                    "{}".into()
                }
                "DELETE /volumes/data" => {
                    *made = None;
                    "{}".into()
                }
                _ => String::new(),
            }
        });
        let changed = |result: String| result.contains(r#""changed":true"#);
        let options = r#""name": "data", "labels": {"a": "1"}"#;
        assert!(changed(host.predict(NAME, options)));
        assert!(changed(host.run(NAME, options)));
        assert!(!changed(host.run(NAME, options)));
        let other = r#""name": "data", "labels": {"a": "2"}"#;
        assert!(!changed(host.run(NAME, other)));
        let anew = format!(r#"{other}, "recreate": "options-changed""#);
        assert!(changed(host.run(NAME, &anew)));
        assert!(!changed(host.run(NAME, &anew)));
        let absent = r#""name": "data", "state": "absent""#;
        assert_eq!(host.run(NAME, absent), r#"{"changed":true}"#);
        assert_eq!(host.run(NAME, absent), r#"{"changed":false}"#);
        assert_eq!(host.undo_steps(), ["volume rm data", "volume rm data"]);
    }
}
