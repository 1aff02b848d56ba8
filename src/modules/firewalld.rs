//! `firewalld`: what a zone of firewalld lets through, now and for good.
//!
//! Drives `firewall-cmd`, or `firewall-offline-cmd` where the daemon does not run.

use crate::machine::{Machine, Output};
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage arbitrary ports/services with firewalld.
    pub(crate) struct FirewalldArgs for "ansible.posix.firewalld" {
        /// An ICMP message to block.
        icmp_block: Option<String> {},
        /// Let through only the ICMP messages that are blocked otherwise.
        icmp_block_inversion: Option<bool> {},
        service: Option<String> {},
        protocol: Option<String> {},
        /// A port or range with its protocol: `80/tcp`.
        port: Option<String> {},
        /// One port to forward: `port`, `proto`, `toport`, `toaddr`.
        port_forward: Option<Vec<Map>> {},
        rich_rule: Option<String> {},
        /// The zone; the default one unless it is named.
        zone: Option<String> {},
        /// Change the running firewall, beside `permanent`.
        immediate: bool { default: "false" },
        /// A network that belongs to the zone.
        source: Option<String> {},
        /// Change what is loaded after a boot.
        permanent: bool { default: "false" },
        /// Whether it should be so; of zones whether they should be there.
        state: String { required, choices: ["absent", "disabled", "enabled", "present"] },
        /// After how many seconds the running firewall forgets it.
        timeout: i64 { default: "0" },
        /// An interface that belongs to the zone.
        interface: Option<String> {},
        /// Forward inside of the zone.
        forward: Option<bool> {},
        masquerade: Option<bool> {},
        /// Go on where the daemon does not run.
        offline: bool { default: "false" },
        /// What becomes of packets that no rule is about.
        target: Option<String> { choices: ["default", "ACCEPT", "DROP", "%%REJECT%%"] },
    }
    mutually_exclusive [[
        "icmp_block", "icmp_block_inversion", "service", "protocol", "port", "port_forward",
        "rich_rule", "interface", "forward", "masquerade", "source", "target",
    ]]
    required_by [
        ("interface", ["zone"]), ("target", ["zone"]), ("source", ["permanent"]),
    ]
}

const NOT_PERMANENT: &str = "Zone operations must be permanent. Make sure you didn't set the \
                             'permanent' flag to 'false' or the 'immediate' flag to 'true'.";

/// Brings one thing of the zone, or the zone, into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: FirewalldArgs) -> ModuleResult {
    let online = tool::required(machine, "firewall-cmd")?;
    let is_offline = !tool::ask(machine, &[online.as_str(), "--state"])?.success();
    if args.offline && !args.permanent {
        return Err(Failure::new(
            "offline cannot be enabled unless permanent changes are allowed",
        ));
    }
    let immediate = if args.immediate {
        !(args.offline && is_offline)
    } else {
        !args.permanent
    };
    if immediate && is_offline {
        return Err(Failure::new(
            "firewall is not currently running, unable to perform immediate actions without a \
             running firewall daemon",
        ));
    }
    let program = if is_offline {
        tool::required(machine, "firewall-offline-cmd")?
    } else {
        online
    };
    let thing = Thing::wanted(&args)?;
    let is_zone = matches!(thing, Thing::Zone | Thing::Target(_));
    if !is_zone && matches!(args.state.as_str(), "absent" | "present") {
        return Err(Failure::new(
            "absent and present state can only be used in zone level operations",
        ));
    }
    if matches!(thing, Thing::Zone) && matches!(args.state.as_str(), "enabled" | "disabled") {
        let msg = if is_offline {
            "(offline operation: only on-disk configs were altered)"
        } else {
            ""
        };
        return Ok(Outcome::unchanged().msg(msg));
    }
    if is_zone && immediate {
        return Err(Failure::new(NOT_PERMANENT));
    }
    let mut firewall = Firewall {
        machine,
        program,
        is_offline,
        zone: String::new(),
        timeout: args.timeout,
    };
    firewall.zone = match &args.zone {
        Some(zone) => zone.clone(),
        None => firewall.answer(&["--get-default-zone"])?,
    };
    let on = matches!(args.state.as_str(), "enabled" | "present");
    let on = match thing {
        Thing::Switch(_, wanted) => on == wanted,
        _ => on,
    };
    let mut changed = false;
    let spans: &[bool] = match (args.permanent, immediate) {
        (true, true) => &[true, false],
        (true, false) => &[true],
        _ => &[false],
    };
    let mut differing = Vec::new();
    for permanent in spans {
        if firewall.is_on(&thing, *permanent)? != on {
            differing.push(*permanent);
        }
    }
    if firewall.machine.is_check() && !differing.is_empty() {
        return Ok(Outcome::changed());
    }
    for permanent in differing {
        firewall.set(&thing, on, permanent)?;
        changed = true;
    }
    let mut msgs = vec![
        match (args.permanent, immediate) {
            (true, true) => "Permanent and Non-Permanent(immediate) operation",
            (true, false) => "Permanent operation",
            _ => "Non-permanent operation",
        }
        .to_owned(),
    ];
    if changed {
        msgs.push(thing.told(&firewall.zone, on, &args.state));
    }
    if is_offline {
        msgs.push("(offline operation: only on-disk configs were altered)".into());
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .msg(msgs.join(", ")))
}

