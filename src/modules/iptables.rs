//! `iptables`: one rule, chain or policy of the kernel's packet filter, now and not after a boot.
//!
//! Drives `iptables` and `ip6tables`. What is deleted or flushed comes back from the table as
//! `iptables-save` told it.

use crate::machine::{Machine, Output};
use crate::pyregex::{Flags, Pattern};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Modify iptables rules.
    pub(crate) struct IptablesArgs for "iptables" {
        /// The table the command works on.
        table: String {
            default: "filter", choices: ["filter", "nat", "mangle", "raw", "security"],
        },
        /// Whether the rule should be there.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Whether a new rule comes last or first.
        action: String { default: "append", choices: ["append", "insert"] },
        /// For which protocol; for both the rule is one of each.
        ip_version: String { default: "ipv4", choices: ["ipv4", "ipv6", "both"] },
        /// The chain.
        chain: Option<String> {},
        /// The number a new rule is inserted as.
        rule_num: Option<String> {},
        /// The protocol of the packets.
        protocol: Option<String> {},
        /// Seconds to wait for another iptables to end.
        wait: Option<String> {},
        /// Where packets come from.
        source: Option<String> {},
        /// What their source becomes.
        to_source: Option<String> {},
        /// Where packets go.
        destination: Option<String> {},
        /// What their destination becomes.
        to_destination: Option<String> {},
        /// Extensions to match with.
        r#match: Vec<String> { default: "" },
        /// Which TCP flags are looked at (`flags`), and which of them are set (`flags_set`).
        tcp_flags: Option<Map> {},
        /// The target of the rule.
        jump: Option<String> {},
        /// Where TEE sends the copy.
        gateway: Option<String> {},
        /// What LOG writes first.
        log_prefix: Option<String> {},
        /// The level LOG writes at.
        log_level: Option<String> {
            choices: [
                "0", "1", "2", "3", "4", "5", "6", "7", "emerg", "alert", "crit", "error",
                "warning", "notice", "info", "debug",
            ],
        },
        /// The chain to go on in.
        goto: Option<String> {},
        /// Where packets came in.
        in_interface: Option<String> {},
        /// Where packets go out.
        out_interface: Option<String> {},
        /// Only second and further fragments.
        fragment: Option<String> {},
        /// The rule's first counters.
        set_counters: Option<String> {},
        source_port: Option<String> {},
        destination_port: Option<String> {},
        /// Several destination ports.
        destination_ports: Vec<String> { default: "" },
        /// The ports to change to.
        to_ports: Option<String> {},
        /// The DSCP mark to set.
        set_dscp_mark: Option<String> {},
        /// The DSCP class to set.
        set_dscp_mark_class: Option<String> {},
        /// What the rule is for.
        comment: Option<String> {},
        /// States of the connection.
        ctstate: Vec<String> { default: "" },
        src_range: Option<String> {},
        dst_range: Option<String> {},
        /// The set of addresses to match.
        match_set: Option<String> {},
        /// Which address of a packet is looked up in the set.
        match_set_flags: Option<String> {
            choices: ["src", "dst", "src,dst", "dst,src", "src,src", "dst,dst"],
        },
        /// How often the rule matches.
        limit: Option<String> {},
        /// How often it matches before the limit counts.
        limit_burst: Option<String> {},
        uid_owner: Option<String> {},
        gid_owner: Option<String> {},
        /// What a rejected packet is answered with.
        reject_with: Option<String> {},
        icmp_type: Option<String> {},
        /// Whether packets begin a TCP connection.
        syn: String { default: "ignore", choices: ["ignore", "match", "negate"] },
        /// Delete all rules of the chain, or of all chains.
        flush: bool { default: "false" },
        /// The policy of a chain.
        policy: Option<String> { choices: ["ACCEPT", "DROP", "QUEUE", "RETURN"] },
        /// Create and delete chains.
        chain_management: bool { default: "false" },
        /// Do not look up names when listing.
        numeric: bool { default: "false" },
    }
    mutually_exclusive [["set_dscp_mark", "set_dscp_mark_class"], ["flush", "policy"]]
    required_by [("set_dscp_mark", ["jump"]), ("set_dscp_mark_class", ["jump"])]
    required_if [
        ("jump", "TEE", ["gateway"], false),
        ("jump", "tee", ["gateway"], false),
        ("flush", "False", ["chain"], false),
    ]
}

