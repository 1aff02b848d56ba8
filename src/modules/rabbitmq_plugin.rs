//! `rabbitmq_plugin`: which plugins the broker loads.

use std::path::{Path, PathBuf};

use crate::machine::Machine;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage `RabbitMQ` plugins.
    pub(crate) struct RabbitmqPluginArgs for "community.rabbitmq.rabbitmq_plugin" {
        /// The plugins, with commas between them.
        names: String { required, aliases: ["name"] },
        /// Leave other plugins enabled.
        new_only: bool { default: "no" },
        state: String { default: "enabled", choices: ["enabled", "disabled"] },
        /// Whether the broker runs while plugins change.
        broker_state: String { default: "online", choices: ["online", "offline"] },
        /// Where `RabbitMQ` is installed.
        prefix: Option<PathBuf> {},
    }
}

/// Enables and disables plugins.
pub(crate) fn run(machine: &mut Machine, args: RabbitmqPluginArgs) -> ModuleResult {
    let program = program(machine, args.prefix.as_deref())?;
    let output = tool::ask(machine, &[program.as_str(), "list", "-E", "-m"])?;
    tool::check(Some(&output), tool::complaint)?;
    let text = output.stdout_text();
    let found: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let names: Vec<&str> = args.names.split(',').collect();
    let (mut enable, mut disable): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    if args.state == "enabled" {
        if !args.new_only {
            // A line with blanks is talk.
            let others = found.iter().filter(|name| !name.contains(' '));
            disable.extend(others.filter(|name| !names.contains(name)));
        }
        enable.extend(names.iter().filter(|name| !found.contains(name)));
    } else {
        disable.extend(found.iter().filter(|name| names.contains(name)));
    }
    let broker = format!("--{}", args.broker_state);
    let verbs = ["disable", "enable"];
    for (plugins, [verb, back]) in [(&disable, verbs), (&enable, [verbs[1], verbs[0]])] {
        for name in plugins {
            let argv = [program.as_str(), verb, &broker, name];
            let undo = [program.as_str(), back, &broker, name];
            let output = tool::act(machine, &argv, &undo)?;
            tool::check(output.as_ref(), tool::complaint)?;
        }
    }
    Ok(Outcome::unchanged()
        .with_changed(!(enable.is_empty() && disable.is_empty()))
        .with("enabled", Value::list(enable))
        .with("disabled", Value::list(disable)))
}

fn program(machine: &mut Machine, prefix: Option<&Path>) -> Result<String, Failure> {
    let Some(prefix) = prefix.filter(|prefix| !prefix.as_os_str().is_empty()) else {
        return tool::required(machine, "rabbitmq-plugins");
    };
    for name in ["bin", "sbin"] {
        let directory = prefix.join(name);
        if machine.is_dir(&directory)? {
            return Ok(directory.join("rabbitmq-plugins").display().to_string());
        }
    }
    Err(Failure::new(format!(
        "No binary folder in prefix {}",
        prefix.display()
    )))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.rabbitmq.rabbitmq_plugin";
    const PLUGINS: &str = r#"
case $1 in
  list) cat "$here/on" ;;
  enable) case $3 in broken) echo 'The plugin is unknown' >&2; exit 2 ;; esac; echo "$3" >>"$here/on" ;;
  disable) grep -vx "$3" "$here/on" >"$here/new"; mv "$here/new" "$here/on" ;;
esac
"#;

    #[test]
    fn the_named_plugins_are_enabled_and_others_are_not() {
        let host = Programs::new([("rabbitmq-plugins", PLUGINS)]);
        host.put("on", "shovel\n");
        let options = r#"{"names": "management,stomp"}"#;
        let changed = r#"{"changed":true,"enabled":["management","stomp"],"disabled":["shovel"]}"#;
        assert_eq!(host.predict(NAME, options), changed);
        assert_eq!(host.run(NAME, options), changed);
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"enabled":[],"disabled":[]}"#
        );
        let more = r#"{"name": "top", "new_only": true, "broker_state": "offline"}"#;
        assert!(
            host.run(NAME, more)
                .contains(r#""enabled":["top"],"disabled":[]"#)
        );
        let off = r#"{"name": "top", "state": "disabled"}"#;
        assert!(
            host.run(NAME, off)
                .contains(r#""enabled":[],"disabled":["top"]"#)
        );
        assert!(host.run(NAME, off).contains(r#""changed":false"#));
        assert_eq!(
            host.undo_steps(),
            [
                "rabbitmq-plugins enable --online shovel",
                "rabbitmq-plugins disable --online management",
                "rabbitmq-plugins disable --online stomp",
                "rabbitmq-plugins disable --offline top",
                "rabbitmq-plugins enable --online top",
            ]
        );
    }

    #[test]
    fn what_rabbitmq_refuses_is_told() {
        let host = Programs::new([("rabbitmq-plugins", PLUGINS)]);
        host.put("on", "");
        let result = host.run(NAME, r#"{"name": "broken"}"#);
        assert!(
            result.contains(r#""msg":"The plugin is unknown","rc":2"#),
            "{result}"
        );
        let result = host.run(NAME, r#"{"name": "x", "prefix": "$BIN/none"}"#);
        assert!(
            result.contains(r#""msg":"No binary folder in prefix $BIN/none""#),
            "{result}"
        );
    }
}
