//! `ufw`: rules, policies and state of the uncomplicated firewall.
//!
//! Drives `ufw` and judges by its rule files before and after, as Ansible does. What undoes a
//! change are those files as they were, loaded again.

use std::path::Path;

use crate::machine::{Effect, Machine, split_words};
use crate::pyregex::{Flags, Pattern};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage firewall with UFW.
    pub(crate) struct UfwArgs for "community.general.ufw" {
        /// Whether the firewall is on; `reloaded` and `reset` always change something.
        state: Option<String> { choices: ["enabled", "disabled", "reloaded", "reset"] },
        /// The policy for one direction.
        default: Option<String> { aliases: ["policy"], choices: ["allow", "deny", "reject"] },
        /// What is logged.
        logging: Option<String> { choices: ["full", "high", "low", "medium", "off", "on"] },
        /// Which packets the rule or policy is for.
        direction: Option<String> { choices: ["in", "incoming", "out", "outgoing", "routed"] },
        /// Delete the rule.
        delete: bool { default: "false" },
        /// The rule is for packets that are routed.
        route: bool { default: "false" },
        /// The number to insert the rule as.
        insert: Option<i64> {},
        /// What the number counts from.
        insert_relative_to: String {
            default: "zero",
            choices: ["zero", "first-ipv4", "last-ipv4", "first-ipv6", "last-ipv6"],
        },
        /// Add a rule.
        rule: Option<String> { choices: ["allow", "deny", "limit", "reject"] },
        /// The interface of the rule.
        interface: Option<String> { aliases: ["if"] },
        /// The interface packets come in at.
        interface_in: Option<String> { aliases: ["if_in"] },
        /// The interface packets go out at.
        interface_out: Option<String> { aliases: ["if_out"] },
        /// Log new connections of this rule.
        log: bool { default: "false" },
        from_ip: String { default: "any", aliases: ["from", "src"] },
        from_port: Option<String> {},
        to_ip: String { default: "any", aliases: ["dest", "to"] },
        to_port: Option<String> { aliases: ["port"] },
        proto: Option<String> {
            aliases: ["protocol"],
            choices: ["ah", "any", "esp", "ipv6", "tcp", "udp", "gre", "igmp", "vrrp"],
        },
        /// The application profile of the rule.
        name: Option<String> { aliases: ["app"] },
        /// What the rule is for.
        comment: Option<String> {},
    }
    mutually_exclusive [
        ["name", "proto", "logging"], ["direction", "interface_in"],
        ["direction", "interface_out"],
    ]
    required_one_of [["state", "default", "rule", "logging"]]
    required_by [("interface", ["direction"])]
}

const RULES: [&str; 6] = [
    "/lib/ufw/user.rules",
    "/lib/ufw/user6.rules",
    "/etc/ufw/user.rules",
    "/etc/ufw/user6.rules",
    "/var/lib/ufw/user.rules",
    "/var/lib/ufw/user6.rules",
];
/// The other files that `ufw` writes.
const SETTINGS: [&str; 2] = ["/etc/ufw/ufw.conf", "/etc/default/ufw"];

/// Carries out the commands in Ansible's order: state, default, rule, logging.
pub(crate) fn run(machine: &mut Machine, args: UfwArgs) -> ModuleResult {
    let ufw = tool::required(machine, "ufw")?;
    let grep = tool::required(machine, "grep")?;
    let mut work = Ufw {
        machine,
        args: &args,
        program: ufw,
        grep,
        commands: Vec::new(),
        state: String::new(),
        rules: String::new(),
    };
    let done = work.run();
    let commands = Value::list(work.commands);
    match done {
        Ok(outcome) => Ok(Outcome::unchanged()
            .with("commands", commands)
            .with_all(outcome.data)
            .with_changed(outcome.changed)),
        Err(failure) => Err(failure.with("commands", commands)),
    }
}

struct Ufw<'a> {
    machine: &'a mut Machine,
    args: &'a UfwArgs,
    program: String,
    grep: String,
    /// All that was run, as text.
    commands: Vec<String>,
    /// `ufw status verbose` and the rules, before.
    state: String,
    rules: String,
}

