//! Lookups that ask the controller, its network, or the run itself: `env`, `pipe`, `url`, `vars` …

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Found, KnownSetting, Options, World};
use crate::pyregex::{Flags, Pattern};
use crate::template::{LookupCall, LookupError, TemplateError};
use crate::value::{Origin, Text, Value};

pub(super) fn lookup(world: &World, call: &LookupCall<'_>) -> Found {
    match call.name {
        "env" => env(world, call),
        "pipe" => pipe(world, call),
        "lines" => lines(world, call),
        "url" => url(call),
        "vars" => vars(call),
        "varnames" => varnames(call),
        "inventory_hostnames" => inventory_hostnames(world, call),
        "config" => config(world, call),
        other => Err(LookupError::Failed(format!("there is no lookup '{other}'"))),
    }
}

fn env(world: &World, call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &["default"])?;
    let default = options.given.get("default").cloned();
    Ok(call
        .terms
        .iter()
        .map(|term| {
            let text = term.to_string();
            let name = text.split_whitespace().next().unwrap_or_default();
            match world.environment.get(name) {
                Some(value) => {
                    let origin = format!("<environment variable '{name}'>");
                    let origin = Origin::Named(origin.into());
                    Text::from(value.as_str()).from_origin(origin).into()
                }
                None => default.clone().unwrap_or_else(|| "".into()),
            }
        })
        .collect())
}

/// Runs a shell command in the playbook's directory and returns what it printed.
#[expect(
    clippy::disallowed_methods,
    reason = "`pipe` and `lines` run a command of the user on the controller"
)]
fn output(world: &World, command: &str, name: &str) -> Result<String, LookupError> {
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .current_dir(&world.base_dir)
        .env_clear()
        .envs(world.environment.iter())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("lookup_plugin.{name}({command}): {error}"))?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        code => Err(LookupError::Failed(format!(
            "lookup_plugin.{name}({command}) returned {}",
            code.unwrap_or(-1)
        ))),
    }
}

fn pipe(world: &World, call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    call.terms
        .iter()
        .map(|term| {
            let text = output(world, &term.to_string(), "pipe")?;
            Ok(text.trim_end().into())
        })
        .collect()
}

fn lines(world: &World, call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    let mut found = Vec::new();
    for term in &call.terms {
        let text = output(world, &term.to_string(), "lines")?;
        found.extend(text.lines().map(Value::from));
    }
    Ok(found)
}

fn url(call: &LookupCall<'_>) -> Found {
    let known = [
        "validate_certs",
        "split_lines",
        "use_proxy",
        "username",
        "password",
        "headers",
        "force",
        "timeout",
        "http_agent",
        "force_basic_auth",
        "follow_redirects",
        "use_gssapi",
        "use_netrc",
        "unix_socket",
        "ca_path",
        "unredirected_headers",
        "ciphers",
    ];
    let options = Options::new(call, &known)?;
    for name in ["use_gssapi", "unix_socket", "ca_path", "ciphers"] {
        if options.get(name).is_some_and(Value::is_truthy) {
            return Err(LookupError::Failed(format!(
                "option '{name}' of lookup 'url' is not supported here"
            )));
        }
    }
    let timeout = options.int("timeout")?.unwrap_or(10);
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(
            u64::try_from(timeout).unwrap_or(10),
        )))
        .user_agent(
            options
                .text("http_agent")
                .unwrap_or_else(|| "ansible-httpget".into()),
        )
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .disable_verification(!options.flag("validate_certs", true)?)
                .build(),
        )
        .build()
        .new_agent();
    let split = options.flag("split_lines", true)?;
    let mut found = Vec::new();
    for term in &call.terms {
        let text = fetched(&agent, &options, &term.to_string())?;
        if split {
            found.extend(text.lines().map(Value::from));
        } else {
            found.push(text.into());
        }
    }
    Ok(found)
}

fn fetched(agent: &ureq::Agent, options: &Options<'_>, url: &str) -> Result<String, LookupError> {
    use base64::Engine as _;

    let mut request = agent.get(url);
    if options.flag("force", false)? {
        request = request.header("cache-control", "no-cache");
    }
    if let (Some(username), password) = (options.text("username"), options.text("password")) {
        let login = format!("{username}:{}", password.unwrap_or_default());
        let encoded = base64::engine::general_purpose::STANDARD.encode(login);
        request = request.header("authorization", format!("Basic {encoded}"));
    }
    if let Some(headers) = options.get("headers").and_then(Value::as_map) {
        for (name, value) in headers {
            request = request.header(name.to_string(), value.to_string());
        }
    }
    let response = request.call().map_err(|error| match error {
        ureq::Error::StatusCode(code) => {
            format!("Received HTTP error for {url} : HTTP Error {code}")
        }
        other => format!("Failed lookup url for {url} : {other}"),
    })?;
    let mut text = String::new();
    response
        .into_body()
        .into_reader()
        .read_to_string(&mut text)
        .map_err(|error| format!("Failed lookup url for {url} : {error}"))?;
    Ok(text)
}

