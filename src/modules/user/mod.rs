//! `user`: accounts of the target.
//!
//! Drives `useradd`, `usermod` and `userdel`. A password hash travels over `chpasswd`'s standard
//! input, so it never stands in a process list.

mod account;
mod ssh_key;

use std::path::{Path, PathBuf};

use crate::machine::{Attributes, Command, Effect, Follow, Machine, Output, User};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::{Failure, ModuleResult, Outcome};
use account::Shadow;

crate::arguments! {
    /// Manage user accounts.
    pub(crate) struct UserArgs for "user" {
        /// The user.
        name: String { required, aliases: ["user"] },
        /// Whether the account should exist.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Its number.
        uid: Option<i64> {},
        /// Allow a number that another user has.
        non_unique: bool { default: "no" },
        /// The primary group.
        group: Option<String> {},
        /// The further groups; an empty list removes all of them.
        groups: Option<Vec<String>> {},
        /// The description (GECOS).
        comment: Option<String> {},
        /// The home directory.
        home: Option<PathBuf> {},
        /// The login shell.
        shell: Option<PathBuf> {},
        /// The password's hash.
        password: Option<String> { no_log },
        /// Accepted for BSD; of no effect here.
        login_class: Option<String> {},
        /// Days until the password must be changed.
        password_expire_max: Option<i64> {},
        /// Days until the password may be changed.
        password_expire_min: Option<i64> {},
        /// Days of warning before the password expires.
        password_expire_warn: Option<i64> {},
        /// Days after the password expired until the account is disabled.
        password_expire_account_disable: Option<i64> {},
        /// Accepted for macOS; of no effect here.
        hidden: Option<bool> {},
        /// The SELinux user.
        seuser: Option<String> {},
        /// With state absent: remove even what is in use. With `generate_ssh_key`: overwrite.
        force: bool { default: "no" },
        /// With state absent: remove the home directory too.
        remove: bool { default: "no" },
        /// Make the home directory if it is missing.
        create_home: bool { default: "yes", aliases: ["createhome"] },
        /// What a new home directory is copied from.
        skeleton: Option<String> {},
        /// Make a system account.
        system: bool { default: "no" },
        /// Move the content of the old home directory to the new one.
        move_home: bool { default: "no" },
        /// Add to `groups` instead of setting them.
        append: bool { default: "no" },
        /// Make an SSH key for the user.
        generate_ssh_key: Option<bool> {},
        /// Its size in bits; 0 leaves it to ssh-keygen.
        ssh_key_bits: i64 { default: "0" },
        /// Its type.
        ssh_key_type: String { default: "rsa" },
        /// Where it is written, below the home directory.
        ssh_key_file: Option<PathBuf> {},
        /// Its comment.
        ssh_key_comment: Option<String> {},
        /// Its passphrase.
        ssh_key_passphrase: Option<String> { no_log },
        /// Whether an existing account's password is set too.
        update_password: String { default: "always", choices: ["always", "on_create"] },
        /// When the account expires, in seconds since the epoch; negative: never.
        expires: Option<f64> {},
        /// Lock the password.
        password_lock: Option<bool> {},
        /// Look at and change local account files only.
        local: Option<bool> {},
        /// Accepted for Solaris; of no effect here.
        profile: Option<String> {},
        /// Accepted for Solaris; of no effect here.
        authorization: Option<String> {},
        /// Accepted for Solaris; of no effect here.
        role: Option<String> {},
        /// The umask a new home directory is made with.
        umask: Option<String> {},
        /// The smallest number that is chosen.
        uid_min: Option<i64> {},
        /// The largest number that is chosen.
        uid_max: Option<i64> {},
    }
}

