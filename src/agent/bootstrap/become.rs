//! Becoming another user: the command lines, the prompts, and what refusals say.
//!
//! A password only ever goes to a prompt that was seen; it is in no argument and no variable.

use std::fmt;
use std::time::Duration;

/// A way to become another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Sudo,
    Su,
    Doas,
    Runuser,
}

impl Method {
    /// The methods by Ansible's names.
    pub const ALL: [Self; 4] = [Self::Sudo, Self::Su, Self::Doas, Self::Runuser];

    /// Finds a method by Ansible's name, with or without its collection.
    pub fn named(name: &str) -> Option<Self> {
        let short = name.rsplit('.').next().unwrap_or(name);
        Self::ALL.into_iter().find(|method| method.name() == short)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sudo => "sudo",
            Self::Su => "su",
            Self::Doas => "doas",
            Self::Runuser => "runuser",
        }
    }

    const fn default_flags(self) -> &'static str {
        match self {
            Self::Sudo => "-H -S -n",
            Self::Su | Self::Doas | Self::Runuser => "",
        }
    }
}

/// Whom to become, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Become {
    pub method: Method,
    /// `become_user`; where it is empty, whomever the method takes when nobody is named.
    pub user: String,
    /// `become_exe`, when it is not the method's own name.
    pub executable: Option<String>,
    /// `become_flags`; as in Ansible they replace the default ones.
    pub flags: Option<String>,
    /// `become_password`.
    pub password: Option<String>,
    /// The directory to enter first, so that the other user's program starts where it may be.
    pub directory: Option<String>,
    /// The prompts of `su`, without their colon; none means those of the languages it speaks.
    pub prompts: Vec<String>,
    /// The longest silence until the other user was become, if not the usual one.
    pub patience: Option<Duration>,
}

impl fmt::Debug for Become {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Become")
            .field("method", &self.method)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Become {
    /// Returns the line that runs `script` as the other user; `marker` makes the prompt known.
    pub(super) fn command(&self, script: &str, marker: &str) -> String {
        let executable = self.executable.as_deref().unwrap_or(self.method.name());
        let flags = self.flags(marker);
        let enter = match &self.directory {
            Some(directory) => format!("cd {} && ", quote(directory)),
            None => String::new(),
        };
        let start = match flags.as_str() {
            "" => format!("{enter}{executable}"),
            flags => format!("{enter}{executable} {flags}"),
        };
        let shell = format!("/bin/sh -c {}", quote(script));
        let user = match (self.user.as_str(), self.method) {
            ("", _) => String::new(),
            (user, Method::Su) => format!(" {}", quote(user)),
            (user, _) => format!(" -u {}", quote(user)),
        };
        match self.method {
            Method::Sudo | Method::Doas => format!("{start}{user} {shell}"),
            Method::Runuser => format!("{start}{user} -- {shell}"),
            Method::Su => format!("{start}{user} -c {}", quote(&format!("exec {shell}"))),
        }
    }

    /// Returns the line as a user is shown it, without what is run.
    pub fn shown(&self) -> String {
        self.command("…", "MARKER")
    }

    fn flags(&self, marker: &str) -> String {
        let flags = self.flags.as_deref().unwrap_or(self.method.default_flags());
        match (self.method, &self.password) {
            (Method::Sudo, Some(_)) => {
                format!("{} -p {}", without_n(flags), quote(&sudo_prompt(marker)))
            }
            (Method::Doas, None) if !flags.contains("-n") => {
                format!("{flags} -n").trim_start().to_owned()
            }
            _ => flags.to_owned(),
        }
    }

    /// Tells whether the method only takes a password from a terminal.
    pub(super) fn needs_terminal(&self) -> bool {
        self.method == Method::Doas && self.password.is_some()
    }

    /// Tells whether `said`, the last thing that was said, asks for the password.
    pub(super) fn is_prompt(&self, said: &str, marker: &str) -> bool {
        if self.method == Method::Sudo && said.contains(&sudo_prompt(marker)) {
            return true;
        }
        let last = said.rsplit('\n').next().unwrap_or(said).trim_end();
        match self.method {
            Method::Sudo => false,
            Method::Su if self.prompts.is_empty() => {
                SU_PROMPTS.iter().any(|prompt| has_prompt(said, prompt))
            }
            Method::Su => self.prompts.iter().any(|prompt| has_prompt(said, prompt)),
            // An unfinished line that ends as a question does.
            Method::Doas | Method::Runuser => last.ends_with([':', '：', '?']),
        }
    }

    /// Returns what kind of refusal `said` is.
    pub(super) fn refusal(said: &str) -> Option<Refusal> {
        let said = said.to_lowercase();
        let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
        if has(&[
            "must have a tty",
            "must be run from a terminal",
            "a tty is required",
        ]) {
            Some(Refusal::NeedsTerminal)
        } else if has(&[
            "a password is required",
            "a terminal is required",
            "authentication required",
            "authorization required",
        ]) {
            Some(Refusal::PasswordMissing)
        } else if has(&[
            "not in the sudoers",
            "not allowed to",
            "may not run",
            "operation not permitted",
            "not permitted to",
        ]) {
            Some(Refusal::NotAllowed)
        } else if has(&[
            "incorrect password",
            "sorry, try again",
            "authentication failure",
            "authentication failed",
            "authorization failed",
            "incorrect password attempt",
        ]) {
            Some(Refusal::PasswordWrong)
        } else if has(&["unknown user", "does not exist", "no passwd entry"]) {
            Some(Refusal::UnknownUser)
        } else if has(&["not found", "no such file"]) {
            Some(Refusal::NoProgram)
        } else {
            None
        }
    }
}

/// Why another user could not be become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    PasswordMissing,
    PasswordWrong,
    NotAllowed,
    UnknownUser,
    /// The method's program is not on the host.
    NoProgram,
    NeedsTerminal,
    /// The method's program ended with words of its own.
    Ended,
}

