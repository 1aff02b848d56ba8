//! The options of `ssh_config`(5), wherever they are written: on the command line as `-o`, or in a
//! file. For most the first value that is found counts, so sources are taken in their order of
//! precedence.
//!
//! Values are kept as written; `settings` gives them their meaning for one host.

use std::time::Duration;

/// One option as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// As written.
    pub(super) name: String,
    /// The words of the value, unquoted.
    pub(super) words: Vec<String>,
    /// The value as it stands in the line.
    pub(super) rest: String,
}

/// The options found so far; `None` and empty are "not found yet".
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) host_name: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) identity_files: Vec<String>,
    pub(super) certificate_files: Vec<String>,
    pub(super) identities_only: Option<bool>,
    pub(super) identity_agent: Option<String>,
    pub(super) strict_host_key_checking: Option<String>,
    pub(super) user_known_hosts_files: Option<Vec<String>>,
    pub(super) global_known_hosts_files: Option<Vec<String>>,
    pub(super) hash_known_hosts: Option<bool>,
    pub(super) host_key_alias: Option<String>,
    pub(super) proxy_jump: Option<String>,
    pub(super) proxy_command: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) connection_attempts: Option<u32>,
    pub(super) alive_interval: Option<Duration>,
    pub(super) alive_count: Option<usize>,
    pub(super) compression: Option<bool>,
    pub(super) bind_address: Option<String>,
    pub(super) address_family: Option<String>,
    pub(super) kex: Option<String>,
    pub(super) ciphers: Option<String>,
    pub(super) macs: Option<String>,
    pub(super) host_key_algorithms: Option<String>,
    pub(super) signature_algorithms: Option<String>,
    pub(super) public_key: Option<bool>,
    pub(super) password: Option<bool>,
    pub(super) keyboard_interactive: Option<bool>,
    pub(super) preferred_methods: Option<String>,
    pub(super) forward_agent: Option<String>,
    pub(super) ignore_unknown: Option<String>,
    /// For `Match tagged`.
    pub(super) tag: Option<String>,
}

/// What became of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is followed, or says nothing about how commands are run on a host.
    Taken,
    /// OpenSSH would do something about it and we do not.
    Unsupported,
    /// Nobody knows it.
    Unknown,
}

/// Options about forwarding, terminals, connection sharing and the like, which mean nothing to
/// running commands on a host, and those whose default we always follow.
const MEANINGLESS: [&str; 62] = [
    "addkeystoagent",
    "batchmode",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "checkhostip",
    "clearallforwardings",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "ipqos",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "protocol",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "requiredrsasize",
    "sendenv",
    "sessiontype",
    "smartcarddevice",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "usekeychain",
    "useprivilegedport",
    "versionaddendum",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
];

/// Options that would change how a host is reached, or what a command finds there.
const UNSUPPORTED: [&str; 12] = [
    "bindinterface",
    "canonicalizehostname",
    "casignaturealgorithms",
    "channeltimeout",
    "hostbasedacceptedalgorithms",
    "hostbasedauthentication",
    "knownhostscommand",
    "nohostauthenticationforlocalhost",
    "pkcs11provider",
    "securitykeyprovider",
    "setenv",
    "verifyhostkeydns",
];

/// Options whose neglect would be dangerous: they are errors unless they say `no` or `none`.
const REFUSED: [&str; 2] = ["proxyusefdpass", "revokedhostkeys"];

impl Setting {
    /// Reads `Name value`, `Name=value` or `Name = value`; a blank line or comment is none.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let end = line
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
        // A command is the shell's to take apart.
        let is_command = name.to_lowercase().ends_with("command");
        Ok(Some(Self {
            name: name.to_owned(),
            words: if is_command { Vec::new() } else { words(rest)? },
            rest: rest.to_owned(),
        }))
    }

    /// Returns the one word of the value.
    fn word(&self) -> Result<&str, String> {
        match self.words.as_slice() {
            [] => Err("a value is missing".to_owned()),
            [word, ..] => Ok(word),
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, String> {
        let word = self.word()?;
        word.parse()
            .map_err(|_| format!("`{word}` is not a number that fits"))
    }

    fn flag(&self) -> Result<bool, String> {
        match self.word()? {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            word => Err(format!("`{word}` is neither `yes` nor `no`")),
        }
    }

    /// Reads a time: seconds, or numbers with units as in `1m30s`. `None` is `none`.
    fn duration(&self) -> Result<Option<Duration>, String> {
        let word = self.word()?;
        if word == "none" {
            return Ok(None);
        }
        let wrong = || format!("`{word}` is not a time");
        let mut total: u64 = 0;
        let mut digits = String::new();
        for c in word.chars().chain(std::iter::once('s')) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            if digits.is_empty() {
                // The closing `s` of a time that ended in a unit.
                continue;
            }
            let unit = match c.to_ascii_lowercase() {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                'w' => 604_800,
                _ => return Err(wrong()),
            };
            let count: u64 = digits.parse().map_err(|_| wrong())?;
            total = total.saturating_add(count.saturating_mul(unit));
            digits.clear();
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Some(Duration::from_secs(total)))
        } else {
            Err(wrong())
        }
    }
}

