//! `xfs_quota`: how much of an XFS file system a user, a group or a project may take.

use std::path::{Path, PathBuf};

use crate::arguments::size;
use crate::machine::{Machine, Output};
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage quotas on XFS filesystems.
    pub(crate) struct XfsQuotaArgs for "community.general.xfs_quota" {
        /// Whose quota it is.
        r#type: String { required, choices: ["user", "group", "project"] },
        /// The user, group or project; without it the default of all.
        name: Option<String> {},
        /// Where the file system is mounted.
        mountpoint: String { required },
        /// The most bytes, at once.
        bhard: Option<String> {},
        /// The most bytes, after a grace time.
        bsoft: Option<String> {},
        /// The most files, at once.
        ihard: Option<i64> {},
        /// The most files, after a grace time.
        isoft: Option<i64> {},
        /// The most bytes of the realtime device, at once.
        rtbhard: Option<String> {},
        /// The most bytes of the realtime device, after a grace time.
        rtbsoft: Option<String> {},
        /// Whether there are limits.
        state: String { default: "present", choices: ["present", "absent"] },
    }
}

/// Sets the limits, or takes them away.
pub(crate) fn run(machine: &mut Machine, args: XfsQuotaArgs) -> ModuleResult {
    settle(machine, &args, &Files::default())
}

/// The files that say what is mounted, and which projects there are.
struct Files {
    mounts: PathBuf,
    projects: PathBuf,
    projid: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            mounts: "/proc/mounts".into(),
            projects: "/etc/projects".into(),
            projid: "/etc/projid".into(),
        }
    }
}

/// The limits in the order of their options, and how they are reported.
const LIMITS: [(&str, &str, &str, i64); 3] = [
    ("b", "-b", "blocks", 1024),
    ("i", "-i", "inodes", 1),
    ("rtb", "-r", "realtime blocks", 1024),
];

fn settle(machine: &mut Machine, args: &XfsQuotaArgs, files: &Files) -> ModuleResult {
    let program = tool::required(machine, "xfs_quota")?;
    let wanted = wanted(args)?;
    let options = mount_options(machine, args, files)?;
    let (flag, default) = match args.r#type.as_str() {
        "user" => ("-u", "root"),
        "group" => ("-g", "root"),
        _ => ("-p", "#0"),
    };
    let name = args.name.as_deref().unwrap_or(default).to_owned();
    check(machine, args, files, &options, &name)?;
    let mut quota = Quota {
        machine,
        program,
        mountpoint: args.mountpoint.clone(),
    };
    let mut changed = false;
    if args.r#type == "project" {
        changed = quota.enrol(&name, name == default, args.state == "present")?;
    }
    let mut told = Map::new();
    let mut outcome = Outcome::unchanged();
    let (mut limits, mut old) = (Vec::new(), Vec::new());
    for ((start, report, what, factor), wanted) in LIMITS.into_iter().zip(wanted) {
        let mut current = quota.current(&name, flag, report, what, factor)?;
        if args.state == "absent" {
            current = current.map(|number| number.or(Some(0)));
        }
        for (end, wanted, current) in [
            ("soft", wanted[0], current[0]),
            ("hard", wanted[1], current[1]),
        ] {
            let limit = format!("{start}{end}");
            told.insert(
                limit.as_str().into(),
                current.map_or(Value::Null, Value::from),
            );
            if let Some(wanted) = wanted.filter(|_| wanted != current) {
                limits.push(format!("{limit}={wanted}"));
                old.push(format!("{limit}={}", current.unwrap_or(0)));
                outcome = outcome.with(&limit, wanted);
            }
        }
    }
    if !limits.is_empty() {
        let command = |limits: &[String]| {
            let limits = limits.join(" ");
            if name == default {
                format!("limit {flag} -d {limits}")
            } else {
                format!("limit {flag} {limits} {name}")
            }
        };
        quota.act(&command(&limits), &command(&old), "Could not set limits.")?;
        changed = true;
    }
    Ok(outcome.with_changed(changed).with("xfs_quota", told))
}