/// What it is about.
#[derive(Debug)]
enum Thing {
    /// Something with a value: the words of firewall-cmd, Ansible's, and the value.
    Valued(&'static str, &'static str, String),
    /// Something that is on or off, and how it is wanted when the state is `enabled`.
    Switch(&'static str, bool),
    Target(String),
    Zone,
}

impl Thing {
    fn wanted(args: &FirewalldArgs) -> Result<Self, Failure> {
        let valued = [
            ("icmp-block", "icmp-block", &args.icmp_block),
            ("service", "service", &args.service),
            ("protocol", "protocol", &args.protocol),
            ("source", "source", &args.source),
            ("rich-rule", "rich_rule", &args.rich_rule),
            ("interface", "interface", &args.interface),
        ];
        for (words, name, value) in valued {
            if let Some(value) = value {
                return Ok(Self::Valued(words, name, value.clone()));
            }
        }
        if let Some(port) = &args.port {
            let port = port.trim();
            return match port.split_once('/') {
                Some((_, protocol)) if !protocol.is_empty() => {
                    Ok(Self::Valued("port", "port", port.to_owned()))
                }
                _ => Err(Failure::new("improper port format (missing protocol?)")),
            };
        }
        if let Some(forwards) = &args.port_forward {
            return forward(forwards);
        }
        for (words, wanted) in [
            ("icmp-block-inversion", args.icmp_block_inversion),
            ("forward", args.forward),
            ("masquerade", args.masquerade),
        ] {
            if let Some(wanted) = wanted {
                return Ok(Self::Switch(words, wanted));
            }
        }
        Ok(match &args.target {
            Some(target) => Self::Target(target.clone()),
            None => Self::Zone,
        })
    }

    /// Returns what is said of a change.
    fn told(&self, zone: &str, on: bool, state: &str) -> String {
        match self {
            Self::Valued("source", _, value) if on => format!("Added {value} to zone {zone}"),
            Self::Valued("interface", _, value) if on => {
                format!("Changed {value} to zone {zone}")
            }
            Self::Valued("source" | "interface", _, value) => {
                format!("Removed {value} from zone {zone}")
            }
            Self::Valued(_, name, value) => format!("Changed {name} {value} to {state}"),
            Self::Switch("icmp-block-inversion", wanted) => {
                let wanted = Value::from(*wanted);
                format!("Changed icmp-block-inversion {wanted} to {state}")
            }
            Self::Switch(name, _) if on => format!("Added {name} to zone {zone}"),
            Self::Switch(name, _) => format!("Removed {name} from zone {zone}"),
            Self::Target(target) if on => format!("Set zone {zone} target to {target}"),
            Self::Target(_) => format!("Reset zone {zone} target to default"),
            Self::Zone if on => {
                format!("Added zone {zone}, Changed zone {zone} to {state}")
            }
            Self::Zone => format!("Removed zone {zone}, Changed zone {zone} to {state}"),
        }
    }