impl Ufw<'_> {
    fn run(&mut self) -> ModuleResult {
        self.state = self.ask(&format!("{} status verbose", self.program))?;
        self.rules = self.current_rules()?;
        let args = self.args;
        let mut changed = false;
        if let Some(state) = &args.state {
            changed |= self.set_state(state)?;
        }
        if let Some(policy) = &args.default {
            changed |= self.set_default(policy)?;
        }
        if let Some(rule) = &args.rule {
            changed |= self.set_rule(rule)?;
        }
        if let Some(level) = &args.logging {
            changed |= self.set_logging(level)?;
        }
        if self.machine.is_check() {
            return Ok(Outcome::unchanged().with_changed(changed));
        }
        let state = self.ask(&format!("{} status verbose", self.program))?;
        if !changed {
            changed = state != self.state || self.current_rules()? != self.rules;
        }
        Ok(Outcome::unchanged()
            .with_changed(changed)
            .msg(state.trim_end()))
    }

    fn set_state(&mut self, state: &str) -> Result<bool, Failure> {
        let verb = match state {
            "enabled" => "enable",
            "disabled" => "disable",
            "reloaded" => "reload",
            _ => "reset",
        };
        let is_on = self.state.contains(" active");
        let differs = match state {
            "enabled" => !is_on,
            "disabled" => is_on,
            _ => true,
        };
        if self.machine.is_check() {
            return Ok(differs);
        }
        self.act(&format!("{} -f {verb}", self.program))?;
        Ok(matches!(state, "reloaded" | "reset"))
    }

    fn set_default(&mut self, policy: &str) -> Result<bool, Failure> {
        let direction = self.args.direction.as_deref();
        if matches!(direction, Some("in" | "out")) {
            return Err(Failure::new(
                "For default, direction must be one of \"outgoing\", \"incoming\" and \"routed\", \
                 or direction must not be specified.",
            ));
        }
        if !self.machine.is_check() {
            let words = [
                &self.program,
                "default",
                policy,
                direction.unwrap_or_default(),
            ];
            self.act(words.join(" ").trim_end())?;
            return Ok(false);
        }
        let current = groups(
            r"Default: (deny|allow|reject) \(incoming\), (deny|allow|reject) \(outgoing\), (deny|allow|reject|disabled) \(routed\)",
            &self.state,
        );
        let index = match direction {
            Some("outgoing") => 1,
            Some("routed") => 2,
            _ => 0,
        };
        Ok(match current.get(index) {
            Some(Some(current)) => current != policy && current != "disabled",
            _ => true,
        })
    }

    fn set_logging(&mut self, level: &str) -> Result<bool, Failure> {
        let current = groups(r"Logging: (on|off)(?: \(([a-z]+)\))?", &self.state);
        let changed = match (current.first(), current.get(1)) {
            (Some(Some(switch)), at) => {
                let at = at.cloned().flatten();
                match (level, switch.as_str()) {
                    ("off", switch) => switch != "off",
                    (_, "off") => true,
                    ("on", _) => false,
                    (level, _) => at.as_deref() != Some(level),
                }
            }
            _ => true,
        };
        if !self.machine.is_check() {
            self.act(&format!("{} logging {level}", self.program))?;
        }
        Ok(changed)
    }

    fn set_rule(&mut self, rule: &str) -> Result<bool, Failure> {
        let args = self.args;
        if !matches!(args.direction.as_deref(), None | Some("in" | "out")) {
            return Err(Failure::new(
                "For rules, direction must be one of \"in\" and \"out\", or direction must not be \
                 specified.",
            ));
        }
        if !args.route && args.interface_in.is_some() && args.interface_out.is_some() {
            return Err(Failure::new(
                "Only route rules can combine interface_in and interface_out",
            ));
        }
        let is_check = self.machine.is_check();
        let place = match args.insert {
            Some(number) if !args.delete => self.place(number)?,
            _ => None,
        };
        let mut words = vec![self.program.clone()];
        for (is_on, word) in [
            (is_check, "--dry-run"),
            (args.route, "route"),
            (args.delete, "delete"),
        ] {
            words.extend(is_on.then(|| word.to_owned()));
        }
        words.extend(place.map(|number| format!("insert {number}")));
        words.push(rule.to_owned());
        words.extend(args.direction.clone());
        let on = |template: &str, value: &Option<String>| {
            value
                .as_ref()
                .filter(|value| !value.is_empty())
                .map(|value| template.replace("%s", value))
        };
        words.extend(on("on %s", &args.interface));
        words.extend(on("in on %s", &args.interface_in));
        words.extend(on("out on %s", &args.interface_out));
        words.extend(args.log.then(|| "log".to_owned()));
        words.push(format!("from {}", args.from_ip));
        words.extend(on("port %s", &args.from_port));
        words.push(format!("to {}", args.to_ip));
        words.extend(on("port %s", &args.to_port));
        words.extend(on("proto %s", &args.proto));
        words.extend(on("app '%s'", &args.name));
        if self.knows_comments()? {
            words.extend(on("comment '%s'", &args.comment));
        }
        let text = words.join(" ");
        if !is_check {
            self.act(&text)?;
            return Ok(false);
        }
        let dry = self.ask(&text)?;
        Ok(self.differs(&dry))
    }

    /// Tells whether the rules of a dry run are others than those that are.
    fn differs(&self, dry: &str) -> bool {
        let n_skipped = dry.lines().filter(|line| line.contains("Skipping")).count();
        if n_skipped > 0 && n_skipped == dry.lines().count() {
            return false;
        }
        let tuples = |text: &str, family: Option<fn(&str) -> bool>| {
            text.lines()
                .filter(|line| line.starts_with("### tuple"))
                .filter(|line| family.is_none_or(|is_of| line.split_whitespace().any(is_of)))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let named = |is_of: fn(&str) -> bool| is_of(&self.args.from_ip) || is_of(&self.args.to_ip);
        let family: Option<fn(&str) -> bool> = if named(is_ipv4) {
            Some(is_ipv4)
        } else if named(is_ipv6) {
            Some(is_ipv6)
        } else {
            None
        };
        tuples(&self.rules, family) != tuples(dry, family)
    }

    /// Returns the number to insert as; `None` for a rule that comes last.
    fn place(&mut self, number: i64) -> Result<Option<i64>, Failure> {
        if self.args.insert_relative_to == "zero" {
            return Ok(Some(number));
        }
        let listed = tool::ask(self.machine, &[self.program.as_str(), "status", "numbered"])?;
        let rules: Vec<(i64, bool)> = listed
            .stdout_text()
            .lines()
            .filter_map(|line| {
                let (inside, _) = line.strip_prefix('[')?.split_once(']')?;
                Some((inside.trim().parse().ok()?, line.contains("(v6)")))
            })
            .collect();
        let last = rules.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let four = rules
            .iter()
            .filter(|(_, six)| !six)
            .map(|(number, _)| *number);
        let last_four = four.max();
        let has_six = rules.iter().any(|(_, six)| *six);
        let from = match self.args.insert_relative_to.as_str() {
            "first-ipv4" => 1,
            "last-ipv4" => last_four.unwrap_or(1),
            "first-ipv6" => last_four.map_or(1, |number| number + 1),
            _ if has_six => last,
            _ => last + 1,
        };
        Ok(Some(number + from).filter(|place| *place <= last))
    }

    fn knows_comments(&mut self) -> Result<bool, Failure> {
        let said = self.ask(&format!("{} --version", self.program))?;
        let found = groups(r"^ufw.+?(\d+)\.(\d+)(?:\.(\d+))?.*$", said.trim_start());
        let number = |index: usize| {
            let text = found.get(index).cloned().flatten()?;
            text.parse::<u32>().ok()
        };
        match (number(0), number(1)) {
            (Some(major), Some(minor)) => Ok(major > 0 || minor >= 35),
            _ => Err(Failure::new("Failed to get ufw version.")
                .with("rc", 0)
                .with("out", said)),
        }
    }

    fn current_rules(&mut self) -> Result<String, Failure> {
        self.commands
            .push(format!("{} -h '^### tuple' {}", self.grep, RULES.join(" ")));
        let mut rules = String::new();
        for path in RULES {
            let path = Path::new(path);
            if !self.machine.exists(path)? {
                continue;
            }
            let bytes = self.machine.read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            for line in text.lines().filter(|line| line.starts_with("### tuple")) {
                rules.push_str(line);
                rules.push('\n');
            }
        }
        Ok(rules)
    }

    fn ask(&mut self, command: &str) -> Result<String, Failure> {
        self.commands.push(command.to_owned());
        let output = tool::ask(self.machine, &words(command)?)?;
        tool::check(Some(&output), said)?;
        Ok(output.stdout_text())
    }

    fn act(&mut self, command: &str) -> Result<(), Failure> {
        self.commands.push(command.to_owned());
        let undo = vec![self.restoring()?];
        let effect = Effect::Compensated {
            what: command.to_owned(),
            undo,
        };
        let program = tool::command(&words(command)?);
        let output = self.machine.execute(&program, effect)?.output();
        tool::check(output.as_ref(), said)
    }

    /// Returns what writes the files of ufw as they are, and loads them.
    fn restoring(&mut self) -> Result<UndoStep, Failure> {
        const SCRIPT: &str = r#"
ufw=$1 verb=$2; shift 2
"$ufw" -f disable >/dev/null
while [ $# -gt 1 ]; do printf %s "$2" >"$1" || exit; shift 2; done
"$ufw" -f "$verb""#;
        let verb = if self.state.contains(" active") {
            "enable"
        } else {
            "disable"
        };
        let mut argv: Vec<String> = ["/bin/sh", "-c", SCRIPT, "sh", &self.program, verb]
            .map(str::to_owned)
            .to_vec();
        for path in RULES.iter().chain(&SETTINGS) {
            if self.machine.exists(Path::new(path))? {
                let bytes = self.machine.read(Path::new(path))?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                argv.extend([(*path).to_owned(), text]);
            }
        }
        Ok(UndoStep::new(argv))
    }
}

fn said(output: &crate::machine::Output) -> String {
    let stderr = output.stderr_text();
    if stderr.is_empty() {
        output.stdout_text()
    } else {
        stderr
    }
}

fn words(command: &str) -> Result<Vec<String>, Failure> {
    split_words(command).ok_or_else(|| Failure::new("No closing quotation"))
}

/// Returns the groups of the first match; empty without one.
fn groups(pattern: &str, text: &str) -> Vec<Option<String>> {
    let pattern =
        Pattern::text(pattern, Flags::default()).expect("the pattern is a regular expression");
    match pattern.search(text) {
        Ok(Some(found)) => (1..=pattern.n_groups())
            .map(|number| text.get(found.span(number)?).map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn is_ipv4(text: &str) -> bool {
    address(text).is_some_and(|address| address.is_ipv4())
}

fn is_ipv6(text: &str) -> bool {
    address(text).is_some_and(|address| address.is_ipv6())
}

fn address(text: &str) -> Option<std::net::IpAddr> {
    text.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const UFW: &str = r#"
case "$*" in
  --version) echo 'ufw 0.36.1' ;;
  "status verbose") [ -e "$here/on" ] && echo 'Status: active' || echo 'Status: inactive'
    echo 'Logging: on (low)'
    echo "Default: $(cat "$here/policy" 2>/dev/null || echo deny) (incoming), allow (outgoing), disabled (routed)" ;;
  "status numbered") printf '[ 1] 22 ALLOW\n[ 2] 80 ALLOW\n[ 3] 22 (v6) ALLOW\n' ;;
  --dry-run*) echo '### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in' ;;
  *enable) : >"$here/on" ;;
  *disable) rm -f "$here/on" ;;
  default*) echo "$2" >"$here/policy" ;;
  *broken*) echo 'ERROR: Bad port' >&2; exit 1 ;;