fn vars(call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &["default"])?;
    call.terms
        .iter()
        .map(|term| {
            let Some(name) = term.as_str() else {
                return Err(LookupError::Failed(format!(
                    "Variable name must be 'str' not '{}'.",
                    term.python_type()
                )));
            };
            match call.reader.variable(name)? {
                Some(value) => Ok(value),
                None => options.get("default").cloned().ok_or_else(|| {
                    LookupError::Template(TemplateError::of_undefined(format!(
                        "No variable named '{name}' was found."
                    )))
                }),
            }
        })
        .collect()
}

fn varnames(call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    let mut found = Vec::new();
    for term in &call.terms {
        let Some(text) = term.as_str() else {
            return Err(LookupError::Failed(format!(
                "Invalid setting identifier, \"{term}\" is not a string, it is a <class '{}'>",
                term.python_type()
            )));
        };
        let pattern = Pattern::text(text, Flags::default())
            .map_err(|error| format!("Unable to use \"{text}\" as a search parameter: {error}"))?;
        for name in call.reader.names() {
            if matches!(pattern.search(&*name), Ok(Some(_))) {
                found.push(name.into());
            }
        }
    }
    Ok(found)
}

fn inventory_hostnames(world: &World, call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    let hosts = world.hosts.as_ref().ok_or("there is no inventory here")?;
    let patterns: Vec<String> = call.terms.iter().map(ToString::to_string).collect();
    Ok(hosts
        .matching(&patterns.join(":"))
        .into_iter()
        .map(Value::from)
        .collect())
}

fn config(world: &World, call: &LookupCall<'_>) -> Found {
    let options = Options::new(
        call,
        &["on_missing", "plugin_type", "plugin_name", "show_origin"],
    )?;
    let setting = world.setting.as_ref().ok_or("there are no settings here")?;
    let on_missing = options.text("on_missing").unwrap_or_else(|| "error".into());
    let show_origin = options.flag("show_origin", false)?;
    let plugin = match (options.text("plugin_type"), options.text("plugin_name")) {
        (Some(plugin_type), Some(name)) => Some((plugin_type, name)),
        (None, None) => None,
        _ => {
            return Err(LookupError::Failed(
                "Both plugin_type and plugin_name are required, cannot use one without the other."
                    .into(),
            ));
        }
    };
    let plugin = plugin
        .as_ref()
        .map(|(kind, name)| (&**kind, name.trim_start_matches("ansible.builtin.")));
    let mut found = Vec::new();
    for term in &call.terms {
        let name = term.to_string();
        match (setting(plugin, &name), &*on_missing) {
            (Some(known), _) => {
                let (value, origin) = settled(known, call)?;
                found.push(if show_origin {
                    Value::list([value, Value::from(origin)])
                } else {
                    value
                });
            }
            (None, "skip") => {}
            (None, "warn") => (world.warnings)(format!("Skipping {name}."), None),
            (None, "error") => return Err(LookupError::Failed(undefined_setting(plugin, &name))),
            (None, other) => {
                return Err(LookupError::Failed(format!(
                    "Invalid option for error handling, missing must be error, warn or skip, got: {other}."
                )));
            }
        }
    }
    Ok(found)
}

/// Returns a setting's value and origin as the task sees them: a variable beats all else.
fn settled(known: KnownSetting, call: &LookupCall<'_>) -> Result<(Value, String), LookupError> {
    for name in known.variables.iter().rev() {
        if let Some(value) = call.reader.variable(name)? {
            return Ok((value, format!("var: {name}")));
        }
    }
    Ok((known.value, known.origin))
}

fn undefined_setting(plugin: Option<(&str, &str)>, name: &str) -> String {
    match plugin {
        Some((kind, plugin)) => {
            format!("No config definition exists for '{name}' for '{plugin}' {kind} plugin.")
        }
        None => format!("No config definition exists for '{name}'."),
    }
}