impl Refusal {
    /// Returns the message, in Ansible's words where it has some.
    pub(super) fn message(self, method: Method, user: &str) -> String {
        let method = method.name();
        match self {
            Self::PasswordMissing => format!("Missing {method} password"),
            Self::PasswordWrong => format!("Incorrect {method} password"),
            Self::NotAllowed => format!("{method} does not let this user become `{user}`"),
            Self::UnknownUser => format!("{method} knows no user `{user}`"),
            Self::NoProgram => format!("the host has no `{method}`"),
            Self::NeedsTerminal => format!("{method} insists on a terminal"),
            Self::Ended => "Premature end of stream waiting for become success".to_owned(),
        }
    }

    /// Returns what to do about it.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::PasswordMissing => {
                "give it with `--ask-become-pass` or `ansible_become_password`"
            }
            Self::PasswordWrong => "check `ansible_become_password`, or type it again",
            Self::NotAllowed => "allow it on the host, or use another `become_method`",
            Self::UnknownUser => "check `become_user`",
            Self::NoProgram => "install it, or use another `become_method`",
            Self::NeedsTerminal => "take `requiretty` out of the host's sudoers",
            Self::Ended => "run the method by hand on the host",
        }
    }
}

/// How `su` asks for a password in the languages that Ansible knows.
const SU_PROMPTS: &[&str] = &[
    "Password",
    "암호",
    "パスワード",
    "Adgangskode",
    "Contraseña",
    "Contrasenya",
    "Hasło",
    "Heslo",
    "Jelszó",
    "Lösenord",
    "Mật khẩu",
    "Mot de passe",
    "Parola",
    "Parool",
    "Pasahitza",
    "Passord",
    "Passwort",
    "Salasana",
    "Sandi",
    "Senha",
    "Wachtwoord",
    "ססמה",
    "Лозинка",
    "Парола",
    "Пароль",
    "गुप्तशब्द",
    "शब्दकूट",
    "సంకేతపదము",
    "හස්පදය",
    "密码",
    "密碼",
    "口令",
];