/// Returns what each limit should be, soft and hard.
fn wanted(args: &XfsQuotaArgs) -> Result<[[Option<i64>; 2]; 3], Failure> {
    if args.state == "absent" {
        return Ok([[Some(0); 2]; 3]);
    }
    let bytes = |text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let read = size::parse(text, None, false).and_then(|bytes| i64::try_from(bytes).ok());
        read.map(Some).ok_or_else(|| {
            Failure::new(format!(
                "human_to_bytes() can't interpret following string: {text}"
            ))
        })
    };
    Ok([
        [bytes(&args.bsoft)?, bytes(&args.bhard)?],
        [args.isoft, args.ihard],
        [bytes(&args.rtbsoft)?, bytes(&args.rtbhard)?],
    ])
}

/// Returns the options the file system is mounted with.
fn mount_options(
    machine: &mut Machine,
    args: &XfsQuotaArgs,
    files: &Files,
) -> Result<Vec<String>, Failure> {
    let path = &args.mountpoint;
    let mounts = read(machine, &files.mounts)?;
    let rows = mounts
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let here: Vec<_> = rows
        .filter(|fields| fields.len() == 6 && fields[1] == path)
        .collect();
    if here.is_empty() {
        return Err(Failure::new(format!("Path '{path}' is not a mount point")));
    }
    let xfs = here.iter().find(|fields| fields[2] == "xfs");
    let xfs = xfs.ok_or_else(|| {
        Failure::new(format!(
            "Path '{path}' is not a mount point or not located on an xfs file system."
        ))
    })?;
    Ok(xfs[3].split(',').map(str::to_owned).collect())
}

fn read(machine: &mut Machine, path: &Path) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&machine.read(path)?).into_owned())
}

/// Refuses a file system that knows no such quotas, and a name that nobody has.
fn check(
    machine: &mut Machine,
    args: &XfsQuotaArgs,
    files: &Files,
    options: &[String],
    name: &str,
) -> Result<(), Failure> {
    let path = &args.mountpoint;
    let (known, end): (&[&str], _) = match args.r#type.as_str() {
        "user" => (
            &["uquota", "usrquota", "quota", "uqnoenforce", "qnoenforce"],
            String::new(),
        ),
        "group" => {
            let options = Value::list(options.to_vec());
            (
                &["gquota", "grpquota", "gqnoenforce"],
                format!(" (current options: {options})"),
            )
        }
        _ => (&["pquota", "prjquota", "pqnoenforce"], String::new()),
    };
    if !options
        .iter()
        .any(|option| known.contains(&option.as_str()))
    {
        return Err(Failure::new(format!(
            "Path '{path}' is not mounted with the {} option.{end}",
            known.join("/")
        )));
    }
    let is_there = match args.r#type.as_str() {
        "user" => machine.user(name).is_some(),
        "group" => machine.group(name).is_some(),
        _ if args.name.is_none() || name == "#0" => true,
        _ => {
            for path in [&files.projects, &files.projid] {
                if !machine.exists(path)? {
                    let path = path.display();
                    return Err(Failure::new(format!("Path '{path}' does not exist.")));
                }
            }
            let projects = read(machine, &files.projid)?;
            let mut names = projects
                .lines()
                .filter_map(|line| line.trim().split(':').next());
            if !names.any(|it| it == name) {
                return Err(Failure::new(format!(
                    "Entry '{name}' has not been defined in {}.",
                    files.projid.display()
                )));
            }
            true
        }
    };
    if is_there {
        Ok(())
    } else {
        Err(Failure::new(format!("User '{name}' does not exist.")))
    }
}

/// The program, for one file system.
struct Quota<'m> {
    machine: &'m mut Machine,
    program: String,
    mountpoint: String,
}