esac
"#;

    fn host() -> Programs {
        Programs::new([("ufw", UFW)])
    }

    fn changed(result: &str) -> bool {
        result.contains(r#""changed":true"#)
    }

    #[test]
    fn the_firewall_is_enabled_once_and_an_undo_sets_it_back() {
        let host = host();
        let options = r#"{"state": "enabled"}"#;
        assert!(changed(&host.predict("community.general.ufw", options)));
        let result = host.run("community.general.ufw", options);
        assert!(changed(&result));
        assert!(result.contains("$BIN/ufw -f enable"));
        assert!(result.contains("Status: active"));
        assert!(!changed(&host.run("community.general.ufw", options)));
        assert!(!changed(&host.predict("community.general.ufw", options)));
        assert!(host.undo_steps()[0].contains("sh ufw disable"));
    }

    #[test]
    fn a_policy_and_a_level_of_logging_are_compared() {
        let host = host();
        let policy = r#"{"default": "reject", "direction": "incoming"}"#;
        assert!(changed(&host.predict("community.general.ufw", policy)));
        assert!(changed(&host.run("community.general.ufw", policy)));
        assert!(!changed(&host.predict("community.general.ufw", policy)));
        let low = r#"{"logging": "low"}"#;
        assert!(!changed(&host.run("community.general.ufw", low)));
        let full = r#"{"logging": "full"}"#;
        assert!(changed(&host.run("community.general.ufw", full)));
    }

    #[test]
    fn a_rule_has_its_words_in_ufws_order() {
        let host = host();
        let options = r#"{"rule": "allow", "port": "80", "proto": "tcp", "from": "10.0.0.0/8",
            "interface": "eth0", "direction": "in", "comment": "the web", "log": true,
            "insert": 0, "insert_relative_to": "first-ipv6"}"#;
        host.run("community.general.ufw", options);
        let rule = host
            .calls()
            .into_iter()
            .find(|call| call.contains(" allow "));
        assert_eq!(
            rule.as_deref(),
            Some(
                "ufw insert 3 allow in on eth0 log from 10.0.0.0/8 to any port 80 proto tcp comment the web"
            )
        );
        let options = r#"{"rule": "allow", "port": "80", "proto": "tcp"}"#;
        assert!(changed(&host.predict("community.general.ufw", options)));
    }

    #[test]
    fn what_ufw_refuses_and_what_makes_no_sense_is_said() {
        let host = host();
        let result = host.run(
            "community.general.ufw",
            r#"{"rule": "allow", "port": "broken"}"#,
        );
        assert!(result.contains("ERROR: Bad port"));
        let result = host.run(
            "community.general.ufw",
            r#"{"rule": "allow", "interface_in": "a", "interface_out": "b"}"#,
        );
        assert!(result.contains("Only route rules can combine interface_in and interface_out"));
        let result = host.run(
            "community.general.ufw",
            r#"{"rule": "allow", "direction": "incoming"}"#,
        );
        assert!(result.contains("For rules, direction must be one of"));
    }
}