/// Splits a value into words as OpenSSH does: quotes of both kinds, backslash before a quote, a
/// backslash or a blank, and a comment at the end.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('#', None) if word.is_none() => break,
            ('\\', _)
                if characters
                    .peek()
                    .is_some_and(|next| "'\"\\ ".contains(*next)) =>
            {
                word.get_or_insert_default().extend(characters.next());
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

impl Options {
    /// Takes `setting` where nothing was found before; an error says what is wrong with it.
    pub(super) fn apply(&mut self, setting: &Setting) -> Result<Outcome, String> {
        let name = setting.name.to_lowercase();
        let word = || setting.word().map(str::to_owned);
        match name.as_str() {
            "hostname" => first(&mut self.host_name, word()?),
            "port" => first(&mut self.port, setting.number()?),
            "user" => first(&mut self.user, word()?),
            "identityfile" => add(&mut self.identity_files, word()?),
            "certificatefile" => add(&mut self.certificate_files, word()?),
            "identitiesonly" => first(&mut self.identities_only, setting.flag()?),
            "identityagent" => first(&mut self.identity_agent, word()?),
            "stricthostkeychecking" => first(&mut self.strict_host_key_checking, word()?),
            "userknownhostsfile" => {
                first(&mut self.user_known_hosts_files, setting.words.clone());
            }
            "globalknownhostsfile" => {
                first(&mut self.global_known_hosts_files, setting.words.clone());
            }
            "hashknownhosts" => first(&mut self.hash_known_hosts, setting.flag()?),
            "hostkeyalias" => first(&mut self.host_key_alias, word()?),
            // Of these two the first that is found rules the other out.
            "proxyjump" if self.proxy_command.is_none() => first(&mut self.proxy_jump, word()?),
            "proxycommand" if self.proxy_jump.is_none() => {
                first(&mut self.proxy_command, setting.rest.clone());
            }
            "proxyjump" | "proxycommand" => {}
            "connecttimeout" => {
                if let Some(timeout) = setting.duration()? {
                    first(&mut self.connect_timeout, timeout);
                }
            }
            "connectionattempts" => first(&mut self.connection_attempts, setting.number()?),
            "serveraliveinterval" => {
                let interval = setting.duration()?.unwrap_or_default();
                first(&mut self.alive_interval, interval);
            }
            "serveralivecountmax" => first(&mut self.alive_count, setting.number()?),
            "compression" => first(&mut self.compression, setting.flag()?),
            "bindaddress" => first(&mut self.bind_address, word()?),
            "addressfamily" => first(&mut self.address_family, word()?),
            "kexalgorithms" => first(&mut self.kex, word()?),
            "ciphers" => first(&mut self.ciphers, word()?),
            "macs" => first(&mut self.macs, word()?),
            "hostkeyalgorithms" => first(&mut self.host_key_algorithms, word()?),
            "pubkeyacceptedalgorithms" | "pubkeyacceptedkeytypes" => {
                first(&mut self.signature_algorithms, word()?);
            }
            // Since OpenSSH 8.9 the value may also be `unbound` or `host-bound`.
            "pubkeyauthentication" => first(&mut self.public_key, setting.word()? != "no"),
            "passwordauthentication" => first(&mut self.password, setting.flag()?),
            "kbdinteractiveauthentication"
            | "challengeresponseauthentication"
            | "skeyauthentication"
            | "tisauthentication" => {
                first(&mut self.keyboard_interactive, setting.flag()?);
            }
            "preferredauthentications" => first(&mut self.preferred_methods, word()?),
            "forwardagent" => first(&mut self.forward_agent, word()?),
            "ignoreunknown" => first(&mut self.ignore_unknown, word()?),
            "tag" => first(&mut self.tag, word()?),
            other => return self.other(other, setting),
        }
        Ok(Outcome::Taken)
    }

    fn other(&self, name: &str, setting: &Setting) -> Result<Outcome, String> {
        let denied = setting
            .words
            .first()
            .is_some_and(|word| ["no", "none", "false"].contains(&word.to_lowercase().as_str()));
        if REFUSED.contains(&name) && !denied {
            return Err("it is not supported, and to ignore it would not be safe".to_owned());
        }
        let ignored = self
            .ignore_unknown
            .as_ref()
            .is_some_and(|patterns| super::pattern::list_matches(patterns.split(','), name));
        if MEANINGLESS.contains(&name) || REFUSED.contains(&name) || ignored {
            return Ok(Outcome::Taken);
        }
        if UNSUPPORTED.contains(&name) {
            return Ok(if denied {
                Outcome::Taken
            } else {
                Outcome::Unsupported
            });
        }
        Ok(Outcome::Unknown)
    }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn add(list: &mut Vec<String>, value: String) {
    if !list.contains(&value) {
        list.push(value);
    }
}

/// Names the options of this program, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    const FOLLOWED: [&str; 35] = [
        "AddressFamily",
        "BindAddress",
        "CertificateFile",
        "Ciphers",
        "Compression",
        "ConnectTimeout",
        "ConnectionAttempts",
        "ForwardAgent",
        "GlobalKnownHostsFile",
        "HashKnownHosts",
        "HostKeyAlgorithms",
        "HostKeyAlias",
        "HostName",
        "IdentitiesOnly",
        "IdentityAgent",
        "IdentityFile",
        "KbdInteractiveAuthentication",
        "KexAlgorithms",
        "MACs",
        "PasswordAuthentication",
        "Port",
        "PreferredAuthentications",
        "ProxyCommand",
        "ProxyJump",
        "PubkeyAcceptedAlgorithms",
        "PubkeyAuthentication",
        "ServerAliveCountMax",
        "ServerAliveInterval",
        "StrictHostKeyChecking",
        "Tag",
        "User",
        "UserKnownHostsFile",
        "ControlMaster",
        "ControlPath",
        "ControlPersist",
    ];
    FOLLOWED.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(line: &str) -> Setting {
        Setting::parse(line).unwrap().unwrap()
    }

    #[test]
    fn a_setting_is_written_with_blanks_or_an_equals_sign() {
        for line in [
            "Port 2222",
            "Port=2222",
            "port = 2222",
            "  Port\t2222  # web",
        ] {
            assert_eq!(setting(line).words, ["2222"], "{line}");
        }
        assert_eq!(Setting::parse("  # comment"), Ok(None));
        assert_eq!(
            setting(r#"UserKnownHostsFile "/a b" /c\ d"#).words,
            ["/a b", "/c d"]
        );
        assert_eq!(
            Setting::parse("User \"ann"),
            Err("a quote is not closed".to_owned())
        );
    }

    #[test]
    fn the_first_value_counts_and_files_add_up() {
        let mut options = Options::default();
        for line in [
            "User ann",
            "User bob",
            "IdentityFile a",
            "IdentityFile b",
            "IdentityFile a",
        ] {
            assert_eq!(options.apply(&setting(line)), Ok(Outcome::Taken));
        }
        assert_eq!(options.user.as_deref(), Some("ann"));
        assert_eq!(options.identity_files, ["a", "b"]);
    }

    #[test]
    fn of_proxy_jump_and_proxy_command_the_first_rules_the_other_out() {
        let mut options = Options::default();
        options
            .apply(&setting("ProxyCommand nc %h %p # x"))
            .unwrap();
        options.apply(&setting("ProxyJump bastion")).unwrap();
        assert_eq!(options.proxy_command.as_deref(), Some("nc %h %p # x"));
        assert_eq!(options.proxy_jump, None);
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("5", 5),
            ("5s", 5),
            ("1m30s", 90),
            ("1h", 3600),
            ("2M", 120),
        ] {
            let duration = setting(&format!("ConnectTimeout {text}")).duration();
            assert_eq!(duration, Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        assert!(setting("ConnectTimeout soon").duration().is_err());
        assert!(setting("ConnectTimeout 5x").duration().is_err());
    }

    #[test]
    fn options_without_meaning_here_are_taken_and_others_are_told_apart() {
        let mut options = Options::default();
        for (line, outcome) in [
            ("ControlPersist 60s", Outcome::Taken),
            ("SendEnv LANG LC_*", Outcome::Taken),
            ("HostbasedAuthentication yes", Outcome::Unsupported),
            ("HostbasedAuthentication no", Outcome::Taken),
            ("StrictHostKeyCheking no", Outcome::Unknown),
            ("RevokedHostKeys none", Outcome::Taken),
        ] {
            assert_eq!(options.apply(&setting(line)), Ok(outcome), "{line}");
        }
        assert!(
            options
                .apply(&setting("RevokedHostKeys /etc/ssh/revoked"))
                .is_err()
        );
    }
}