/// Brings the rule, chain or policy into the wanted state.
pub(crate) fn run(machine: &mut Machine, mut args: IptablesArgs) -> ModuleResult {
    let mut outcome = Outcome::unchanged()
        .with("ip_version", args.ip_version.as_str())
        .with("table", args.table.as_str())
        .with("chain", text_or_null(args.chain.as_deref()))
        .with("flush", args.flush)
        .with("rule", rule(&args).join(" "))
        .with("state", args.state.as_str())
        .with("chain_management", args.chain_management)
        .with("wait", text_or_null(args.wait.as_deref()));
    let programs: &[&str] = match args.ip_version.as_str() {
        "ipv4" => &["iptables"],
        "ipv6" => &["ip6tables"],
        _ => &["iptables", "ip6tables"],
    };
    let has_rule = !rule(&args).is_empty();
    if args.log_prefix.is_some() || args.log_level.is_some() {
        match args.jump.as_deref() {
            None => args.jump = Some("LOG".into()),
            Some("LOG") => {}
            Some(_) => {
                return Err(Failure::new(
                    "Logging options can only be used with the LOG jump target.",
                ));
            }
        }
    }
    for program in programs {
        let path = tool::required(machine, program)?;
        args.wait = usable_wait(&version(machine, &path)?, args.wait);
        let filter = Filter {
            machine: &mut *machine,
            path,
            args: &args,
        };
        outcome.changed |= filter.settle(has_rule)?;
    }
    Ok(outcome)
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

/// Returns the digits of `iptables v1.8.9 (nf_tables)`.
fn version(machine: &mut Machine, path: &str) -> Result<Vec<u32>, Failure> {
    let output = tool::ask(machine, &[path, "--version"])?;
    tool::check(Some(&output), Output::stderr_text)?;
    let text = output.stdout_text();
    let number = text.split_once('v').map_or("", |(_, rest)| rest);
    Ok(number
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or_default()
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect())
}

/// Old versions cannot be told how long to wait.
fn usable_wait(version: &[u32], wait: Option<String>) -> Option<String> {
    wait.filter(|wait| !wait.is_empty() && version >= &[1, 6, 0][..])
}

/// One of the two programs, at work.
struct Filter<'a> {
    machine: &'a mut Machine,
    path: String,
    args: &'a IptablesArgs,
}

impl Filter<'_> {
    /// Returns whether anything changed.
    fn settle(mut self, has_rule: bool) -> Result<bool, Failure> {
        let is_wanted = self.args.state == "present";
        if self.args.flush {
            let undo = self.restoring()?;
            self.act("-F", &[], undo)?;
            Ok(true)
        } else if let Some(policy) = &self.args.policy {
            self.set_policy(policy)
        } else if has_rule {
            self.settle_rule(is_wanted)
        } else {
            self.settle_chain(is_wanted)
        }
    }

    fn settle_rule(&mut self, is_wanted: bool) -> Result<bool, Failure> {
        let rule = rule(self.args);
        let argv = self.argv("-C", &rule);
        if tool::ask(self.machine, &argv)?.success() == is_wanted {
            return Ok(false);
        }
        let (action, undo) = if is_wanted {
            let action = if self.args.action == "insert" {
                "-I"
            } else {
                "-A"
            };
            (action, vec![UndoStep::new(self.argv("-D", &rule))])
        } else {
            ("-D", self.restoring()?)
        };
        self.act(action, &rule, undo)?;
        Ok(true)
    }

    fn settle_chain(&mut self, is_wanted: bool) -> Result<bool, Failure> {
        let mut argv = self.argv("-L", &[]);
        if self.args.numeric {
            argv.push("--numeric".into());
        }
        if tool::ask(self.machine, &argv)?.success() == is_wanted {
            return Ok(false);
        }
        if self.args.chain_management {
            let (action, back) = if is_wanted {
                ("-N", "-X")
            } else {
                ("-X", "-N")
            };
            let undo = vec![UndoStep::new(self.argv(back, &[]))];
            self.act(action, &[], undo)?;
        }
        Ok(true)
    }

    fn set_policy(&mut self, policy: &str) -> Result<bool, Failure> {
        let mut argv = self.argv("-L", &[]);
        if self.args.numeric {
            argv.push("--numeric".into());
        }
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), Output::stderr_text)?;
        let current = policy_of(&output.stdout_text())
            .ok_or_else(|| Failure::new("Can't detect current policy"))?;
        if current == policy {
            return Ok(false);
        }
        let mut undo = self.argv("-P", &[]);
        undo.push(current);
        self.act("-P", &[policy.to_owned()], vec![UndoStep::new(undo)])?;
        Ok(true)
    }

    fn argv(&self, action: &str, rest: &[String]) -> Vec<String> {
        let args = self.args;
        let mut argv = vec![
            self.path.clone(),
            "-t".into(),
            args.table.clone(),
            action.into(),
        ];
        argv.extend(args.chain.clone());
        if action == "-I" {
            argv.extend(args.rule_num.clone());
        }
        if let Some(wait) = &args.wait {
            argv.extend(["-w".into(), wait.clone()]);
        }
        argv.extend(rest.iter().cloned());
        argv
    }

    fn act(&mut self, action: &str, rest: &[String], undo: Vec<UndoStep>) -> Result<(), Failure> {
        let argv = self.argv(action, rest);
        let output = tool::act_undone_by(self.machine, &argv, undo)?;
        tool::check(output.as_ref(), Output::stderr_text)
    }

    /// Returns what loads the table as it is now.
    fn restoring(&mut self) -> Result<Vec<UndoStep>, Failure> {
        if self.machine.is_check() {
            return Ok(Vec::new());
        }
        let table = &self.args.table;
        let save = format!("{}-save", self.path);
        let saved = tool::ask(self.machine, &[&save, "-c", "-t", table])?;
        tool::check(Some(&saved), Output::stderr_text)?;
        let script = r#"printf %s "$1" | "$2" -c -T "$3""#;
        let restore = format!("{}-restore", self.path);
        let text = saved.stdout_text();
        Ok(vec![tool::step(&[
            "/bin/sh", "-c", script, "sh", &text, &restore, table,
        ])])
    }
}

