//! `apache2_module`: which modules Apache loads, with Debian's `a2enmod` and `a2dismod`.

use std::path::Path;

use crate::machine::{Effect, Machine};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Enables/disables a module of the Apache2 webserver.
    pub(crate) struct Apache2ModuleArgs for "community.general.apache2_module" {
        /// The module, as `a2enmod` names it.
        name: String { required },
        /// The module, as `apache2ctl -M` names it.
        identifier: Option<String> {},
        /// Disable also what Debian wants to stay.
        force: bool { default: "false" },
        /// Whether Apache loads the module.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Go on where the configuration cannot be read.
        ignore_configcheck: bool { default: "false" },
        /// Warn where no MPM module is loaded.
        warn_mpm_absent: bool { default: "true" },
    }
}

/// What the two programs write to, of which an undo puts the old back.
const KEPT: [&str; 3] = [
    "/etc/apache2/mods-enabled",
    "/var/lib/apache2/module",
    "/etc/sysconfig/apache2",
];

/// Enables or disables the module where it is not as wanted.
pub(crate) fn run(machine: &mut Machine, args: Apache2ModuleArgs) -> ModuleResult {
    let control = ["apache2ctl", "apachectl"]
        .into_iter()
        .find_map(|name| tool::found(machine, name));
    let control = control.ok_or_else(|| {
        Failure::new(
            "Neither of apache2ctl nor apachectl found. At least one apache control binary is \
             necessary.",
        )
    })?;
    let is_wanted = args.state == "present";
    if args.name == "cgi" && is_wanted {
        let version = tool::ask(machine, &[control.as_str(), "-V"])?.stdout_text();
        let mut lines = version.lines();
        if lines.any(|line| {
            line.split_once("threaded:")
                .is_some_and(|(_, it)| it.trim() == "yes")
        }) {
            return Err(Failure::new(
                "Your MPM seems to be threaded, therefore enabling cgi module is not allowed.",
            ));
        }
    }
    let given = args.identifier.clone().filter(|it| !it.is_empty());
    let mut apache = Apache {
        machine,
        control,
        identifier: given.unwrap_or_else(|| identifier(&args.name)),
        args: &args,
        warnings: Vec::new(),
    };
    let is_changed = apache.is_enabled()? != is_wanted;
    if is_changed {
        apache.switch(is_wanted)?;
    }
    let (name, word) = (&args.name, if is_wanted { "enabled" } else { "disabled" });
    let outcome = Outcome::unchanged()
        .with_changed(is_changed)
        .with("result", format!("Module {name} {word}"));
    Ok(apache.warnings.into_iter().fold(outcome, Outcome::warn))
}

/// Returns the name that Apache most likely has for what `a2enmod` names so.
fn identifier(name: &str) -> String {
    if name.contains("shib") {
        return "mod_shib".into();
    }
    if name.contains("evasive") {
        return "evasive20_module".into();
    }
    // php8.2 is php_module, php7.4 is php7_module.
    if name.contains("php8") && name.starts_with("php") {
        return "php_module".into();
    }
    let version = name.strip_prefix("php").map(str::as_bytes);
    if let Some([digit, b'.', ..]) = version
        && digit.is_ascii_digit()
    {
        return format!("php{}_module", char::from(*digit));
    }
    format!("{name}_module")
}

struct Apache<'a> {
    machine: &'a mut Machine,
    args: &'a Apache2ModuleArgs,
    control: String,
    identifier: String,
    warnings: Vec<String>,
}

