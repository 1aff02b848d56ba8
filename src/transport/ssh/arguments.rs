//! The command-line arguments of ssh(1) that Ansible users put into `ssh_args` and the like,
//! turned into settings.

use super::options::Setting;

/// What the arguments say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// In the order they were written.
    pub(super) settings: Vec<Setting>,
    /// `-F`.
    pub(super) config_file: Option<String>,
    /// Flags that have no meaning here but would do something in ssh.
    pub(super) unsupported: Vec<String>,
}

/// Flags that change nothing about running commands on a host: verbosity, terminals, connection
/// sharing, forwardings switched off.
const MEANINGLESS: &str = "qvTnfgkxNMsy";
/// The same, with a value.
const MEANINGLESS_WITH_VALUE: &str = "SOEeQ";
/// Flags with a value that ask for what we do not do.
const UNSUPPORTED_WITH_VALUE: &str = "BDILRWwP";
/// Flags that ask for what we do not do.
const UNSUPPORTED: &str = "XYKGVt";

impl Arguments {
    /// Reads arguments as written in a setting or variable, quoted as for a shell.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = split(text)?.into_iter();
        while let Some(word) = words.next() {
            let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
                return Err(format!("`{word}` is not an option of ssh"));
            };
            arguments.take(flags, &mut words)?;
        }
        Ok(arguments)
    }

    /// Takes one word of flags; the value of the last may be the next word.
    fn take(
        &mut self,
        flags: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let mut rest = flags.chars();
        while let Some(flag) = rest.next() {
            if self.simple(flag) {
                continue;
            }
            let attached = rest.as_str();
            let value = if attached.is_empty() {
                words
                    .next()
                    .ok_or_else(|| format!("`-{flag}` needs a value"))?
            } else {
                attached.to_owned()
            };
            return self.with_value(flag, &value);
        }
        Ok(())
    }

    /// Takes a flag without a value; `false` when it has one or is none.
    fn simple(&mut self, flag: char) -> bool {
        match flag {
            '4' => self.set("AddressFamily", "inet"),
            '6' => self.set("AddressFamily", "inet6"),
            'A' => self.set("ForwardAgent", "yes"),
            'a' => self.set("ForwardAgent", "no"),
            'C' => self.set("Compression", "yes"),
            _ if MEANINGLESS.contains(flag) => {}
            _ if UNSUPPORTED.contains(flag) => self.unsupported.push(format!("-{flag}")),
            _ => return false,
        }
        true
    }

    fn with_value(&mut self, flag: char, value: &str) -> Result<(), String> {
        match flag {
            'o' => {
                let setting =
                    Setting::parse(value).map_err(|error| format!("`{value}`: {error}"))?;
                self.settings.extend(setting);
            }
            'F' => self.config_file = self.config_file.take().or_else(|| Some(value.to_owned())),
            'i' => self.set("IdentityFile", value),
            'J' => self.set("ProxyJump", value),
            'p' => self.set("Port", value),
            'l' => self.set("User", value),
            'b' => self.set("BindAddress", value),
            'c' => self.set("Ciphers", value),
            'm' => self.set("MACs", value),
            _ if MEANINGLESS_WITH_VALUE.contains(flag) => {}
            _ if UNSUPPORTED_WITH_VALUE.contains(flag) => {
                self.unsupported.push(format!("-{flag}"));
            }
            _ => return Err(format!("`-{flag}` is not an option of ssh")),
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.push(Setting {
            name: name.to_owned(),
            words: vec![value.to_owned()],
            rest: value.to_owned(),
        });
    }
}

/// Splits text as a shell would: blanks, both quotes, backslash.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("it ends in a backslash")?;
                let word = word.get_or_insert_default();
                if quote.is_some() && !"\"\\$`".contains(next) {
                    word.push('\\');
                }
                word.push(next);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let settings = Arguments::parse(text).unwrap().settings;
        settings
            .into_iter()
            .map(|setting| (setting.name, setting.rest))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn ansible_defaults_and_common_arguments_are_read() {
        assert_eq!(
            pairs("-C -o ControlMaster=auto -o ControlPersist=60s"),
            [
                pair("Compression", "yes"),
                pair("ControlMaster", "auto"),
                pair("ControlPersist", "60s"),
            ]
        );
        assert_eq!(
            pairs("-oPort=22 -p2222 -l ann -i '~/.ssh/my key' -4J bastion"),
            [
                pair("Port", "22"),
                pair("Port", "2222"),
                pair("User", "ann"),
                pair("IdentityFile", "~/.ssh/my key"),
                pair("AddressFamily", "inet"),
                pair("ProxyJump", "bastion"),
            ]
        );
        assert_eq!(
            pairs(r#"-o ProxyCommand="ssh -W %h:%p -q bastion""#),
            [pair("ProxyCommand", "ssh -W %h:%p -q bastion")]
        );
    }

    #[test]
    fn flags_we_do_not_follow_are_named_and_unknown_ones_are_errors() {
        let arguments = Arguments::parse("-qvv -X -L 80:a:80 -F none").unwrap();
        assert_eq!(arguments.unsupported, ["-X", "-L"]);
        assert_eq!(arguments.config_file.as_deref(), Some("none"));
        assert_eq!(Arguments::parse("-Z"), Err("`-Z` needs a value".to_owned()));
        assert_eq!(
            Arguments::parse("-Z 1"),
            Err("`-Z` is not an option of ssh".to_owned())
        );
        assert_eq!(
            Arguments::parse("host"),
            Err("`host` is not an option of ssh".to_owned())
        );
    }
}