    /// Returns the option that asks for, adds or removes it.
    fn option(&self, verb: &str) -> String {
        match self {
            Self::Valued(words, _, value) => format!("--{verb}-{words}={value}"),
            Self::Switch(words, _) => format!("--{verb}-{words}"),
            Self::Target(_) | Self::Zone => String::new(),
        }
    }
}

fn forward(forwards: &[Map]) -> Result<Thing, Failure> {
    let [forward] = forwards else {
        return Err(Failure::new("Only one port forward supported at a time"));
    };
    let field = |name: &str, what: &str| {
        forward
            .get(name)
            .map(Value::to_string)
            .ok_or_else(|| Failure::new(format!("{what} must be specified for port forward")))
    };
    let port = field("port", "port")?;
    let proto = field("proto", "proto udp/tcp")?;
    let toport = field("toport", "toport")?;
    let toaddr = forward.get("toaddr").map(Value::to_string);
    let value = format!(
        "port={port}:proto={proto}:toport={toport}:toaddr={}",
        toaddr.unwrap_or_default()
    );
    Ok(Thing::Valued("forward-port", "port_forward", value))
}

struct Firewall<'a> {
    machine: &'a mut Machine,
    program: String,
    is_offline: bool,
    zone: String,
    timeout: i64,
}

impl Firewall<'_> {
    fn argv(&self, permanent: bool, in_zone: bool, options: &[String]) -> Vec<String> {
        let mut argv = vec![self.program.clone()];
        if permanent && !self.is_offline {
            argv.push("--permanent".into());
        }
        if in_zone {
            argv.push(format!("--zone={}", self.zone));
        }
        argv.extend(options.iter().cloned());
        argv
    }

    fn answer(&mut self, options: &[&str]) -> Result<String, Failure> {
        let options: Vec<_> = options.iter().map(|word| (*word).to_owned()).collect();
        let argv = self.argv(false, false, &options);
        let output = tool::ask(self.machine, &argv)?;
        refuse(Some(&output))?;
        Ok(output.stdout_text().trim().to_owned())
    }

    fn is_on(&mut self, thing: &Thing, permanent: bool) -> Result<bool, Failure> {
        match thing {
            Thing::Zone => {
                let argv = self.argv(true, false, &["--get-zones".into()]);
                let output = tool::ask(self.machine, &argv)?;
                refuse(Some(&output))?;
                let text = output.stdout_text();
                Ok(text.split_whitespace().any(|zone| zone == self.zone))
            }
            Thing::Target(target) => Ok(self.target()? == *target),
            thing => {
                let argv = self.argv(permanent, true, &[thing.option("query")]);
                let output = tool::ask(self.machine, &argv)?;
                // 1 means no; whatever else is an error.
                if output.status > 1 {
                    refuse(Some(&output))?;
                }
                Ok(output.success())
            }
        }
    }

    fn target(&mut self) -> Result<String, Failure> {
        let argv = self.argv(true, true, &["--get-target".into()]);
        let output = tool::ask(self.machine, &argv)?;
        refuse(Some(&output))?;
        Ok(output.stdout_text().trim().to_owned())
    }

    fn set(&mut self, thing: &Thing, on: bool, permanent: bool) -> Result<(), Failure> {
        let (add, remove) = match thing {
            Thing::Zone => {
                let zone = &self.zone;
                let [add, remove] =
                    ["new", "delete"].map(|verb| vec![format!("--{verb}-zone={zone}")]);
                (
                    self.argv(true, false, &add),
                    self.argv(true, false, &remove),
                )
            }
            Thing::Target(target) => {
                let old = self.target()?;
                let set = |target: &str| vec![format!("--set-target={target}")];
                let wanted = if on { target.as_str() } else { "default" };
                let argv = self.argv(true, true, &set(wanted));
                let undo = self.argv(true, true, &set(&old));
                return self.act(&argv, &undo);
            }
            Thing::Valued("interface", _, _) => {
                return self.set_interface(thing, on, permanent);
            }
            thing => {
                let mut add = vec![thing.option("add")];
                if self.timeout > 0 && !permanent {
                    add.push(format!("--timeout={}", self.timeout));
                }
                (
                    self.argv(permanent, true, &add),
                    self.argv(permanent, true, &[thing.option("remove")]),
                )
            }
        };
        if on {
            self.act(&add, &remove)
        } else {
            self.act(&remove, &add)
        }
    }

    /// An interface belongs to one zone: another one gives it up.
    fn set_interface(&mut self, thing: &Thing, on: bool, permanent: bool) -> Result<(), Failure> {
        let Thing::Valued(_, _, name) = thing else {
            return Ok(());
        };
        let asked = self.argv(
            permanent,
            false,
            &[format!("--get-zone-of-interface={name}")],
        );
        let output = tool::ask(self.machine, &asked)?;
        let old = output.stdout_text().trim().to_owned();
        let remove = self.argv(permanent, true, &[thing.option("remove")]);
        let change = self.argv(permanent, true, &[thing.option("change")]);
        if !on {
            return self.act(&remove, &change);
        }
        if output.success() && !old.is_empty() {
            let wanted = std::mem::replace(&mut self.zone, old);
            let back = self.argv(permanent, true, &[thing.option("change")]);
            self.zone = wanted;
            return self.act(&change, &back);
        }
        self.act(&change, &remove)
    }

    fn act(&mut self, argv: &[String], undo: &[String]) -> Result<(), Failure> {
        let output = tool::act(self.machine, argv, undo)?;
        refuse(output.as_ref())
    }
}

