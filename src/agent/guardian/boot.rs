//! The boot hook: what makes a machine that went down in a transaction settle it when it comes up.
//!
//! While transactions are open, a copy of this program and one line that starts it at boot are in
//! place: a systemd unit, else a cron entry. The last transaction to end takes both away.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};

use super::launch::{OWN_PROGRAM, has_systemd};
use super::recovery;
use crate::machine::{Algorithm, Command, Content, Machine, MachineOptions, NewFile};
use crate::transaction::store::StateRoot;

const UNIT: &str = "backstay-recover.service";
const CRON_FILE: &str = "backstay-recover";
/// Ends the line in a user's crontab that is ours.
const MARK: &str = "# backstay: settles an open transaction";

/// The hook of one state directory.
pub(in crate::agent) struct Hook<'a> {
    root: &'a Path,
    machine: Machine,
}

/// One way to be started at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// A unit, and the link that has the boot want it.
    Unit { unit: PathBuf, wants: PathBuf },
    /// A file of the system's cron.
    CronFile(PathBuf),
    /// A line of the user's own crontab.
    Crontab,
}

impl<'a> Hook<'a> {
    pub(in crate::agent) fn new(root: &'a Path) -> Self {
        Self {
            root,
            machine: Machine::new(MachineOptions::default()),
        }
    }

    /// Puts the program and what starts it in place; returns the program.
    ///
    /// `sha256` is the digest of this program, where it is known already.
    pub(in crate::agent) fn install(&mut self, sha256: Option<&str>) -> Result<PathBuf, String> {
        let _guard = exclusive(self.root)?;
        let program = self.place_program(sha256)?;
        let ways = self.ways();
        let way = ways
            .first()
            .ok_or("this host has neither systemd nor cron to start anything at boot")?;
        self.enter(way, &program).map(|()| program)
    }

    fn enter(&mut self, way: &Way, program: &Path) -> Result<(), String> {
        let command = format!(
            "{} recover-local --state {}",
            program.display(),
            self.root.display()
        );
        if command.contains(['\n', '%', '\'', '"', '\\']) || command.split(' ').count() != 4 {
            return Err("the path of the state directory cannot stand in a unit or crontab".into());
        }
        match way {
            Way::Unit { unit, wants } => {
                self.put(unit, unit_text(&command))?;
                let wanted = wants.parent().unwrap_or(wants);
                self.made(wanted)?;
                if self.machine.exists(wants).map_err(text)? {
                    return Ok(());
                }
                self.machine.symlink(unit, wants).map_err(text)
            }
            Way::CronFile(path) => self.put(path, format!("{MARK}\n@reboot root {command}\n")),
            Way::Crontab => {
                let old = self.crontab();
                let line = format!("@reboot {command} {MARK}\n");
                if old.contains(&line) {
                    return Ok(());
                }
                self.set_crontab(without_line(&old, self.root) + &line)
            }
        }
    }

    /// Takes away every way that was ever entered, and the program.
    fn remove(&mut self) {
        for way in self.ways() {
            match way {
                Way::Unit { unit, wants } => {
                    if self.is_ours(&unit) {
                        // What cannot go does nothing at boot.
                        self.machine.remove(&wants).ok();
                        self.machine.remove(&unit).ok();
                    }
                }
                Way::CronFile(path) => {
                    if self.is_ours(&path) {
                        self.machine.remove(&path).ok();
                    }
                }
                Way::Crontab => {
                    let old = self.crontab();
                    let rest = without_line(&old, self.root);
                    if rest != old {
                        self.set_crontab(rest).ok();
                    }
                }
            }
        }
        self.machine.remove(&self.root.join("agent")).ok();
    }

    /// Tells whether a file starts the recovery of this state directory.
    fn is_ours(&mut self, path: &Path) -> bool {
        let text = self.machine.read(path).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .any(|line| line.ends_with(&state_option(self.root)))
    }

    /// Returns the ways that this host has, the best first.
    fn ways(&mut self) -> Vec<Way> {
        let mut ways = Vec::new();
        let unit_in = |base: PathBuf, target: &str| Way::Unit {
            unit: base.join(UNIT),
            wants: base.join(format!("{target}.target.wants")).join(UNIT),
        };
        if rustix::process::geteuid().is_root() {
            if has_systemd() {
                ways.push(unit_in("/etc/systemd/system".into(), "multi-user"));
            }
            if Path::new("/etc/cron.d").is_dir() {
                ways.push(Way::CronFile(Path::new("/etc/cron.d").join(CRON_FILE)));
            }
            return ways;
        }
        if self.machine.find_program("crontab").is_some() {
            ways.push(Way::Crontab);
        }
        if let Some(home) = self.machine.variable("HOME").filter(|_| has_systemd()) {
            let base = Path::new(&home).join(".config/systemd/user");
            ways.push(unit_in(base, "default"));
        }
        ways
    }