impl Apache<'_> {
    fn is_enabled(&mut self) -> Result<bool, Failure> {
        let output = tool::ask(self.machine, &[self.control.as_str(), "-M"])?;
        if output.success() {
            let wanted = format!(" {}", self.identifier);
            return Ok(output.stdout_text().contains(&wanted));
        }
        let said = output.stderr_text();
        let msg = format!("Error executing {}: {said}", self.control);
        if !self.args.ignore_configcheck {
            return Err(Failure::new(msg));
        }
        if !(said.contains("AH00534") && self.args.name.contains("mpm_")) {
            self.warnings.push(msg);
        } else if self.args.warn_mpm_absent {
            self.warnings.push(
                "No MPM module loaded! apache2 reload AND other module actions will fail if no \
                 MPM module is loaded immediately."
                    .into(),
            );
        }
        Ok(false)
    }

    fn switch(&mut self, on: bool) -> Result<(), Failure> {
        let (name, word) = if on {
            ("a2enmod", "enabled")
        } else {
            ("a2dismod", "disabled")
        };
        let program = tool::found(self.machine, name).ok_or_else(|| {
            Failure::new(format!(
                "{name} not found. Perhaps this system does not use {name} to manage apache"
            ))
        })?;
        for path in KEPT {
            let path = Path::new(path);
            if path.parent().is_some_and(Path::exists) {
                self.machine.preserve(path)?;
            }
        }
        let mut argv = vec![program.as_str()];
        if !on && self.args.force {
            argv.push("-f");
        }
        argv.push(&self.args.name);
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: Vec::new(),
        };
        let output = self.machine.execute(&tool::command(&argv), effect)?;
        let Some(output) = output.output() else {
            return Ok(());
        };
        if self.is_enabled()? == on {
            return Ok(());
        }
        let msg = format!(
            "Failed to set module {} to {word}:\n{}\nMaybe the module identifier ({}) was guessed \
             incorrectly.Consider setting the \"identifier\" option.",
            self.args.name,
            output.stdout_text(),
            self.identifier
        );
        Err(tool::failed(&output, msg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.apache2_module";
    const CONTROL: &str = r#"
case $1 in
  -V) echo "  threaded:     $(cat "$here/threaded" 2>/dev/null || echo no)" ;;
  -M) [ ! -e "$here/bad" ] || { cat "$here/bad" >&2; exit 1; }
    echo 'Loaded Modules:'; [ ! -e "$here/rewrite" ] || echo ' rewrite_module (shared)' ;;
esac
"#;

    fn host() -> Programs {
        Programs::new([
            ("apache2ctl", CONTROL),
            (
                "a2enmod",
                "case $1 in rewrite) : >\"$here/rewrite\" ;; *) echo 'does not exist!'; exit 1 ;; esac",
            ),
            ("a2dismod", "rm \"$here/rewrite\""),
        ])
    }

    #[test]
    fn a_module_is_enabled_and_disabled_once() {
        let host = host();
        let enable = r#"{"name": "rewrite"}"#;
        let said = |changed: bool, word: &str| {
            format!(r#"{{"changed":{changed},"result":"Module rewrite {word}"}}"#)
        };
        assert_eq!(host.predict(NAME, enable), said(true, "enabled"));
        assert_eq!(host.run(NAME, enable), said(true, "enabled"));
        assert_eq!(host.run(NAME, enable), said(false, "enabled"));
        let disable = r#"{"name": "rewrite", "state": "absent", "force": true}"#;
        assert_eq!(host.run(NAME, disable), said(true, "disabled"));
        assert_eq!(host.run(NAME, disable), said(false, "disabled"));
        assert!(host.calls().contains(&"a2dismod -f rewrite".to_owned()));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let host = host();
        let result = host.run(NAME, r#"{"name": "nothing"}"#);
        assert!(
            result.contains(r#""msg":"Failed to set module nothing to enabled:\ndoes not exist!\n\nMaybe the module identifier (nothing_module) was guessed incorrectly.Consider setting the \"identifier\" option.","rc":1"#),
            "{result}"
        );
        host.put("threaded", "yes");
        assert!(host.run(NAME, r#"{"name": "cgi"}"#).contains("threaded"));
        host.put("bad", "AH00534: No MPM loaded.");
        let mpm = r#"{"name": "mpm_event", "state": "absent"}"#;
        assert_eq!(
            host.run(NAME, mpm),
            r#"{"failed":true,"changed":false,"msg":"Error executing $BIN/apache2ctl: AH00534: No MPM loaded."}"#
        );
        let mpm = r#"{"name": "mpm_event", "state": "absent", "ignore_configcheck": true}"#;
        let result = host.run(NAME, mpm);
        assert!(
            result.contains(r#""warnings":["No MPM module loaded!"#),
            "{result}"
        );
    }

    #[test]
    fn apache_has_names_of_its_own() {
        for (name, expected) in [
            ("rewrite", "rewrite_module"),
            ("php8.2", "php_module"),
            ("php7.4", "php7_module"),
            ("shib2", "mod_shib"),
            ("evasive", "evasive20_module"),
        ] {
            assert_eq!(identifier(name), expected);
        }
    }
}