/// Reads `Chain INPUT (policy ACCEPT)`.
fn policy_of(listing: &str) -> Option<String> {
    let head = listing.lines().next()?;
    let pattern = Pattern::text(r"\(policy ([A-Z]+)\)", Flags::default()).ok()?;
    let found = pattern.search(head).ok()??;
    head.get(found.span(1)?).map(str::to_owned)
}

/// Returns the words of the rule.
fn rule(args: &IptablesArgs) -> Vec<String> {
    let mut rule = Words::default();
    let has = |name: &str| args.r#match.iter().any(|given| given == name);
    rule.option("-p", args.protocol.as_deref());
    rule.option("-s", args.source.as_deref());
    rule.option("-d", args.destination.as_deref());
    for name in &args.r#match {
        rule.option("-m", Some(name));
    }
    rule.tcp_flags(args.tcp_flags.as_ref());
    rule.option("-j", args.jump.as_deref());
    if args
        .jump
        .as_deref()
        .is_some_and(|jump| jump.eq_ignore_ascii_case("tee"))
    {
        rule.option("--gateway", args.gateway.as_deref());
    }
    rule.option("--log-prefix", args.log_prefix.as_deref());
    rule.option("--log-level", args.log_level.as_deref());
    rule.option("--to-destination", args.to_destination.as_deref());
    if !args.destination_ports.is_empty() {
        rule.words(&["-m", "multiport", "--dports"]);
        rule.words(&[&args.destination_ports.join(",")]);
    }
    rule.option("--to-source", args.to_source.as_deref());
    rule.option("-g", args.goto.as_deref());
    rule.option("-i", args.in_interface.as_deref());
    rule.option("-o", args.out_interface.as_deref());
    rule.option("-f", args.fragment.as_deref());
    rule.option("-c", args.set_counters.as_deref());
    rule.option("--source-port", args.source_port.as_deref());
    rule.option("--destination-port", args.destination_port.as_deref());
    rule.option("--to-ports", args.to_ports.as_deref());
    for (flag, value) in [
        ("--set-dscp", &args.set_dscp_mark),
        ("--set-dscp-class", &args.set_dscp_mark_class),
    ] {
        rule.option(flag, value.as_deref());
        let jump = args.jump.as_deref().unwrap_or_default();
        if value.is_some() && !jump.eq_ignore_ascii_case("dscp") {
            rule.words(&["-j", "DSCP"]);
        }
    }
    match args.syn.as_str() {
        "match" => rule.words(&["--syn"]),
        "negate" => rule.words(&["!", "--syn"]),
        _ => {}
    }
    if !args.ctstate.is_empty() {
        let flag = if !has("conntrack") && has("state") {
            "--state"
        } else {
            "--ctstate"
        };
        if !has("conntrack") && !has("state") {
            rule.words(&["-m", "conntrack"]);
        }
        rule.words(&[flag, &args.ctstate.join(",")]);
    }
    if !has("iprange") && (args.src_range.is_some() || args.dst_range.is_some()) {
        rule.words(&["-m", "iprange"]);
    }
    rule.option("--src-range", args.src_range.as_deref());
    rule.option("--dst-range", args.dst_range.as_deref());
    if args.match_set.is_some() && !has("set") {
        rule.words(&["-m", "set"]);
    }
    rule.option("--match-set", args.match_set.as_deref());
    if has("set") || args.match_set.is_some() {
        rule.words(&[args.match_set_flags.as_deref().unwrap_or_default()]);
    }
    if args.limit.is_some() || args.limit_burst.is_some() {
        rule.words(&["-m", "limit"]);
    }
    rule.option("--limit", args.limit.as_deref());
    rule.option("--limit-burst", args.limit_burst.as_deref());
    for (flag, owner) in [
        ("--uid-owner", &args.uid_owner),
        ("--gid-owner", &args.gid_owner),
    ] {
        if let Some(owner) = owner {
            rule.words(&["-m", "owner"]);
            rule.option(flag, Some(owner));
        }
    }
    if args.jump.is_none() && args.reject_with.is_some() {
        rule.words(&["-j", "REJECT"]);
    }
    rule.option("--reject-with", args.reject_with.as_deref());
    let icmp = match args.ip_version.as_str() {
        "ipv4" => "--icmp-type",
        "ipv6" => "--icmpv6-type",
        _ => "--icmp-type --icmpv6-type",
    };
    rule.option(icmp, args.icmp_type.as_deref());
    if args.comment.is_some() {
        rule.words(&["-m", "comment"]);
    }
    rule.option("--comment", args.comment.as_deref());
    rule.0
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(
            words
                .iter()
                .filter(|word| !word.is_empty())
                .map(|word| (*word).to_owned()),
        );
    }

    /// Adds an option; a value that begins with `!` negates it.
    fn option(&mut self, flag: &str, value: Option<&str>) {
        match value.map(|value| (value, value.strip_prefix('!'))) {
            None => {}
            Some((_, Some(value))) => {
                self.0
                    .extend(["!".into(), flag.to_owned(), value.to_owned()]);
            }
            Some((value, None)) => self.0.extend([flag.to_owned(), value.to_owned()]),
        }
    }

    fn tcp_flags(&mut self, given: Option<&Map>) {
        let list = |name: &str| {
            let value = given?.get(name)?;
            let texts: Vec<_> = match value {
                Value::List(items) => items.iter().map(Value::to_string).collect(),
                other => vec![other.to_string()],
            };
            Some(texts.join(","))
        };
        if let (Some(flags), Some(set)) = (list("flags"), list("flags_set")) {
            self.0.extend(["--tcp-flags".into(), flags, set]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    /// Knows one rule, one chain and one policy.
    const IPTABLES: &str = r#"
case "$*" in
  --version) echo 'iptables v1.8.9 (nf_tables)' ;;
  *" -C "*) [ -e "$here/rule" ] ;;
  *" -A "*|*" -I "*) : >"$here/rule" ;;
  *" -D "*) rm "$here/rule" ;;
  *" -L NEW"*) [ -e "$here/chain" ] ;;
  *" -N "*) : >"$here/chain" ;;
  *" -L "*) echo "Chain INPUT (policy $(cat "$here/policy" 2>/dev/null || echo ACCEPT))" ;;
  *" -P "*) echo "$5" >"$here/policy" ;;
  *" -F"*) : ;;
  *) exit 2 ;;