impl Quota<'_> {
    fn argv(&self, command: &str) -> [String; 5] {
        [&self.program, "-x", "-c", command, &self.mountpoint].map(str::to_owned)
    }

    fn ask(&mut self, command: &str, msg: &str) -> Result<String, Failure> {
        let argv = self.argv(command);
        let output = tool::ask(self.machine, &argv)?;
        heard(&output, command, msg)?;
        Ok(output.stdout_text())
    }

    fn act(&mut self, command: &str, undo: &str, msg: &str) -> Result<(), Failure> {
        let (argv, undo) = (self.argv(command), self.argv(undo));
        match tool::act(self.machine, &argv, &undo)? {
            Some(output) => heard(&output, command, msg),
            None => Ok(()),
        }
    }

    /// Puts the project's trees under its quota, or takes them out; tells whether it had to.
    fn enrol(&mut self, name: &str, is_default: bool, wanted: bool) -> Result<bool, Failure> {
        if is_default {
            return Ok(false);
        }
        let said = self.ask(&format!("project {name}"), "Could not get project state.")?;
        let is_set = !said.contains("project identifier is not set");
        if is_set == wanted {
            return Ok(false);
        }
        let (set, clear) = (format!("project -s {name}"), format!("project -C {name}"));
        if wanted {
            self.act(&set, &clear, "Could not get quota realtime block report.")?;
        } else {
            let msg = "Failed to clear managed tree from project quota control.";
            self.act(&clear, &set, msg)?;
        }
        Ok(true)
    }

    /// Returns a limit as it is, soft and hard.
    fn current(
        &mut self,
        name: &str,
        flag: &str,
        report: &str,
        what: &str,
        factor: i64,
    ) -> Result<[Option<i64>; 2], Failure> {
        let msg = format!("Could not get quota report for {what}.");
        let said = self.ask(&format!("report {flag} {report}"), &msg)?;
        let rows = said
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows
            .into_iter()
            .find(|fields| fields.len() > 3 && fields[0] == name);
        let number = |row: &[&str], at: usize| {
            let number: Option<i64> = row[at].parse().ok();
            number.map(|number| number * factor)
        };
        Ok(row.map_or([None; 2], |row| [number(&row, 2), number(&row, 3)]))
    }
}

fn heard(output: &Output, command: &str, msg: &str) -> Result<(), Failure> {
    let said = output.stderr_text();
    let mut lines = said.lines();
    let is_forbidden = |line: &str| {
        line == "XFS_GETQUOTA: Operation not permitted"
            || output.status == 1 && line == "xfs_quota: cannot set limits: Operation not permitted"
    };
    if lines.any(is_forbidden) {
        return Err(Failure::new(
            "You need to be root or have CAP_SYS_ADMIN capability to perform this operation",
        ));
    }
    tool::check(Some(output), |_| msg.to_owned()).map_err(|failure| failure.with("cmd", command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    /// An `xfs_quota` that keeps what was limited last, and whether the project has its trees.
    const QUOTA: &str = r#"
case "$3" in
  'report '*' -b') echo "root 5 $(cat "$here/soft" 2>/dev/null || echo 0) 0 00 [--------]"
    echo '#0 5 0 0 00 [------]'; echo 'web 5 1 2 00 [------]' ;;
  'report '*) echo 'root 5 0 7 00 [--------]'; echo '#0 5 0 0 00'; echo 'web 5 0 0 00' ;;
  *bsoft=1024*root*|*'-u -d bsoft=1024'*) echo 1 >"$here/soft" ;;
  *'-u -d bsoft=0'*) rm "$here/soft" ;;
  'project web') [ -e "$here/set" ] || echo '/x - project identifier is not set (inode=0, tree=3)' ;;
  'project -s web') : >"$here/set" ;;
  'project -C web') rm "$here/set" ;;
  *ihard=13*) echo 'xfs_quota: cannot set limits: Operation not permitted' >&2; exit 1 ;;
  *ihard=14*) echo 'no' >&2; exit 1 ;;