fn refuse(output: Option<&Output>) -> Result<(), Failure> {
    tool::check(output, |output| {
        let said = output.stderr_text() + &output.stdout_text();
        let said = said.trim().trim_start_matches("Error: ");
        let help = if said.contains("INVALID_SERVICE") {
            " Services are defined by port/tcp relationship and named as they are in /etc/services \
             (on most systems)"
        } else {
            ""
        };
        format!("ERROR: Exception caught: {said}{help}")
    })
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    /// Each thing that is on is a file, permanent ones with a P in front.
    const CMD: &str = r#"
span=; [ "$1" = --permanent ] && { span=P; shift; }
name() { echo "$span$1" | tr '/ ' '__'; }
case "$*" in
  --state) exit 0 ;;
  --get-default-zone) echo public ;;
  --get-zones) cat "$here/zones" 2>/dev/null || echo 'public work' ;;
  *--get-target) cat "$here/target" 2>/dev/null || echo default ;;
  *--set-target=*) echo "${2#--set-target=}" >"$here/target" ;;
  --new-zone=*) echo "public work ${1#--new-zone=}" >"$here/zones" ;;
  *nosuch*) echo "Error: INVALID_SERVICE: 'nosuch' not among existing services"; exit 101 ;;
  --get-zone-of-interface*) echo work ;;
  *--query-*) [ -e "$here/$(name "${2#--query-}")" ] ;;
  *--add-*) : >"$here/$(name "${2#--add-}")" ;;
  *--change-*) : >"$here/$(name "${2#--change-}")" ;;
  *--remove-*) rm "$here/$(name "${2#--remove-}")" ;;
esac
"#;

    fn call(host: &Programs, options: &str) -> String {
        host.run("ansible.posix.firewalld", options)
    }

    #[test]
    fn a_service_is_enabled_now_and_for_good_then_disabled() {
        let host = Programs::new([("firewall-cmd", CMD)]);
        let on =
            r#"{"service": "https", "permanent": true, "immediate": true, "state": "enabled"}"#;
        assert_eq!(
            host.predict("ansible.posix.firewalld", on),
            r#"{"changed":true}"#
        );
        assert_eq!(
            call(&host, on),
            r#"{"changed":true,"msg":"Permanent and Non-Permanent(immediate) operation, Changed service https to enabled"}"#
        );
        assert_eq!(
            call(&host, on),
            r#"{"changed":false,"msg":"Permanent and Non-Permanent(immediate) operation"}"#
        );
        let off = r#"{"service": "https", "state": "disabled"}"#;
        assert_eq!(
            call(&host, off),
            r#"{"changed":true,"msg":"Non-permanent operation, Changed service https to disabled"}"#
        );
        assert_eq!(
            host.undo_steps(),
            [
                "firewall-cmd --permanent --zone=public --remove-service=https",
                "firewall-cmd --zone=public --remove-service=https",
                "firewall-cmd --zone=public --add-service=https",
            ]
        );
    }

    #[test]
    fn switches_ports_and_targets_are_told_in_ansibles_words() {
        let host = Programs::new([("firewall-cmd", CMD)]);
        for (options, msg) in [
            (
                r#""masquerade": true, "state": "enabled", "permanent": true"#,
                "Permanent operation, Added masquerade to zone public",
            ),
            (
                r#""masquerade": false, "state": "enabled", "permanent": true"#,
                "Permanent operation, Removed masquerade from zone public",
            ),
            (
                r#""port": "8081/tcp", "state": "enabled", "timeout": 60"#,
                "Non-permanent operation, Changed port 8081/tcp to enabled",
            ),
            (
                r#""source": "192.0.2.0/24", "zone": "work", "state": "enabled", "permanent": true"#,
                "Permanent operation, Added 192.0.2.0/24 to zone work",
            ),
            (
                r#""target": "DROP", "zone": "work", "state": "present", "permanent": true"#,
                "Permanent operation, Set zone work target to DROP",
            ),
            (
                r#""zone": "custom", "state": "present", "permanent": true"#,
                "Permanent operation, Added zone custom, Changed zone custom to present",
            ),
            (
                r#""port_forward": [{"port": 443, "proto": "tcp", "toport": 8443}], "state": "enabled""#,
                "Non-permanent operation, Changed port_forward port=443:proto=tcp:toport=8443:toaddr= to enabled",
            ),
            (
                r#""interface": "eth2", "zone": "public", "state": "enabled", "permanent": true"#,
                "Permanent operation, Changed eth2 to zone public",
            ),
        ] {
            let result = call(&host, &format!("{{{options}}}"));
            assert_eq!(
                result,
                format!(r#"{{"changed":true,"msg":"{msg}"}}"#),
                "{options}"
            );
        }
        let calls = host.calls();
        assert!(
            calls.contains(&"firewall-cmd --zone=public --add-port=8081/tcp --timeout=60".into())
        );
    }

    #[test]
    fn wrong_calls_are_refused() {
        let host = Programs::new([("firewall-cmd", CMD)]);
        for (options, msg) in [
            (
                r#""service": "nosuch", "state": "enabled""#,
                "INVALID_SERVICE",
            ),
            (
                r#""port": "80", "state": "enabled""#,
                "improper port format (missing protocol?)",
            ),
            (
                r#""service": "x", "state": "present""#,
                "absent and present state can only be used in zone level operations",
            ),
            (
                r#""zone": "x", "state": "present""#,
                "Zone operations must be permanent.",
            ),
            (
                r#""service": "x", "state": "enabled", "offline": true"#,
                "offline cannot be enabled unless permanent changes are allowed",
            ),
        ] {
            let result = call(&host, &format!("{{{options}}}"));
            assert!(result.contains(msg), "{options}: {result}");
        }
        let stopped = Programs::new([("firewall-cmd", "exit 252")]);
        assert!(
            call(&stopped, r#"{"service": "x", "state": "enabled"}"#)
                .contains("firewall is not currently running")
        );
    }
}