    /// Keeps this program where the boot finds it: linked from its cache, else copied.
    fn place_program(&mut self, sha256: Option<&str>) -> Result<PathBuf, String> {
        let own = PathBuf::from(OWN_PROGRAM);
        let sha256 = match sha256 {
            Some(sha256) => sha256.to_owned(),
            None => self.machine.digest(&own, Algorithm::Sha256).map_err(text)?,
        };
        let place = self.root.join("agent").join(sha256);
        if self.machine.exists(&place).map_err(text)? {
            return Ok(place);
        }
        self.made(&self.root.join("agent"))?;
        let flags = AtFlags::SYMLINK_FOLLOW;
        if rustix::fs::linkat(CWD, &own, CWD, &place, flags).is_err() {
            let new = NewFile {
                mode: Some(0o700),
                ..NewFile::default()
            };
            let written = self.machine.write(&place, Content::File(own), &new);
            written.map_err(text)?;
        }
        Ok(place)
    }

    fn made(&mut self, directory: &Path) -> Result<(), String> {
        let made = self.machine.create_dir_all(directory, 0o700);
        made.map(|_| ()).map_err(text)
    }

    fn put(&mut self, path: &Path, content: String) -> Result<(), String> {
        let new = NewFile {
            mode: Some(0o644),
            ..NewFile::default()
        };
        if self
            .machine
            .read(path)
            .is_ok_and(|old| old == content.as_bytes())
        {
            return Ok(());
        }
        self.made(path.parent().unwrap_or(path))?;
        self.machine.write(path, content.into(), &new).map_err(text)
    }

    fn crontab(&mut self) -> String {
        let listed = self.machine.query(&Command::new(["crontab", "-l"]));
        let listed = listed.ok().filter(crate::machine::Output::success);
        listed
            .map(|output| output.stdout_text())
            .unwrap_or_default()
    }

    fn set_crontab(&mut self, content: String) -> Result<(), String> {
        let command = if content.is_empty() {
            Command::new(["crontab", "-r"])
        } else {
            Command::new(["crontab", "-"]).stdin(content)
        };
        let output = self.machine.query(&command).map_err(text)?;
        if output.success() {
            Ok(())
        } else {
            Err(output.stderr_text().trim().to_owned())
        }
    }
}

/// Takes the hook away unless a transaction other than `ended` is open.
pub(in crate::agent) fn remove_when_idle(root: &StateRoot, ended: &str) {
    let Ok(_guard) = exclusive(root.path()) else {
        return;
    };
    let is_idle = root.transactions().is_ok_and(|all| {
        all.iter()
            .all(|one| one.id == ended || one.state().is_over())
    });
    if is_idle {
        Hook::new(root.path()).remove();
    }
}

/// `backstay recover-local`: settles at boot what the machine went down in.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let [word, root] = arguments.as_slice() else {
        return ExitCode::FAILURE;
    };
    if word != "--state" {
        return ExitCode::FAILURE;
    }
    match StateRoot::find(Path::new(root)) {
        Ok(Some(root)) => {
            let program = std::env::current_exe().ok();
            let left = recovery::left_behind(&root, program.as_deref(), true);
            remove_when_idle(&root, "");
            if left.iter().all(|one| one.why.is_none()) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Keeps others from installing or removing meanwhile.
fn exclusive(root: &Path) -> Result<std::os::fd::OwnedFd, String> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(CWD, root.join("hook"), flags, mode).map_err(text)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(text)?;
    Ok(file)
}

fn unit_text(command: &str) -> String {
    format!(
        "{MARK}\n[Unit]\nDescription=Settles a backstay transaction that a reboot interrupted\n\
         After=local-fs.target\n\n[Service]\nType=oneshot\nKillMode=process\nExecStart={command}\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// Returns a crontab without the line of this state directory.
fn without_line(crontab: &str, root: &Path) -> String {
    let ours = format!("{} {MARK}", state_option(root));
    crontab
        .split_inclusive('\n')
        .filter(|line| !line.trim_end().ends_with(&ours))
        .collect()
}

/// Returns the words that end the command line of a recovery.
fn state_option(root: &Path) -> String {
    format!(" recover-local --state {}", root.display())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_the_kept_program_once_at_boot() {
        assert_eq!(
            unit_text("/var/lib/backstay/agent/ab recover-local --state /var/lib/backstay"),
            "# backstay: settles an open transaction\n\
             [Unit]\n\
             Description=Settles a backstay transaction that a reboot interrupted\n\
             After=local-fs.target\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             KillMode=process\n\
             ExecStart=/var/lib/backstay/agent/ab recover-local --state /var/lib/backstay\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        );
    }

    #[test]
    fn only_our_line_leaves_a_crontab() {
        let own = "MAILTO=ann\n0 5 * * * /bin/tidy # backstay\n";
        let line = format!("@reboot /x recover-local --state /y {MARK}\n");
        let crontab = format!("{own}{line}");
        assert_eq!(without_line(&crontab, Path::new("/y")), own);
        assert_eq!(without_line(&crontab, Path::new("/z")), crontab);
    }
}