esac
"#;

    fn programs() -> Programs {
        Programs::new([
            ("iptables", IPTABLES),
            ("iptables-save", "printf '*filter\\nCOMMIT\\n'"),
            ("iptables-restore", "cat >\"$here/restored\""),
        ])
    }

    fn rule_of(options: &str) -> String {
        let given: Value = serde_json::from_str(options).unwrap();
        rule(&IptablesArgs::parse(given.as_map().unwrap()).unwrap()).join(" ")
    }

    #[test]
    fn a_rule_is_put_there_once_and_taken_out() {
        let programs = programs();
        let options = r#"{"chain": "INPUT", "protocol": "tcp", "destination_port": "8080",
            "jump": "ACCEPT", "wait": "5"}"#;
        let result = r#"{"changed":true,"ip_version":"ipv4","table":"filter","chain":"INPUT","flush":false,"rule":"-p tcp -j ACCEPT --destination-port 8080","state":"present","chain_management":false,"wait":"5"}"#;
        assert_eq!(programs.predict("iptables", options), result);
        assert_eq!(programs.run("iptables", options), result);
        assert_eq!(
            programs.run("iptables", options),
            result.replace(r#""changed":true"#, r#""changed":false"#)
        );
        let absent = options.replace('{', r#"{"state": "absent", "#);
        assert!(
            programs
                .run("iptables", &absent)
                .contains(r#""changed":true"#)
        );
        assert_eq!(
            programs.undo_steps(),
            [
                "iptables -t filter -D INPUT -w 5 -p tcp -j ACCEPT --destination-port 8080",
                "/bin/sh -c printf %s \"$1\" | \"$2\" -c -T \"$3\" sh *filter\nCOMMIT\n iptables-restore filter",
            ]
        );
    }

    #[test]
    fn a_policy_is_set_back_and_a_chain_is_made_only_if_asked() {
        let programs = programs();
        let options = r#"{"chain": "INPUT", "policy": "DROP"}"#;
        assert!(
            programs
                .run("iptables", options)
                .contains(r#""changed":true"#)
        );
        assert!(
            programs
                .run("iptables", options)
                .contains(r#""changed":false"#)
        );
        assert_eq!(
            programs.undo_steps(),
            ["iptables -t filter -P INPUT ACCEPT"]
        );
        let options = r#"{"chain": "NEW"}"#;
        assert!(
            programs
                .run("iptables", options)
                .contains(r#""changed":true"#)
        );
        assert_eq!(programs.undo_steps().len(), 1);
        let options = r#"{"chain": "NEW", "chain_management": true}"#;
        assert!(
            programs
                .run("iptables", options)
                .contains(r#""changed":true"#)
        );
        assert!(
            programs
                .run("iptables", options)
                .contains(r#""changed":false"#)
        );
        assert_eq!(programs.undo_steps()[1], "iptables -t filter -X NEW");
    }

    #[test]
    fn every_option_has_its_words() {
        for (options, words) in [
            (
                r#"{"chain": "I", "source": "!8.8.8.8", "match": ["state"], "ctstate": "NEW,ESTABLISHED", "syn": "negate"}"#,
                "! -s 8.8.8.8 -m state ! --syn --state NEW,ESTABLISHED",
            ),
            (
                r#"{"chain": "I", "ctstate": ["NEW"], "destination_ports": ["80", "8081:8083"], "comment": "web"}"#,
                "-m multiport --dports 80,8081:8083 -m conntrack --ctstate NEW -m comment --comment web",
            ),
            (
                r#"{"chain": "I", "tcp_flags": {"flags": "ALL", "flags_set": ["ACK", "RST"]}, "limit": "2/second", "limit_burst": "20"}"#,
                "--tcp-flags ALL ACK,RST -m limit --limit 2/second --limit-burst 20",
            ),
            (
                r#"{"chain": "I", "reject_with": "tcp-reset", "ip_version": "ipv6", "icmp_type": "8", "uid_owner": "!root"}"#,
                "-m owner ! --uid-owner root -j REJECT --reject-with tcp-reset --icmpv6-type 8",
            ),
            (
                r#"{"chain": "I", "jump": "TEE", "gateway": "10.0.0.1", "src_range": "10.0.0.1-10.0.0.9", "match_set": "bad", "match_set_flags": "src"}"#,
                "-j TEE --gateway 10.0.0.1 -m iprange --src-range 10.0.0.1-10.0.0.9 -m set --match-set bad src",
            ),
        ] {
            assert_eq!(rule_of(options), words, "{options}");
        }
    }

    #[test]
    fn old_programs_wait_as_they_can() {
        let wait = Some("5".to_owned());
        assert_eq!(usable_wait(&[1, 4, 21], wait.clone()), None);
        assert_eq!(usable_wait(&[1, 8, 9], wait.clone()), wait);
    }

    #[test]
    fn a_missing_chain_and_a_log_that_is_no_log_are_refused() {
        let programs = programs();
        assert!(
            programs
                .run("iptables", "{}")
                .contains("flush is False but all of the following are missing: chain")
        );
        let options = r#"{"chain": "INPUT", "jump": "DROP", "log_prefix": "x"}"#;
        assert!(
            programs
                .run("iptables", options)
                .contains("Logging options can only be used with the LOG jump target.")
        );
    }
}
