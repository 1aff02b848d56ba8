//! What the account files say of a user, and the commands that bring an account back.

use std::path::Path;

use crate::machine::{Effect, Machine, User};
use crate::modules::Failure;

/// A user's line of `/etc/shadow`; empty where it cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shadow {
    pub(super) password: String,
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    pub(super) warn: Option<i64>,
    pub(super) inactive: Option<i64>,
    /// The day the account expires, since the epoch.
    pub(super) expires: Option<i64>,
    /// The file can be read and has no such line.
    pub(super) is_missing: bool,
}

/// The further groups a user is in, and is to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) current: Vec<String>,
    pub(super) wanted: Vec<String>,
}

impl Shadow {
    /// Reads the line of `name`.
    pub(super) fn of(machine: &mut Machine, name: &str) -> Result<Self, Failure> {
        let path = Path::new("/etc/shadow");
        if !machine.may(path, rustix::fs::Access::READ_OK) {
            return Ok(Self::default());
        }
        let text = String::from_utf8_lossy(&machine.read(path)?).into_owned();
        Ok(Self::parse(&text, name))
    }

    fn parse(text: &str, name: &str) -> Self {
        let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let Some(fields) = line.into_iter().find(|fields| fields[0] == name) else {
            return Self {
                is_missing: true,
                ..Self::default()
            };
        };
        let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
        Self {
            password: fields.get(1).copied().unwrap_or_default().to_owned(),
            min: number(3),
            max: number(4),
            warn: number(5),
            inactive: number(6),
            expires: number(7),
            is_missing: false,
        }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.password.starts_with('!')
    }

    /// Returns the date to set when the account expires at another day than `wanted`, in seconds
    /// since the epoch (negative: never).
    pub(super) fn new_expiry(&self, wanted: f64) -> Option<String> {
        if wanted < 0.0 {
            // A line that is missing is one that usermod writes.
            let is_set = self.expires.is_some_and(|day| day >= 0);
            return (is_set || self.is_missing).then(String::new);
        }
        (self.expires != Some(day_of(wanted))).then(|| expiry_date(wanted))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "days of any real date fit")]
pub(super) fn day_of(seconds: f64) -> i64 {
    (seconds / 86_400.0).floor() as i64
}

/// Returns the date useradd wants, `YYYY-MM-DD`; empty for an account that never expires.
pub(super) fn expiry_date(seconds: f64) -> String {
    if seconds < 0.0 {
        return String::new();
    }
    jiff::Timestamp::from_second(day_of(seconds) * 86_400)
        .map(|day| day.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

/// Tells whether a text can be a password hash: `$id$salt$hash` of the right length, or a lock.
pub(super) fn looks_hashed(text: &str) -> bool {
    if matches!(text, "*" | "!" | "*************") {
        return true;
    }
    if text.contains([':', '*', '!']) {
        return false;
    }
    let fields: Vec<_> = text.split('$').collect();
    let (Some(kind), Some(hash)) = (fields.get(1), fields.get(3).or(fields.get(2))) else {
        return false;
    };
    let hash = fields.last().unwrap_or(hash);
    let wanted = match *kind {
        "1" => 22,
        "5" | "y" => 43,
        "6" => 86,
        _ => hash.len(),
    };
    hash.len() == wanted
        && hash
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "./".contains(c))
}

/// Returns the command that adds a removed account again, without its home directory.
pub(super) fn useradd_again(user: &User) -> Vec<String> {
    [
        "useradd",
        "-M",
        "-o",
        "-u",
        &user.uid.to_string(),
        "-g",
        &user.gid.to_string(),
        "-c",
        &user.gecos,
        "-d",
        &user.home,
        "-s",
        &user.shell,
        &user.name,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Returns the effect of a `usermod` call: each option it sets, set back to the old value.
pub(super) fn usermod_back(
    argv: &[String],
    user: &User,
    shadow: &Shadow,
    membership: Option<&Membership>,
) -> Effect {
    let mut undo = vec!["usermod".to_owned()];
    for option in argv {
        let old = match option.as_str() {
            "-u" => user.uid.to_string(),
            "-g" => user.gid.to_string(),
            "-G" => membership
                .map(|change| change.current.join(","))
                .unwrap_or_default(),
            "-c" => user.gecos.clone(),
            "-d" => user.home.clone(),
            "-s" => user.shell.clone(),
            "-e" => shadow
                .expires
                .map(|day| day.to_string())
                .unwrap_or_default(),
            "-f" => shadow.inactive.unwrap_or(-1).to_string(),
            "-m" => {
                undo.push("-m".into());
                continue;
            }
            "-L" => {
                undo.push("-U".into());
                continue;
            }
            "-U" => {
                undo.push("-L".into());
                continue;
            }
            _ => continue,
        };
        undo.extend([option.clone(), old]);
    }
    undo.push(user.name.clone());
    Effect::compensated(argv.join(" "), undo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_line_is_read_by_its_fields() {
        let text = "root:*:1:0:99999:7:::\nweb:!$6$x:19000:1:90:7:14:20000:\n";
        let shadow = Shadow::parse(text, "web");
        assert!(shadow.is_locked());
        assert_eq!(
            (shadow.min, shadow.max, shadow.warn),
            (Some(1), Some(90), Some(7))
        );
        assert_eq!((shadow.inactive, shadow.expires), (Some(14), Some(20000)));
        let missing = Shadow::parse(text, "nobody");
        assert_eq!(missing.new_expiry(-1.0), Some(String::new()));
        assert_eq!(missing.expires, None);
    }

    #[test]
    fn an_expiry_is_set_only_when_the_day_differs() {
        let shadow = Shadow {
            expires: Some(1),
            ..Shadow::default()
        };
        assert_eq!(shadow.new_expiry(86_400.0), None);
        assert_eq!(shadow.new_expiry(2.0 * 86_400.0), Some("1970-01-03".into()));
        assert_eq!(shadow.new_expiry(-1.0), Some(String::new()));
        assert_eq!(Shadow::default().new_expiry(-1.0), None);
    }

    #[test]
    fn hashes_are_told_from_plain_passwords() {
        assert!(looks_hashed("!"));
        assert!(looks_hashed(&format!("$1$salt${}", "a".repeat(22))));
        assert!(!looks_hashed("$6$salt$short"));
        assert!(!looks_hashed("hunter2"));
    }

    #[test]
    fn what_undoes_a_usermod_sets_the_old_values() {
        let user = User {
            name: "web".into(),
            uid: 1,
            gid: 2,
            gecos: "old".into(),
            home: "/old".into(),
            shell: "/bin/sh".into(),
        };
        let argv = ["usermod", "-c", "new", "-d", "/new", "-m", "-L", "web"].map(str::to_owned);
        let Effect::Compensated { undo, .. } = usermod_back(&argv, &user, &Shadow::default(), None)
        else {
            panic!("a usermod is compensated");
        };
        assert_eq!(undo[0].argv.join(" "), "usermod -c old -d /old -m -U web");
    }
}
