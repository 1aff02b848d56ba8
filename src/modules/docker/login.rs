//! `docker_login`: whom Docker is at a registry, kept in the configuration of its client.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::docker_arguments;
use crate::machine::{Content, Effect, Machine, NewFile};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

docker_arguments! {
    /// Log into a Docker registry.
    struct DockerLoginArgs for "community.docker.docker_login" {
        /// The registry.
        registry_url: String {
            default: "https://index.docker.io/v1/", aliases: ["registry", "url"],
        },
        username: Option<String> {},
        password: Option<String> { no_log },
        /// Log in again although a login is there.
        reauthorize: bool { default: "false", aliases: ["reauth"] },
        /// The client's configuration.
        config_path: String { default: "~/.docker/config.json", aliases: ["dockercfg_path"] },
        /// Whether there should be a login.
        state: String { default: "present", choices: ["present", "absent"] },
    }
    required_if [("state", "present", ["username", "password"], false)]
}

/// Logs in, or forgets the login.
pub(crate) fn run_login(machine: &mut Machine, args: DockerLoginArgs) -> ModuleResult {
    let path = machine.expand(Path::new(&args.config_path));
    let mut config = read(machine, &path)?.unwrap_or_else(|| json!({}));
    let known = config
        .get("auths")
        .and_then(|auths| auths.get(&args.registry_url))
        .and_then(|entry| entry.get("auth"))
        .and_then(Json::as_str)
        .map(str::to_owned);
    if args.state == "absent" {
        if known.is_none() {
            return Ok(Outcome::unchanged().with("login_result", Value::map::<&str, Value>([])));
        }
        if let Some(auths) = config.get_mut("auths").and_then(Json::as_object_mut) {
            auths.remove(&args.registry_url);
        }
        write(machine, &path, &config)?;
        return Ok(Outcome::changed().with("login_result", Value::map::<&str, Value>([])));
    }
    let user = args.username.clone().unwrap_or_default();
    let password = args.password.clone().unwrap_or_default();
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let mut told = json!({"username": user, "serveraddress": args.registry_url});
    if !machine.is_check() {
        let body = json!({
            "username": user, "password": password, "email": null,
            "serveraddress": args.registry_url,
        });
        // Who one is at a registry changes nothing there.
        let effect = Effect::Compensated {
            what: format!("log in at {}", args.registry_url),
            undo: Vec::new(),
        };
        let mut daemon = args.daemon(machine)?;
        let answer = daemon
            .post("/auth", Some(&body), effect)
            .map_err(|failure| {
                Failure::new(format!(
                    "Logging into {} for user {user} failed - {}",
                    args.registry_url, failure.msg
                ))
            })?;
        told = answer.unwrap_or(told);
    }
    let changed = args.reauthorize || known.as_deref() != Some(auth.as_str());
    if changed {
        let auths = config
            .as_object_mut()
            .map(|config| config.entry("auths").or_insert_with(|| json!({})));
        if let Some(Json::Object(auths)) = auths {
            auths.insert(args.registry_url.clone(), json!({"auth": auth}));
        }
        write(machine, &path, &config)?;
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("login_result", super::values::from_json(told)))
}

/// Returns the configuration of the task's user.
pub(super) fn config(machine: &mut Machine) -> Result<Option<Json>, Failure> {
    let path = machine.expand(Path::new("~/.docker/config.json"));
    read(machine, &path)
}

fn read(machine: &mut Machine, path: &Path) -> Result<Option<Json>, Failure> {
    if !machine.exists(path)? {
        return Ok(None);
    }
    let bytes = machine.read(path)?;
    match serde_json::from_slice(&bytes) {
        Ok(config @ Json::Object(_)) => Ok(Some(config)),
        _ => Err(Failure::new(format!(
            "{} is not a configuration of Docker: no JSON object",
            path.display()
        ))),
    }
}

fn write(machine: &mut Machine, path: &Path, config: &Json) -> Result<(), Failure> {
    let path: PathBuf = machine.real_path(path)?;
    if let Some(directory) = path.parent() {
        machine.create_dir_all(directory, 0o700)?;
    }
    let text = format!("{config:#}");
    let new = NewFile {
        mode: Some(0o600),
        ..NewFile::default()
    };
    Ok(machine.write(&path, Content::Bytes(text.into_bytes()), &new)?)
}

#[cfg(test)]
mod tests {
    use crate::modules::docker::testing::Host;

    const NAME: &str = "community.docker.docker_login";

    #[test]
    fn a_login_is_kept_once_and_forgotten() {
        let host = Host::new(|request| match request {
            "POST /auth" => r#"{"Status": "Login Succeeded"}"#.into(),
            _ => String::new(),
        });
        let options = r#""registry": "https://r.example", "username": "u", "password": "p", "config_path": "$DIR/config.json""#;
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"login_result":{"Status":"Login Succeeded"}}"#
        );
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        assert!(host.read("config.json").contains(r#""auth": "dTpw""#));
        let gone = r#""registry": "https://r.example", "state": "absent", "config_path": "$DIR/config.json""#;
        assert!(host.run(NAME, gone).contains(r#""changed":true"#));
        assert!(host.run(NAME, gone).contains(r#""changed":false"#));
    }

    #[test]
    fn a_registry_that_refuses_is_named() {
        let host = Host::new(|_| "!401 {\"message\": \"bad login\"}".into());
        let options = r#""username": "u", "password": "p", "config_path": "$DIR/config.json""#;
        assert!(host.run(NAME, options).contains(
            "Logging into https://index.docker.io/v1/ for user u failed - 401 Client Error: bad login"
        ));
    }
}