/// Makes the account exist as described, or not exist.
pub(crate) fn run(machine: &mut Machine, mut args: UserArgs) -> ModuleResult {
    check(&args)?;
    args.shell = args.shell.map(|shell| machine.expand(&shell));
    let mut work = Work {
        machine,
        args: &args,
        outcome: Outcome::unchanged(),
    };
    work.warn_about_password();
    work.warn_about_foreign_options();
    if args.append && args.groups.is_none() {
        work.outcome.warnings.push(
            "'append' is set, but no 'groups' are specified. Use 'groups' for appending new \
             groups.This will change to an error in Ansible 2.14."
                .into(),
        );
    }
    work.outcome = work
        .outcome
        .with("name", args.name.as_str())
        .with("state", args.state.as_str());
    match (args.state.as_str(), work.find()) {
        ("absent", Some(user)) => work.remove(&user)?,
        ("absent", None) => {}
        (_, Some(user)) => work.modify(&user)?,
        (_, None) => work.create()?,
    }
    if args.state == "present" {
        work.describe()?;
    }
    Ok(work.outcome)
}

fn check(args: &UserArgs) -> Result<(), Failure> {
    let given = [
        ("umask", args.umask.is_some()),
        ("uid_min", args.uid_min.is_some()),
        ("uid_max", args.uid_max.is_some()),
    ];
    match given
        .iter()
        .find(|(_, given)| *given && args.local == Some(true))
    {
        Some((option, _)) => Err(Failure::new(format!(
            "'{option}' can not be used with 'local'"
        ))),
        None => Ok(()),
    }
}

/// One call: what was asked and what has been done so far.
struct Work<'a> {
    machine: &'a mut Machine,
    args: &'a UserArgs,
    outcome: Outcome,
}

