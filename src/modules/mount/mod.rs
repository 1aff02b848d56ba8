//! `mount`: a file system in the target's table, and mounted or not.

mod table;

use std::path::{Path, PathBuf};

use crate::machine::{Content, Machine, NewFile, Output};
use crate::transaction::journal::UndoStep;

use super::tool;
use super::{Failure, ModuleResult, Outcome};
use table::{Entry, Mount};

crate::arguments! {
    /// Control active and configured mount points.
    pub(crate) struct MountArgs for "ansible.posix.mount" {
        /// Mount at boot.
        boot: bool { default: "true" },
        /// The table's field for dump.
        dump: String { default: "0" },
        /// The table, where it is not /etc/fstab.
        fstab: Option<String> {},
        /// The type of file system.
        fstype: Option<String> {},
        /// Where it is mounted.
        path: PathBuf { required, aliases: ["name"] },
        /// Options, comma-separated.
        opts: Option<String> {},
        /// The table's field for fsck.
        passno: String { default: "0" },
        /// What is mounted.
        src: Option<PathBuf> {},
        /// Keep a copy of the old table.
        backup: bool { default: "false" },
        /// What should be in the table, and what mounted.
        state: String {
            required,
            choices: [
                "absent", "absent_from_fstab", "mounted", "present", "unmounted", "remounted",
                "ephemeral",
            ],
        },
    }
    required_if [
        ("state", "mounted", ["src", "fstype"], false),
        ("state", "present", ["src", "fstype"], false),
        ("state", "ephemeral", ["src", "fstype"], false),
    ]
}

/// Brings the table and the mount into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: MountArgs) -> ModuleResult {
    let mounts = table::mounts(&read(machine, Path::new("/proc/self/mountinfo"))?);
    let path = machine.expand(&args.path).display().to_string();
    let src = args.src.as_ref().map(|src| {
        if src.starts_with("~") {
            machine.expand(src).display().to_string()
        } else {
            src.display().to_string()
        }
    });
    let mut outcome = Outcome::unchanged();
    let mut opts = args.opts.clone().unwrap_or_else(|| "defaults".into());
    let is_manual = opts.split(',').any(|opt| opt == "noauto");
    if args.boot && is_manual {
        let warning = "Ignore the 'boot' due to 'opts' contains 'noauto'.";
        outcome.warnings.push(warning.into());
    } else if !args.boot {
        opts.push_str(",noauto");
    }
    let mut work = Work {
        fstab: PathBuf::from(args.fstab.clone().unwrap_or_else(|| "/etc/fstab".into())),
        entry: Entry {
            src: src.clone().unwrap_or_default(),
            name: path,
            fstype: args.fstype.clone().unwrap_or_default(),
            opts,
            dump: args.dump.clone(),
            passno: args.passno.clone(),
        },
        has_src: src.is_some(),
        machine,
        args: &args,
        mounts,
        backup: String::new(),
    };
    let changed = work.run()?;
    let mut outcome = outcome
        .with_changed(changed)
        .with("name", work.entry.name.as_str())
        .with("opts", work.entry.opts.as_str())
        .with("dump", work.entry.dump.as_str())
        .with("passno", work.entry.passno.as_str())
        .with("fstab", work.fstab.display().to_string())
        .with("boot", if args.boot { "yes" } else { "no" })
        .with("backup_file", work.backup);
    if let Some(src) = src {
        outcome = outcome.with("src", src);
    }
    Ok(match &args.fstype {
        Some(fstype) => outcome.with("fstype", fstype.as_str()),
        None => outcome,
    })
}

fn read(machine: &mut Machine, path: &Path) -> Result<String, Failure> {
    if !machine.exists(path)? {
        return Ok(String::new());
    }
    let bytes = machine.read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Work<'a> {
    machine: &'a mut Machine,
    args: &'a MountArgs,
    fstab: PathBuf,
    entry: Entry,
    has_src: bool,
    mounts: Vec<Mount>,
    backup: String,
}

