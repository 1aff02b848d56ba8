//! What runs in a container, and how its health is found out: from options to the daemon's words.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::DockerContainerArgs;
use crate::machine::{Machine, split_words};
use crate::modules::Failure;
use crate::modules::docker::values::{field, nanoseconds, only};
use crate::value::Value;

pub(super) fn command(args: &DockerContainerArgs) -> Result<Option<Json>, Failure> {
    let no_quotes = || Failure::new("No closing quotation in command");
    Ok(match &args.command {
        None => None,
        Some(Value::List(words)) => {
            let words: Vec<_> = words.iter().map(Value::to_string).collect();
            if args.command_handling == "compatibility" {
                let joined = words.join(" ");
                Some(split_words(&joined).ok_or_else(no_quotes)?.into())
            } else {
                Some(words.into())
            }
        }
        Some(text) => Some(split_words(&text.to_string()).ok_or_else(no_quotes)?.into()),
    })
}

pub(super) fn entrypoint(args: &DockerContainerArgs) -> Option<Json> {
    let words = args.entrypoint.clone()?;
    if args.command_handling == "compatibility" {
        return split_words(&words.join(" ")).map(Json::from);
    }
    Some(words.into())
}

pub(super) fn environment(
    machine: &mut Machine,
    args: &DockerContainerArgs,
    image: Option<&Json>,
) -> Result<Option<Json>, Failure> {
    if args.env.is_none() && args.env_file.is_none() {
        return Ok(None);
    }
    let mut env: indexmap::IndexMap<String, String> = indexmap::IndexMap::new();
    let is_strict = args
        .comparisons
        .as_ref()
        .and_then(|comparisons| field(comparisons, "env"))
        .is_some_and(|mode| mode.to_string() == "strict");
    let inherited = image.and_then(|image| image.get("Config")?.get("Env")?.as_array());
    for line in inherited.into_iter().flatten().filter(|_| is_strict) {
        if let Some((name, value)) = line.as_str().and_then(|line| line.split_once('=')) {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(path) = &args.env_file {
        let path = machine.expand(path);
        let text = String::from_utf8_lossy(&machine.read(&path)?).into_owned();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| {
                Failure::new(format!(
                    "Invalid line in environment file {}:\n{line}",
                    path.display()
                ))
            })?;
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in args.env.iter().flatten() {
        if !matches!(value, Value::String(_)) {
            return Err(Failure::new(format!(
                "Non-string value found for env option. Ambiguous env options must be wrapped in \
                 quotes or typecast to avoid them being interpreted. Key: {name}"
            )));
        }
        env.insert(name.to_string(), value.to_string());
    }
    let lines = env.iter().map(|(name, value)| format!("{name}={value}"));
    Ok(Some(lines.collect::<Vec<_>>().into()))
}

pub(super) fn health(args: &DockerContainerArgs) -> Result<Option<Json>, Failure> {
    let Some(check) = &args.healthcheck else {
        return Ok(None);
    };
    only(
        "healthcheck",
        check,
        &[
            "test",
            "test_cli_compatible",
            "interval",
            "timeout",
            "retries",
            "start_period",
            "start_interval",
        ],
    )?;
    let mut health = JsonMap::new();
    match field(check, "test") {
        Some(Value::List(words)) => {
            let words: Vec<_> = words.iter().map(Value::to_string).collect();
            if words == ["NONE"] {
                return Ok(Some(json!({"Test": ["NONE"]})));
            }
            health.insert("Test".into(), words.into());
        }
        Some(text) if text.to_string() == "NONE" => return Ok(Some(json!({"Test": ["NONE"]}))),
        Some(text) => {
            health.insert("Test".into(), json!(["CMD-SHELL", text.to_string()]));
        }
        None => {
            let is_compatible = field(check, "test_cli_compatible").is_some_and(Value::is_truthy);
            if !is_compatible {
                return Ok(None);
            }
        }
    }
    for (name, key) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ] {
        if let Some(text) = field(check, name) {
            health.insert(key.into(), nanoseconds(&text.to_string())?.into());
        }
    }
    if let Some(retries) = field(check, "retries") {
        let retries = retries.to_string().parse::<i64>().map_err(|_| {
            Failure::new(format!(
                "Cannot parse number of retries for healthcheck. Expected an integer, got \
                 \"{retries}\"."
            ))
        })?;
        health.insert("Retries".into(), retries.into());
    }
    Ok(Some(health.into()))
}