impl Work<'_> {
    fn find(&mut self) -> Option<User> {
        if self.args.local == Some(true) {
            let name = &self.args.name;
            return self
                .machine
                .local_users()
                .into_iter()
                .find(|user| user.name == *name);
        }
        self.machine.user(&self.args.name)
    }

    fn warn_about_password(&mut self) {
        let is_odd = |hash: &String| !account::looks_hashed(hash);
        if self.args.password.as_ref().is_some_and(is_odd) {
            self.outcome.warnings.push(
                "The input password appears not to have been hashed. The 'password' argument \
                 must be encrypted for this module to work properly."
                    .into(),
            );
        }
    }

    fn warn_about_foreign_options(&mut self) {
        let args = self.args;
        for (option, is_given, system) in [
            ("login_class", args.login_class.is_some(), "BSD"),
            ("hidden", args.hidden.is_some(), "macOS"),
            ("profile", args.profile.is_some(), "Solaris"),
            ("authorization", args.authorization.is_some(), "Solaris"),
            ("role", args.role.is_some(), "Solaris"),
        ] {
            if is_given {
                self.outcome
                    .warnings
                    .push(format!("'{option}' is for {system} and has no effect"));
            }
        }
    }

    fn tool(&self, name: &str) -> String {
        if self.args.local == Some(true) {
            format!("l{name}")
        } else {
            name.to_owned()
        }
    }

    /// Runs a changing program; what failed is told in its own words.
    fn act(&mut self, command: &Command, effect: Effect) -> Result<(), Failure> {
        let Some(output) = self.machine.execute(command, effect)?.output() else {
            return Ok(());
        };
        if !output.success() {
            return Err(Failure::new(output.stderr_text())
                .with("name", self.args.name.as_str())
                .with("rc", output.status));
        }
        self.keep_output(&output);
        Ok(())
    }

    fn keep_output(&mut self, output: &Output) {
        for (key, text) in [
            ("stdout", output.stdout_text()),
            ("stderr", output.stderr_text()),
        ] {
            if !text.is_empty() {
                self.outcome.data.insert(key.into(), text.into());
            }
        }
    }

    fn remove(&mut self, user: &User) -> Result<(), Failure> {
        let mut argv = vec![self.tool("userdel")];
        if self.args.force && self.args.local != Some(true) {
            argv.push("-f".into());
        }
        if self.args.remove {
            argv.push("-r".into());
        }
        argv.push(self.args.name.clone());
        let what = argv.join(" ");
        // A home directory that goes with the account cannot be brought back by adding it again.
        let effect = if self.args.remove {
            Effect::opaque(what)
        } else {
            Effect::compensated(what, account::useradd_again(user))
        };
        self.act(&Command::new(argv), effect)?;
        self.outcome.changed = true;
        self.outcome
            .data
            .insert("force".into(), self.args.force.into());
        self.outcome
            .data
            .insert("remove".into(), self.args.remove.into());
        Ok(())
    }

    fn create(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let mut argv = vec![self.tool("useradd")];
        self.push_uid(&mut argv, None);
        if let Some(seuser) = &args.seuser {
            argv.extend(["-Z".into(), seuser.clone()]);
        }
        match &args.group {
            Some(group) => {
                self.require_group(group)?;
                argv.extend(["-g".into(), group.clone()]);
            }
            None if self.machine.group(&args.name).is_some() => {
                argv.push(if args.local == Some(true) {
                    "-n".into()
                } else {
                    "-N".into()
                });
            }
            None => {}
        }
        let groups = self.wanted_groups()?;
        if let Some(groups) = groups.as_ref().filter(|groups| !groups.is_empty())
            && args.local != Some(true)
        {
            argv.extend(["-G".into(), groups.join(",")]);
        }
        for (option, value) in [
            ("-c", args.comment.clone()),
            (
                "-d",
                args.home.as_ref().map(|home| home.display().to_string()),
            ),
            (
                "-s",
                args.shell.as_ref().map(|shell| shell.display().to_string()),
            ),
            (
                "-e",
                args.expires
                    .filter(|_| args.local != Some(true))
                    .map(account::expiry_date),
            ),
            (
                "-f",
                args.password_expire_account_disable
                    .map(|days| days.to_string()),
            ),
        ] {
            if let Some(value) = value {
                argv.extend([option.into(), value]);
            }
        }
        self.push_home_options(&mut argv);
        if args.system {
            argv.push("-r".into());
        }
        for (name, value) in [("UID_MIN", args.uid_min), ("UID_MAX", args.uid_max)] {
            if let Some(value) = value {
                argv.extend(["-K".into(), format!("{name}={value}")]);
            }
        }
        let missing_parent = self.make_home_parent()?;
        argv.push(args.name.clone());
        let gone = format!(
            "! getent passwd '{}' >/dev/null",
            args.name.replace('\'', "")
        );
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: vec![UndoStep::new(["userdel", "-r", &args.name]).done_when(gone)],
        };
        self.act(&Command::new(argv), effect)?;
        self.outcome.changed = true;
        if let Some(password) = args.password.as_deref() {
            self.set_password(password, "")?;
        }
        if args.local == Some(true) {
            self.expire_locally(None)?;
            self.add_to_local_groups(&groups.unwrap_or_default())?;
        }
        if missing_parent && let Some(user) = self.find() {
            let home = PathBuf::from(&user.home);
            if self.machine.is_dir(&home)? {
                self.own_tree(&home, &user)?;
            }
        }
        self.outcome
            .data
            .insert("system".into(), args.system.into());
        self.outcome
            .data
            .insert("create_home".into(), args.create_home.into());
        Ok(())
    }

    fn push_uid(&self, argv: &mut Vec<String>, current: Option<u32>) {
        let Some(uid) = self
            .args
            .uid
            .filter(|uid| current.map(i64::from) != Some(*uid))
        else {
            return;
        };
        argv.extend(["-u".into(), uid.to_string()]);
        if self.args.non_unique {
            argv.push("-o".into());
        }
    }

    fn push_home_options(&self, argv: &mut Vec<String>) {
        if !self.args.create_home {
            argv.push("-M".into());
            return;
        }
        if self.args.local != Some(true) {
            argv.push("-m".into());
        }
        if let Some(skeleton) = &self.args.skeleton {
            argv.extend(["-k".into(), skeleton.clone()]);
        }
        if let Some(umask) = &self.args.umask {
            argv.extend(["-K".into(), format!("UMASK={umask}")]);
        }
    }

    /// Makes the directories above a home directory; useradd makes only the last one.
    fn make_home_parent(&mut self) -> Result<bool, Failure> {
        let Some(parent) = self.args.home.as_deref().and_then(Path::parent) else {
            return Ok(false);
        };
        if !self.args.create_home || self.machine.is_dir(parent)? {
            return Ok(false);
        }
        self.machine.create_dir_all(parent, 0o755)?;
        Ok(true)
    }

    fn require_group(&mut self, group: &str) -> Result<u32, Failure> {
        self.machine
            .group_id(group)
            .ok_or_else(|| Failure::new(format!("Group {group} does not exist")))
    }

    /// Returns the names of the wanted further groups, each of which exists.
    fn wanted_groups(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let Some(wanted) = &self.args.groups else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for group in wanted
            .iter()
            .map(|group| group.trim())
            .filter(|group| !group.is_empty())
        {
            let gid = self.require_group(group)?;
            let name = self
                .machine
                .group_name(gid)
                .unwrap_or_else(|| group.to_owned());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(Some(names))
    }

    fn modify(&mut self, user: &User) -> Result<(), Failure> {
        let args = self.args;
        let shadow = Shadow::of(self.machine, &args.name)?;
        let mut argv = vec![self.tool("usermod")];
        self.push_uid(&mut argv, Some(user.uid));
        if let Some(group) = &args.group {
            let gid = self.require_group(group)?;
            if gid != user.gid {
                argv.extend(["-g".into(), gid.to_string()]);
            }
        }
        let membership = self.membership_change()?;
        if let Some(change) = membership.as_ref().filter(|_| args.local != Some(true)) {
            if args.append {
                argv.push("-a".into());
            }
            argv.extend(["-G".into(), change.wanted.join(",")]);
        }
        if let Some(comment) = args
            .comment
            .as_ref()
            .filter(|comment| **comment != user.gecos)
        {
            argv.extend(["-c".into(), comment.clone()]);
        }
        if let Some(home) = args
            .home
            .as_ref()
            .filter(|home| **home != Path::new(&user.home))
        {
            argv.extend(["-d".into(), home.display().to_string()]);
            if args.move_home {
                argv.push("-m".into());
            }
        }
        if let Some(shell) = args
            .shell
            .as_ref()
            .filter(|shell| **shell != Path::new(&user.shell))
        {
            argv.extend(["-s".into(), shell.display().to_string()]);
        }
        let expiry = args.expires.and_then(|wanted| shadow.new_expiry(wanted));
        if let Some(date) = expiry.as_ref().filter(|_| args.local != Some(true)) {
            argv.extend(["-e".into(), date.clone()]);
        }
        if let Some(days) = args.password_expire_account_disable
            && shadow.inactive != Some(days)
        {
            argv.extend(["-f".into(), days.to_string()]);
        }
        let new_password = args.password.as_deref().filter(|password| {
            args.update_password == "always"
                && shadow.password.trim_start_matches('!') != password.trim_start_matches('!')
        });
        match args.password_lock {
            Some(true) if !shadow.is_locked() && new_password.is_none() => argv.push("-L".into()),
            Some(false) if shadow.is_locked() && new_password.is_none() => argv.push("-U".into()),
            _ => {}
        }
        if argv.len() > 1 {
            argv.push(args.name.clone());
            let effect = account::usermod_back(&argv, user, &shadow, membership.as_ref());
            self.act(&Command::new(argv), effect)?;
            self.outcome.changed = true;
        }
        if let Some(password) = new_password {
            self.set_password(password, &shadow.password)?;
            self.outcome.changed = true;
        }
        if expiry.is_some() && args.local == Some(true) {
            self.expire_locally(shadow.expires)?;
            self.outcome.changed = true;
        }
        if let Some(change) = membership.filter(|_| args.local == Some(true)) {
            let added: Vec<_> = change
                .wanted
                .iter()
                .filter(|g| !change.current.contains(g))
                .cloned()
                .collect();
            self.add_to_local_groups(&added)?;
            self.outcome.changed = true;
        }
        self.outcome
            .data
            .insert("append".into(), args.append.into());
        self.outcome
            .data
            .insert("move_home".into(), args.move_home.into());
        Ok(())
    }

    fn membership_change(&mut self) -> Result<Option<account::Membership>, Failure> {
        let Some(wanted) = self.wanted_groups()? else {
            return Ok(None);
        };
        let name = &self.args.name;
        let mut current: Vec<_> = self
            .machine
            .local_groups()
            .into_iter()
            .filter(|group| group.members.contains(name))
            .map(|group| group.name)
            .collect();
        current.sort();
        let is_met = if self.args.append {
            wanted.iter().all(|group| current.contains(group))
        } else {
            wanted == current
        };
        Ok((!is_met).then_some(account::Membership { current, wanted }))
    }

    /// Sets the day of expiry where the tools of local accounts do: they take it from nobody else.
    fn expire_locally(&mut self, before: Option<i64>) -> Result<(), Failure> {
        let Some(wanted) = self.args.expires else {
            return Ok(());
        };
        let day = if wanted < 0.0 {
            -1
        } else {
            account::day_of(wanted)
        };
        let name = &self.args.name;
        let set = |day: i64| ["lchage".into(), "-E".into(), day.to_string(), name.clone()];
        let (argv, undo) = (set(day), set(before.unwrap_or(-1)));
        let effect = Effect::compensated(argv.join(" "), undo);
        self.act(&Command::new(argv), effect)?;
        Ok(())
    }

    fn add_to_local_groups(&mut self, groups: &[String]) -> Result<(), Failure> {
        for group in groups {
            let argv = ["lgroupmod", "-M", &self.args.name, group];
            let undo = ["lgroupmod", "-m", &self.args.name, group];
            self.act(
                &Command::new(argv),
                Effect::compensated(argv.join(" "), undo),
            )?;
        }
        Ok(())
    }

    fn set_password(&mut self, hash: &str, old: &str) -> Result<(), Failure> {
        let lock = if self.args.password_lock == Some(true) {
            "!"
        } else {
            ""
        };
        let name = &self.args.name;
        let command = Command::new(["chpasswd", "-e"]).stdin(format!("{name}:{lock}{hash}\n"));
        // The old hash is a secret: it is not put into the log, so this cannot be undone by it.
        let what = format!("set the password of {name}");
        let effect = if old.is_empty() {
            Effect::compensated(what, ["passwd", "-d", name])
        } else {
            Effect::opaque(what)
        };
        self.act(&command, effect)
    }

    /// Adds what the account is now to the result, and what is made after it exists.
    fn describe(&mut self) -> Result<(), Failure> {
        if self.args.password.is_some() {
            self.outcome
                .data
                .insert("password".into(), "NOT_LOGGING_PASSWORD".into());
        }
        let Some(user) = self.find() else {
            return Ok(());
        };
        for (key, value) in [
            ("uid", Value::from(user.uid)),
            ("group", user.gid.into()),
            ("comment", user.gecos.as_str().into()),
            ("home", user.home.as_str().into()),
            ("shell", user.shell.as_str().into()),
        ] {
            self.outcome.data.insert(key.into(), value);
        }
        if let Some(groups) = &self.args.groups {
            self.outcome
                .data
                .insert("groups".into(), groups.join(",").into());
        }
        self.make_missing_home(&user)?;
        if self.args.generate_ssh_key == Some(true) {
            ssh_key::generate(self, &user)?;
        }
        self.set_password_expiry()
    }

    fn make_missing_home(&mut self, user: &User) -> Result<(), Failure> {
        let home = self
            .args
            .home
            .clone()
            .unwrap_or_else(|| PathBuf::from(&user.home));
        if !self.args.create_home || self.machine.exists(&home)? {
            return Ok(());
        }
        let skeleton = PathBuf::from(self.args.skeleton.as_deref().unwrap_or("/etc/skel"));
        if let Some(parent) = home.parent() {
            self.machine.create_dir_all(parent, 0o755)?;
        }
        if self.machine.is_dir(&skeleton)? {
            self.machine.copy_tree(&skeleton, &home)?;
        } else {
            self.machine.create_dir(&home, 0o755)?;
        }
        self.own_tree(&home, user)?;
        self.outcome.changed = true;
        Ok(())
    }

    fn own_tree(&mut self, path: &Path, user: &User) -> Result<(), Failure> {
        let attributes = Attributes {
            uid: Some(user.uid),
            gid: Some(user.gid),
            ..Attributes::default()
        };
        self.machine.set_attributes(path, &attributes, Follow::No)?;
        let is_dir = self
            .machine
            .symlink_metadata(path)?
            .is_some_and(|found| found.is_dir());
        if is_dir {
            for entry in self.machine.read_dir(path)? {
                self.own_tree(&path.join(&entry.name), user)?;
            }
        }
        Ok(())
    }

    fn set_password_expiry(&mut self) -> Result<(), Failure> {
        let shadow = Shadow::of(self.machine, &self.args.name)?;
        let mut argv = vec!["chage".to_owned()];
        let mut undo = argv.clone();
        for (option, wanted, current) in [
            ("-m", self.args.password_expire_min, shadow.min),
            ("-M", self.args.password_expire_max, shadow.max),
            ("-W", self.args.password_expire_warn, shadow.warn),
        ] {
            if let Some(days) = wanted.filter(|days| current != Some(*days)) {
                argv.extend([option.into(), days.to_string()]);
                undo.extend([option.into(), current.unwrap_or(-1).to_string()]);
            }
        }
        if argv.len() == 1 {
            return Ok(());
        }
        argv.push(self.args.name.clone());
        undo.push(self.args.name.clone());
        self.act(
            &Command::new(&argv),
            Effect::compensated(argv.join(" "), undo),
        )?;
        self.outcome.changed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const HASH: &str = "$6$salt$0123456789012345678901234567890123456789012345678901234567890123456789012345678901234.";

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            &mut programs.machine(),
            UserArgs::parse(given.as_map().unwrap()).unwrap(),
        )
    }

    fn tools() -> Programs {
        Programs::new([
            ("useradd", ""),
            ("usermod", ""),
            ("userdel", "echo 'user is busy' >&2; exit 8"),
            ("chpasswd", "cat >\"$here/hash\""),
            ("chage", ""),
        ])
    }

    #[test]
    fn a_new_user_is_added_and_its_hash_is_in_no_command_line() {
        let programs = tools();
        let json = format!(
            r#"{{"name":"backstay-none","uid":4242,"groups":["root"],"shell":"/bin/sh",
                "system":true,"create_home":false,"password":"{HASH}"}}"#
        );
        let outcome = call(&programs, &json).unwrap();
        assert!(outcome.changed);
        assert_eq!(
            outcome.data.get("password"),
            Some(&"NOT_LOGGING_PASSWORD".into())
        );
        assert_eq!(
            programs.calls(),
            [
                "useradd -u 4242 -G root -s /bin/sh -M -r backstay-none",
                "chpasswd -e"
            ]
        );
        assert_eq!(
            programs.undo_steps(),
            ["userdel -r backstay-none", "passwd -d backstay-none"]
        );
    }

    #[test]
    fn an_existing_user_is_changed_only_where_it_differs() {
        let programs = tools();
        let same = r#"{"name":"root","uid":0,"home":"/root","group":"root"}"#;
        assert!(!call(&programs, same).unwrap().changed);
        assert_eq!(programs.calls(), Vec::<String>::new());
        let outcome = call(&programs, r#"{"name":"root","comment":"the boss"}"#).unwrap();
        assert!(outcome.changed);
        assert_eq!(programs.calls(), ["usermod -c the boss root"]);
    }

    #[test]
    fn an_unknown_group_is_refused_before_anything_changes() {
        let programs = tools();
        let json = r#"{"name":"root","groups":["backstay-none"]}"#;
        let failure = call(&programs, json).unwrap_err();
        assert_eq!(failure.msg, "Group backstay-none does not exist");
        assert_eq!(programs.calls(), Vec::<String>::new());
    }

    #[test]
    fn a_refused_removal_says_why() {
        let failure = call(&tools(), r#"{"name":"root","state":"absent"}"#).unwrap_err();
        assert_eq!(failure.msg, "user is busy\n");
        assert_eq!(failure.data.get("rc"), Some(&8.into()));
    }

    #[test]
    fn a_password_that_is_no_hash_is_warned_about() {
        let programs = tools();
        let json = r#"{"name":"backstay-none","password":"hunter2","create_home":false}"#;
        let outcome = call(&programs, json).unwrap();
        assert_eq!(
            outcome.warnings,
            [
                "The input password appears not to have been hashed. The 'password' argument must \
              be encrypted for this module to work properly."
            ]
        );
    }
}