/// Tells whether `said` has the prompt, in any case, before a colon of whatever width.
fn has_prompt(said: &str, prompt: &str) -> bool {
    let (said, prompt) = (said.to_lowercase(), prompt.to_lowercase());
    said.match_indices(&prompt).any(|(at, found)| {
        said[at + found.len()..]
            .trim_start()
            .starts_with([':', '：'])
    })
}

fn sudo_prompt(marker: &str) -> String {
    format!("[backstay {marker}] password:")
}

/// Takes `-n` out of sudo's flags: it forbids to ask for a password.
fn without_n(flags: &str) -> String {
    let kept = flags.split_whitespace().filter_map(|flag| match flag {
        "-n" | "--non-interactive" => None,
        long if long.starts_with("--") => Some(long.to_owned()),
        short if short.starts_with('-') => Some(short.replace('n', "")),
        word => Some(word.to_owned()),
    });
    kept.collect::<Vec<_>>().join(" ")
}

/// Quotes a word for any shell.
pub(super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sudo() -> Become {
        Become {
            method: Method::Sudo,
            user: "root".into(),
            executable: None,
            flags: None,
            password: None,
            directory: None,
            prompts: Vec::new(),
            patience: None,
        }
    }

    #[test]
    fn command_lines_are_ansibles_and_hold_no_password() {
        let with_password = Become {
            password: Some("geheim".into()),
            ..sudo()
        };
        let of = |method| Become { method, ..sudo() };
        for (wish, line) in [
            (sudo(), "sudo -H -S -n -u 'root' /bin/sh -c 'x'"),
            (
                with_password,
                "sudo -H -S -p '[backstay 00] password:' -u 'root' /bin/sh -c 'x'",
            ),
            (
                Become {
                    user: String::new(),
                    directory: Some("/srv".into()),
                    ..sudo()
                },
                "cd '/srv' && sudo -H -S -n /bin/sh -c 'x'",
            ),
            (of(Method::Su), r"su 'root' -c 'exec /bin/sh -c '\''x'\'''"),
            (of(Method::Doas), "doas -n -u 'root' /bin/sh -c 'x'"),
            (of(Method::Runuser), "runuser -u 'root' -- /bin/sh -c 'x'"),
        ] {
            assert_eq!(wish.command("x", "00"), line);
        }
    }

    #[test]
    fn named_prompts_of_su_are_the_only_ones() {
        let su = Become {
            method: Method::Su,
            prompts: vec!["Passwort".into(), "密码".into()],
            ..sudo()
        };
        let usual = Become {
            prompts: Vec::new(),
            ..su.clone()
        };
        assert!(usual.is_prompt("Mot de passe : ", "00"));
        assert!(!usual.is_prompt("sudo: unable to resolve host web1:", "00"));
        for (said, is_prompt) in [
            ("passwort: ", true),
            ("密码：", true),
            ("a banner\nPasswort :", true),
            ("Password: ", false),
            ("Passwort", false),
        ] {
            assert_eq!(su.is_prompt(said, "00"), is_prompt, "{said}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (said, refusal) in [
            (
                "sudo: a password is required",
                Some(Refusal::PasswordMissing),
            ),
            (
                "Sorry, try again.\nsudo: 1 incorrect password attempt",
                Some(Refusal::PasswordWrong),
            ),
            ("su: Authentication failure", Some(Refusal::PasswordWrong)),
            (
                "bob is not in the sudoers file.  This incident will be reported.",
                Some(Refusal::NotAllowed),
            ),
            ("sudo: unknown user: nope", Some(Refusal::UnknownUser)),
            ("sh: 1: doas: not found", Some(Refusal::NoProgram)),
            (
                "sudo: sorry, you must have a tty to run sudo",
                Some(Refusal::NeedsTerminal),
            ),
            ("something else", None),
        ] {
            assert_eq!(Become::refusal(said), refusal, "{said}");
        }
    }
}