impl Work<'_> {
    fn run(&mut self) -> Result<bool, Failure> {
        match self.args.state.as_str() {
            "absent_from_fstab" => self.unset(),
            "absent" => self.remove(),
            "unmounted" => self.unmount(),
            "present" => self.set(),
            "remounted" => {
                let done = self.remount()?;
                self.refuse(done, "remounting")?;
                Ok(true)
            }
            "ephemeral" => self.mount_for_now(),
            _ => self.mount_for_good(),
        }
    }

    fn mounted(&self) -> Option<&Mount> {
        self.mounts
            .iter()
            .rfind(|mount| mount.dst == self.entry.name)
    }

    /// Puts the entry into the table; tells whether that changed it.
    fn set(&mut self) -> Result<bool, Failure> {
        let old = read(self.machine, &self.fstab)?;
        let (new, changed) = table::with_entry(&old, &self.entry, self.has_src);
        if changed {
            self.write(&new)?;
        }
        Ok(changed)
    }

    /// Takes the entry out of the table; tells whether it was there.
    fn unset(&mut self) -> Result<bool, Failure> {
        let old = read(self.machine, &self.fstab)?;
        let src = self.has_src.then(|| self.entry.src.clone());
        let new = table::without_entry(&old, &self.entry.name, src.as_deref());
        if new == old {
            return Ok(false);
        }
        self.write(&new)?;
        Ok(true)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if self.args.backup && self.machine.exists(&self.fstab)? {
            self.backup = self.machine.backup(&self.fstab)?.display().to_string();
        }
        if let Some(directory) = self.fstab.parent() {
            self.machine.create_dir_all(directory, 0o777)?;
        }
        let path = self.machine.real_path(&self.fstab)?;
        // In a container the file is often a mount, which cannot be replaced.
        let new = NewFile {
            unsafe_writes: true,
            ..NewFile::default()
        };
        let content = Content::Bytes(text.as_bytes().to_vec());
        Ok(self.machine.write(&path, content, &new)?)
    }

    fn remove(&mut self) -> Result<bool, Failure> {
        if !self.unset()? {
            return Ok(false);
        }
        self.unmount()?;
        let path = PathBuf::from(&self.entry.name);
        if self.machine.is_dir(&path)? {
            self.machine.remove_empty_dir(&path).map_err(|error| {
                let path = path.display();
                Failure::new(format!(
                    "Error rmdir {path}: {}",
                    super::os_error::os_error(&error)
                ))
            })?;
        }
        Ok(true)
    }

    /// Unmounts what is mounted; tells whether anything was.
    fn unmount(&mut self) -> Result<bool, Failure> {
        let Some(mount) = self.mounted() else {
            return Ok(false);
        };
        let undo = vec![mount.step()];
        let umount = tool::required(self.machine, "umount")?;
        let argv = [umount, self.entry.name.clone()];
        let done = tool::act_undone_by(self.machine, &argv, undo)?;
        self.refuse(done, "unmounting")?;
        Ok(true)
    }

    fn mount_for_good(&mut self) -> Result<bool, Failure> {
        let path = PathBuf::from(&self.entry.name);
        let made = if self.machine.exists(&path)? {
            Vec::new()
        } else {
            self.machine.create_dir_all(&path, 0o777).map_err(|error| {
                let path = path.display();
                Failure::new(format!("Error making dir {path}: {error}"))
            })?
        };
        let old = read(self.machine, &self.fstab)?;
        let is_set = self.set()?;
        let is_mounted = self.mounted().is_some();
        let done = match (is_mounted, is_set) {
            (true, false) => return Ok(false),
            (true, true) => self.remount()?,
            (false, _) => self.mount()?,
        };
        if done.as_ref().is_some_and(|output| !output.success()) {
            // An entry that does not work may break the next boot.
            if is_set {
                self.write(&old)?;
            }
            for directory in made.iter().rev() {
                self.machine.remove_empty_dir(directory)?;
            }
        }
        self.refuse(done, "mounting")?;
        Ok(true)
    }

    fn mount_for_now(&mut self) -> Result<bool, Failure> {
        let path = PathBuf::from(&self.entry.name);
        if !self.machine.exists(&path)? {
            self.machine.create_dir_all(&path, 0o777)?;
        }
        let done = match self.mounted() {
            None => self.mount()?,
            Some(mount) if mount.src == self.entry.src || mount.device == self.entry.src => {
                self.remount()?
            }
            Some(_) => {
                return Err(Failure::new(
                    "Ephemeral mount point is already mounted with a different source than the \
                     specified one. Failing in order to prevent an unwanted unmount or override \
                     operation. Try replacing this command with a \"state: unmounted\" followed by \
                     a \"state: ephemeral\", or use a different destination path.",
                ));
            }
        };
        self.refuse(done, "mounting")?;
        Ok(true)
    }

    /// Returns the words after the program's: the table, or what the table would say.
    fn words(&self, options: Option<String>) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(options) = options {
            words.extend(["-o".into(), options]);
        }
        if self.args.state == "ephemeral" {
            words.extend(["-t".into(), self.entry.fstype.clone()]);
            if self.entry.opts != "defaults" {
                words.extend(["-o".into(), self.entry.opts.clone()]);
            }
            words.push(self.entry.src.clone());
        } else if self.fstab != Path::new("/etc/fstab") {
            words.extend(["-T".into(), self.fstab.display().to_string()]);
        }
        words.push(self.entry.name.clone());
        words
    }

    fn mount(&mut self) -> Result<Option<Output>, Failure> {
        let mut argv = vec![tool::required(self.machine, "mount")?];
        argv.extend(self.words(None));
        let undo = UndoStep::new(["umount", &self.entry.name]);
        tool::act_undone_by(self.machine, &argv, vec![undo])
    }

    /// Mounts again, by unmounting first where it must be.
    fn remount(&mut self) -> Result<Option<Output>, Failure> {
        let has_options = self.args.state == "remounted" && self.entry.opts != "defaults";
        let options = if has_options {
            format!("remount,{}", self.entry.opts)
        } else {
            "remount".to_owned()
        };
        let mut argv = vec![tool::required(self.machine, "mount")?];
        argv.extend(self.words(Some(options)));
        let undo = match self.mounted() {
            Some(mount) => vec![UndoStep::new([
                "mount",
                "-o",
                &format!("remount,{}", mount.opts),
                &mount.dst,
            ])],
            None => Vec::new(),
        };
        let done = tool::act_undone_by(self.machine, &argv, undo)?;
        if done.as_ref().is_none_or(Output::success) {
            return Ok(done);
        }
        if has_options {
            return Err(Failure::new(
                "Options were specified with remounted, but the remount command failed. Failing in \
                 order to prevent an unexpected mount result. Try replacing this command with a \
                 \"state: unmounted\" followed by a \"state: mounted\" using the full desired mount \
                 options instead.",
            ));
        }
        self.unmount()?;
        self.mount()
    }

    fn refuse(&self, done: Option<Output>, what: &str) -> Result<(), Failure> {
        match done {
            Some(output) if !output.success() => Err(Failure::new(format!(
                "Error {what} {}: {}{}",
                self.entry.name,
                output.stdout_text(),
                output.stderr_text()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    struct Host {
        programs: Programs,
        root: tempfile::TempDir,
    }

    impl Host {
        fn new(mount: &str) -> Self {
            Self {
                programs: Programs::new([("mount", mount), ("umount", "")]),
                root: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self, name: &str) -> String {
            self.root.path().join(name).display().to_string()
        }

        fn call(&self, options: &str) -> Result<bool, String> {
            let json = format!(
                r#"{{"fstab": "{}", "path": "{}", {options}}}"#,
                self.path("fstab"),
                self.path("mnt")
            );
            let given: Value = serde_json::from_str(&json).unwrap();
            MountArgs::parse(given.as_map().unwrap())
                .map_err(Failure::from)
                .and_then(|args| run(&mut self.programs.machine(), args))
                .map(|outcome| outcome.changed)
                .map_err(|failure| failure.msg.replace(&self.path(""), ""))
        }

        fn fstab(&self) -> String {
            let text = std::fs::read_to_string(self.path("fstab")).unwrap();
            text.replace(&self.path(""), "/")
        }
    }

    #[test]
    fn an_entry_is_set_once_and_taken_out() {
        let host = Host::new("");
        let options = r#""src": "/dev/sdb", "fstype": "ext4", "state": "present""#;
        assert_eq!(host.call(options), Ok(true));
        assert_eq!(host.fstab(), "/dev/sdb /mnt ext4 defaults 0 0\n");
        assert_eq!(host.call(options), Ok(false));
        let options = r#""src": "/dev/sdb", "fstype": "ext4", "state": "present", "boot": false"#;
        assert_eq!(host.call(options), Ok(true));
        assert_eq!(host.fstab(), "/dev/sdb /mnt ext4 defaults,noauto 0 0\n");
        assert_eq!(host.call(r#""state": "absent""#), Ok(true));
        assert_eq!(host.fstab(), "");
        assert_eq!(host.call(r#""state": "absent""#), Ok(false));
    }

    #[test]
    fn what_is_mounted_is_in_the_table_and_unmounted_by_an_undo() {
        let host = Host::new("");
        let options = r#""src": "/dev/sdb", "fstype": "ext4", "state": "mounted""#;
        assert_eq!(host.call(options), Ok(true));
        let (fstab, mnt) = (host.path("fstab"), host.path("mnt"));
        assert_eq!(host.programs.calls(), [format!("mount -T {fstab} {mnt}")]);
        assert_eq!(host.programs.undo_steps(), [format!("umount {mnt}")]);
        assert!(Path::new(&mnt).is_dir());
    }

    #[test]
    fn a_mount_that_fails_leaves_no_entry_and_no_directory() {
        let host = Host::new("echo 'no such device' >&2; exit 32");
        let options = r#""src": "/dev/sdb", "fstype": "ext4", "state": "mounted""#;
        assert_eq!(
            host.call(options),
            Err("Error mounting mnt: no such device\n".into())
        );
        assert_eq!(host.fstab(), "");
        assert!(!Path::new(&host.path("mnt")).exists());
        assert_eq!(
            host.call(r#""state": "mounted""#),
            Err("state is mounted but all of the following are missing: src, fstype".into())
        );
    }
}