esac
"#;

    fn host() -> Programs {
        let host = Programs::new([("xfs_quota", QUOTA)]);
        host.put(
            "mounts",
            "/dev/sda1 /data xfs rw,usrquota,prjquota 0 0\n/dev/sda2 /plain ext4 rw 0 0\n",
        );
        host.put("projid", "web:3\n");
        host.put("projects", "3:/data/web\n");
        host
    }

    fn settled(host: &Programs, mut machine: Machine, options: &str) -> String {
        let given: Value = serde_json::from_str(options).unwrap();
        let files = Files {
            mounts: host.path("mounts"),
            projects: host.path("projects"),
            projid: host.path("projid"),
        };
        let result = XfsQuotaArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| settle(&mut machine, &args, &files));
        let result = match result {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        let text = serde_json::to_string(&Value::from(result)).unwrap();
        text.replace(host.path("").to_str().unwrap(), "$BIN/")
    }

    fn run(host: &Programs, options: &str) -> String {
        settled(host, host.machine(), options)
    }

    fn commands(host: &Programs) -> Vec<String> {
        let calls = host.calls().into_iter();
        let is_change = |call: &String| call.contains("limit ") || call.contains("project -");
        calls.filter(is_change).collect()
    }

    #[test]
    fn the_default_of_all_users_is_limited_once_and_unlimited() {
        let host = host();
        let options = r#"{"type": "user", "mountpoint": "/data", "bsoft": "1K", "ihard": 7}"#;
        let done = r#"{"changed":true,"bsoft":1024,"xfs_quota":{"bsoft":0,"bhard":0,"isoft":0,"ihard":7,"rtbsoft":0,"rtbhard":7168}}"#;
        assert_eq!(settled(&host, host.predicting(), options), done);
        assert_eq!(commands(&host), Vec::<String>::new());
        assert_eq!(run(&host, options), done);
        assert_eq!(
            run(&host, options),
            r#"{"changed":false,"xfs_quota":{"bsoft":1024,"bhard":0,"isoft":0,"ihard":7,"rtbsoft":0,"rtbhard":7168}}"#
        );
        assert_eq!(
            commands(&host),
            ["xfs_quota -x -c limit -u -d bsoft=1024 /data"]
        );
        assert_eq!(
            host.undo_steps(),
            ["xfs_quota -x -c limit -u -d bsoft=0 /data"]
        );
        let absent = r#"{"type": "user", "mountpoint": "/data", "state": "absent"}"#;
        assert_eq!(
            run(&host, absent),
            r#"{"changed":true,"bsoft":0,"ihard":0,"rtbhard":0,"xfs_quota":{"bsoft":1024,"bhard":0,"isoft":0,"ihard":7,"rtbsoft":0,"rtbhard":7168}}"#
        );
    }

    #[test]
    fn a_project_gets_its_trees_first() {
        let host = host();
        let options = r#"{"type": "project", "name": "web", "mountpoint": "/data", "bhard": "3k"}"#;
        let done = r#"{"changed":true,"bhard":3072,"xfs_quota":{"bsoft":1024,"bhard":2048,"isoft":0,"ihard":0,"rtbsoft":0,"rtbhard":0}}"#;
        assert_eq!(settled(&host, host.predicting(), options), done);
        assert_eq!(run(&host, options), done);
        assert_eq!(
            commands(&host),
            [
                "xfs_quota -x -c project -s web /data",
                "xfs_quota -x -c limit -p bhard=3072 web /data"
            ]
        );
        assert_eq!(
            host.undo_steps(),
            [
                "xfs_quota -x -c project -C web /data",
                "xfs_quota -x -c limit -p bhard=2048 web /data"
            ]
        );
    }

    #[test]
    fn what_has_no_quotas_is_refused() {
        let host = host();
        for (options, msg) in [
            (
                r#"{"type": "user", "mountpoint": "/none"}"#,
                "Path '/none' is not a mount point",
            ),
            (
                r#"{"type": "user", "mountpoint": "/plain"}"#,
                "Path '/plain' is not a mount point or not located on an xfs file system.",
            ),
            (
                r#"{"type": "group", "mountpoint": "/data"}"#,
                "Path '/data' is not mounted with the gquota/grpquota/gqnoenforce option. (current options: ['rw', 'usrquota', 'prjquota'])",
            ),
            (
                r#"{"type": "user", "name": "nobody-of-here", "mountpoint": "/data"}"#,
                "User 'nobody-of-here' does not exist.",
            ),
            (
                r#"{"type": "project", "name": "db", "mountpoint": "/data"}"#,
                "Entry 'db' has not been defined in $BIN/projid.",
            ),
            (
                r#"{"type": "user", "mountpoint": "/data", "bsoft": "lots"}"#,
                "human_to_bytes() can't interpret following string: lots",
            ),
            (
                r#"{"type": "user", "mountpoint": "/data", "ihard": 13}"#,
                "You need to be root or have CAP_SYS_ADMIN capability to perform this operation",
            ),
        ] {
            assert_eq!(
                run(&host, options),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
        let refused = run(
            &host,
            r#"{"type": "user", "mountpoint": "/data", "ihard": 14}"#,
        );
        assert_eq!(
            refused,
            r#"{"failed":true,"changed":false,"msg":"Could not set limits.","rc":1,"stdout":"","stderr":"no\n","cmd":"limit -u -d ihard=14","stdout_lines":[],"stderr_lines":["no"]}"#
        );
    }
}
