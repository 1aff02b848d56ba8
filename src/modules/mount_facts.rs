//! `mount_facts`: what is mounted, or would be, from one table or several.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::machine::{Command, Machine, MachineError, Reason};
use crate::pyregex::{Flags, Pattern};
use crate::value::{Map, Value, repr};

use super::glob::NamePattern;
use super::setup::unescape;
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Retrieve mount information.
    pub(crate) struct MountFactsArgs for "mount_facts" {
        /// Shell patterns for devices.
        devices: Option<Vec<String>> {},
        /// Shell patterns for types of file systems.
        fstypes: Option<Vec<String>> {},
        /// `static` tables, `dynamic` tables, `all`, `mount`, or files.
        sources: Option<Vec<String>> {},
        /// The program that lists mounts where no dynamic table does; none for none.
        mount_binary: Option<Value> { default: "mount" },
        /// How many seconds one question may take.
        timeout: Option<f64> {},
        /// What becomes of a question that takes longer.
        on_timeout: String { default: "error", choices: ["error", "warn", "ignore"] },
        /// Return all mounts, of one place too, as `aggregate_mounts`.
        include_aggregate_mounts: Option<bool> {},
    }
}

const DYNAMIC: [&str; 3] = ["/etc/mtab", "/proc/mounts", "/etc/mnttab"];
const STATIC: [&str; 3] = ["/etc/fstab", "/etc/vfstab", "/etc/filesystems"];

/// Lists the mounts.
pub(crate) fn run(machine: &mut Machine, args: MountFactsArgs) -> ModuleResult {
    let limit = match args.timeout {
        None => None,
        Some(seconds) if seconds > 0.0 => Some(Duration::from_secs_f64(seconds)),
        Some(seconds) => {
            return Err(Failure::new(format!(
                "argument 'timeout' must be a positive number or null, not {}",
                Value::from(seconds)
            )));
        }
    };
    let binary = match &args.mount_binary {
        None => None,
        Some(Value::String(name)) => Some(name.to_string()),
        Some(other) => {
            return Err(Failure::new(format!(
                "argument 'mount_binary' must be a string or null, not {other}"
            )));
        }
    };
    let mut survey = Survey {
        machine,
        args: &args,
        limit,
        outcome: Outcome::unchanged(),
    };
    let mut found = Vec::new();
    for mount in survey.mounts(binary.as_deref())? {
        found.extend(survey.describe(mount)?);
    }
    let (points, all) = survey.sort_out(found);
    let mut facts = Map::new();
    facts.insert("mount_points".into(), points.into());
    facts.insert("aggregate_mounts".into(), all);
    Ok(survey.outcome.with("ansible_facts", facts))
}

/// One line of one table.
struct Mount {
    source: String,
    line: String,
    fields: Map,
}

impl Mount {
    fn text(&self, name: &str) -> String {
        self.fields
            .get(name)
            .map(Value::to_string)
            .unwrap_or_default()
    }
}

struct Survey<'a> {
    machine: &'a mut Machine,
    args: &'a MountFactsArgs,
    limit: Option<Duration>,
    outcome: Outcome,
}

impl Survey<'_> {
    fn sources(&self) -> Result<Vec<String>, Failure> {
        let given = self.args.sources.clone().filter(|list| !list.is_empty());
        let mut sources = Vec::new();
        for source in given.unwrap_or_else(|| vec!["all".into()]) {
            let name = source.as_str();
            if name.is_empty() {
                return Err(Failure::new("sources contains an empty string"));
            }
            if matches!(name, "dynamic" | "all") {
                sources.extend(DYNAMIC.map(str::to_owned));
            }
            if matches!(name, "static" | "all") {
                sources.extend(STATIC.map(str::to_owned));
            }
            if !matches!(name, "static" | "dynamic" | "all") {
                sources.push(source);
            }
        }
        Ok(sources)
    }

    fn mounts(&mut self, binary: Option<&str>) -> Result<Vec<Mount>, Failure> {
        let sources = self.sources()?;
        let once: BTreeSet<_> = sources.iter().collect();
        if once.len() < sources.len() {
            let shown = repr(&Value::list(sources.iter().map(String::as_str)));
            self.outcome.warnings.push(format!(
                "mount_facts option 'sources' contains duplicate entries, repeat sources will be \
                 ignored: {shown}"
            ));
        }
        let is_dynamic = |source: &str| DYNAMIC.contains(&source);
        let mut falls_back = binary.is_some() && sources.iter().any(|source| is_dynamic(source));
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut found = Vec::new();
        for source in sources {
            let written = PathBuf::from(&source);
            let real = self.machine.real_path(&written)?;
            if seen.contains(&written) || seen.contains(&real) {
                continue;
            }
            let mounts = if source == "mount" {
                seen.push(written);
                self.ask_program(binary)?
            } else {
                seen.push(real);
                self.read_table(&source)?
            };
            falls_back &= mounts.is_empty() || !(source == "mount" || is_dynamic(&source));
            found.extend(mounts);
        }
        if falls_back {
            found.extend(self.ask_program(binary)?);
        }
        Ok(found)
    }

    fn ask_program(&mut self, binary: Option<&str>) -> Result<Vec<Mount>, Failure> {
        let name = binary.unwrap_or("mount");
        let path = if name.contains('/') {
            name.to_owned()
        } else {
            tool::required(self.machine, name)?
        };
        let output = self.ask(&[path.as_str()])?;
        Ok(match output {
            Some((0, text)) => listed(&text),
            Some((status, _)) => {
                return Err(Failure::new(format!(
                    "Failed to execute {path}: Command '{path}' returned non-zero exit status \
                     {status}."
                )));
            }
            None => Vec::new(),
        })
    }

    /// Runs a program within the limit; `None` when it took longer and that is no error.
    fn ask(&mut self, argv: &[&str]) -> Result<Option<(i32, String)>, Failure> {
        let mut command = Command::new(argv);
        if let Some(limit) = self.limit {
            command = command.timeout(limit);
        }
        match self.machine.query(&command) {
            Ok(output) => Ok(Some((output.status, output.stdout_text()))),
            Err(error) if self.limit.is_some() && is_late(&error) => {
                let seconds = self.args.timeout.unwrap_or_default();
                self.late(format!(
                    "Command '{}' timed out after {} seconds",
                    argv.join(" "),
                    Value::from(seconds)
                ))?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn late(&mut self, msg: String) -> Result<(), Failure> {
        match self.args.on_timeout.as_str() {
            "error" => return Err(Failure::new(msg)),
            "warn" => self.outcome.warnings.push(msg),
            _ => {}
        }
        Ok(())
    }

    fn read_table(&mut self, source: &str) -> Result<Vec<Mount>, Failure> {
        let path = Path::new(source);
        if !self.machine.exists(path)? || !self.machine.may(path, rustix::fs::Access::READ_OK) {
            return Ok(Vec::new());
        }
        let text = String::from_utf8_lossy(&self.machine.read(path)?).into_owned();
        let table = text.trim();
        let mounts = entries(source, table, vfstab_entry);
        Ok(mounts
            .or_else(|| entries(source, table, fstab_entry))
            .unwrap_or_default())
    }

    /// Adds size and UUID; `None` for a mount that is not asked for.
    fn describe(&mut self, mut mount: Mount) -> Result<Option<Mount>, Failure> {
        let mut device = mount.text("device");
        let fstype = mount.text("fstype");
        let mut uuid = device.strip_prefix("UUID=").map(str::to_owned);
        if let Some(uuid) = &uuid
            && let Some(path) = self.device_of(uuid)?
        {
            device = path;
        }
        let fits = |patterns: &Option<Vec<String>>, name: &str| {
            let patterns = patterns.as_deref().unwrap_or_default();
            patterns.is_empty()
                || patterns
                    .iter()
                    .any(|pattern| NamePattern::new(pattern).matches(OsStr::new(name)))
        };
        if !fits(&self.args.devices, &device) || !fits(&self.args.fstypes, &fstype) {
            return Ok(None);
        }
        let size = self.size(&mount.text("mount"), &fstype)?;
        mount.fields.extend(size);
        if uuid.is_none() {
            uuid = self.uuid_of(&device)?;
        }
        let context = Value::map([
            ("source", mount.source.as_str()),
            ("source_data", mount.line.as_str()),
        ]);
        mount.fields.insert("ansible_context".into(), context);
        let uuid = uuid.map_or(Value::Null, Value::from);
        mount.fields.insert("uuid".into(), uuid);
        Ok(Some(mount))
    }

    fn device_of(&mut self, uuid: &str) -> Result<Option<String>, Failure> {
        let Some(blkid) = tool::found(self.machine, "blkid") else {
            return Ok(None);
        };
        let said = self.ask(&[blkid.as_str(), "--uuid", uuid])?;
        Ok(said
            .filter(|(status, _)| *status == 0)
            .map(|(_, text)| text.trim().to_owned()))
    }

    fn uuid_of(&mut self, device: &str) -> Result<Option<String>, Failure> {
        let directory = Path::new("/dev/disk/by-uuid");
        if self.machine.is_dir(directory)? {
            for entry in self.machine.read_dir(directory)? {
                let link = self.machine.real_path(&directory.join(&entry.name))?;
                if link == Path::new(device) {
                    return Ok(Some(entry.name.to_string_lossy().into_owned()));
                }
            }
        }
        if let Some(lsblk) = tool::found(self.machine, "lsblk") {
            let argv = [
                lsblk.as_str(),
                "--list",
                "--noheadings",
                "--paths",
                "--output",
                "NAME,UUID",
                "--exclude",
                "2",
            ];
            let said = self.ask(&argv)?.map(|(_, text)| text).unwrap_or_default();
            let uuid = said.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                let is_it = words.next() == Some(device);
                words.next().filter(|_| is_it).map(str::to_owned)
            });
            if uuid.is_some() {
                return Ok(uuid);
            }
        }
        let Some(udevadm) = tool::found(self.machine, "udevadm") else {
            return Ok(None);
        };
        let argv = [
            udevadm.as_str(),
            "info",
            "--query",
            "property",
            "--name",
            device,
        ];
        let said = self.ask(&argv)?.map(|(_, text)| text).unwrap_or_default();
        Ok(said
            .lines()
            .find_map(|line| line.strip_prefix("ID_FS_UUID=").map(str::to_owned)))
    }

    /// Asks how full a file system is, on a thread: one whose server is gone never answers.
    fn size(&mut self, mount: &str, fstype: &str) -> Result<Map, Failure> {
        let Some(limit) = self.limit else {
            return Ok(size_of(mount));
        };
        let (sender, receiver) = channel();
        let path = mount.to_owned();
        std::thread::spawn(move || sender.send(size_of(&path)));
        match receiver.recv_timeout(limit) {
            Ok(size) => Ok(size),
            Err(_) => {
                self.late(format!(
                    "Timed out getting mount size for mount {mount} (type {fstype}) after {} \
                     seconds",
                    Value::from(limit.as_secs_f64())
                ))?;
                Ok(Map::new())
            }
        }
    }

    /// Returns the first mount of each place, and all of them when that is asked for.
    fn sort_out(&mut self, mounts: Vec<Mount>) -> (Map, Value) {
        let mut points = Map::new();
        let mut places: Vec<(String, Vec<String>)> = Vec::new();
        for mount in &mounts {
            let place = mount.text("mount");
            if !points.contains_key(place.as_str()) {
                points.insert(place.as_str().into(), mount.fields.clone().into());
            }
            match places.iter_mut().find(|(name, _)| *name == mount.source) {
                Some((_, list)) => list.push(place),
                None => places.push((mount.source.clone(), vec![place])),
            }
        }
        let repeated: Vec<_> = places
            .iter()
            .filter(|(_, list)| list.iter().collect::<BTreeSet<_>>().len() < list.len())
            .map(|(name, list)| {
                let list = repr(&Value::list(list.iter().map(String::as_str)));
                format!("{name} ({list})")
            })
            .collect();
        if !repeated.is_empty() && self.args.include_aggregate_mounts.is_none() {
            self.outcome.warnings.push(format!(
                "mount_facts: ignoring repeat mounts in the following sources: {}. You can disable \
                 this warning by configuring the 'include_aggregate_mounts' option as True or \
                 False.",
                repeated.join(", ")
            ));
        }
        let all = if self.args.include_aggregate_mounts == Some(true) {
            Value::list(mounts.into_iter().map(|mount| mount.fields))
        } else {
            Value::list::<Value>([])
        };
        (points, all)
    }
}

fn is_late(error: &MachineError) -> bool {
    matches!(&error.reason, Reason::Said(why) if why == "it ran out of time")
}

fn size_of(mount: &str) -> Map {
    let Ok(usage) = rustix::fs::statvfs(mount) else {
        return Map::new();
    };
    [
        ("size_total", usage.f_frsize * usage.f_blocks),
        ("size_available", usage.f_frsize * usage.f_bavail),
        ("block_size", usage.f_bsize),
        ("block_total", usage.f_blocks),
        ("block_available", usage.f_bavail),
        ("block_used", usage.f_blocks.saturating_sub(usage.f_bavail)),
        ("inode_total", usage.f_files),
        ("inode_available", usage.f_favail),
        ("inode_used", usage.f_files.saturating_sub(usage.f_favail)),
    ]
    .into_iter()
    .map(|(name, number)| (name.into(), number.into()))
    .collect()
}

/// Reads a table whole; `None` when a line is not of that table's form.
fn entries(source: &str, table: &str, entry: fn(&str) -> Option<Map>) -> Option<Vec<Mount>> {
    table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            Some(Mount {
                source: source.to_owned(),
                line: line.to_owned(),
                fields: entry(line)?,
            })
        })
        .collect()
}

/// Reads `device mount fstype options [dump [passno]]`.
fn fstab_entry(line: &str) -> Option<Map> {
    let fields: Vec<_> = line.split_whitespace().map(unescape).collect();
    let mut entry = Map::new();
    for (index, name) in ["device", "mount", "fstype", "options"].iter().enumerate() {
        entry.insert((*name).into(), fields.get(index)?.as_str().into());
    }
    for (index, name) in [(4, "dump"), (5, "passno")] {
        if let Some(field) = fields.get(index) {
            entry.insert(name.into(), field.parse::<i64>().ok()?.into());
        }
    }
    Some(entry)
}

/// Reads the seven columns of Solaris.
fn vfstab_entry(line: &str) -> Option<Map> {
    const NAMES: [&str; 7] = [
        "device",
        "device_to_fsck",
        "mount",
        "fstype",
        "passno",
        "mount_at_boot",
        "options",
    ];
    let fields: Vec<_> = line.split_whitespace().collect();
    let mut entry = Map::new();
    for (index, name) in NAMES.iter().enumerate() {
        let field = *fields.get(index)?;
        let value = match field.parse::<i64>() {
            Ok(number) if *name == "passno" => number.into(),
            _ => field.into(),
        };
        entry.insert((*name).into(), value);
    }
    Some(entry)
}

/// Reads what `mount` prints on Linux, or on a BSD.
fn listed(text: &str) -> Vec<Mount> {
    const LINUX: &str =
        r"^(?P<device>\S+) on (?P<mount>\S+) type (?P<fstype>\S+) \((?P<options>.+)\)$";
    const BSD: &str = r"^(?P<device>\S+) on (?P<mount>\S+) \((?P<fstype>.+)\)$";
    for form in [LINUX, BSD] {
        let pattern =
            Pattern::text(form, Flags::default()).expect("the pattern is a regular expression");
        let lines = text.lines().filter(|line| !line.starts_with("map "));
        let mounts: Option<Vec<_>> = lines.map(|line| parsed(line, &pattern)).collect();
        if let Some(mounts) = mounts {
            return mounts;
        }
    }
    Vec::new()
}

fn parsed(line: &str, pattern: &Pattern) -> Option<Mount> {
    let found = pattern.search(line).ok()??;
    let mut fields = Map::new();
    for (name, number) in pattern.group_names() {
        fields.insert(name.into(), line.get(found.span(number)?)?.into());
    }
    let fstype = fields.get("fstype").map(Value::to_string)?;
    if let Some((fstype, options)) = fstype.split_once(',') {
        fields.insert("fstype".into(), fstype.trim().into());
        fields.insert("options".into(), options.trim().into());
    }
    Some(Mount {
        source: "mount".into(),
        line: line.to_owned(),
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    fn points(result: &str) -> Value {
        let result: Value = serde_json::from_str(result).unwrap();
        result
            .get("ansible_facts")
            .and_then(|facts| facts.get("mount_points"))
            .cloned()
            .unwrap()
    }

    #[test]
    fn a_table_of_its_own_is_read_and_filtered() {
        let programs = Programs::new([]);
        programs.put(
            "fstab",
            "# x\n/dev/backstay /backstay\\040none ext4 rw 0 2\ntmpfs /backstay/t tmpfs rw\n",
        );
        let options = r#"{"sources": ["$BIN/fstab"], "fstypes": ["ext*"]}"#;
        let found = points(&programs.run("mount_facts", options));
        assert_eq!(
            found
                .to_string()
                .replace(&programs.path("").display().to_string(), ""),
            "{'/backstay none': {'device': '/dev/backstay', 'mount': '/backstay none', \
             'fstype': 'ext4', 'options': 'rw', 'dump': 0, 'passno': 2, 'ansible_context': \
             {'source': '$BIN/fstab', 'source_data': '/dev/backstay /backstay\\\\040none ext4 rw \
             0 2'}, 'uuid': None}}"
        );
    }

    #[test]
    fn the_kernels_table_has_the_root_once() {
        let programs = Programs::new([]);
        let found = points(&programs.run("mount_facts", r#"{"sources": "/proc/mounts"}"#));
        assert!(found.get("/proc").is_some());
    }

    #[test]
    fn what_the_program_prints_is_read_and_repeats_are_told() {
        let programs = Programs::new([(
            "mount",
            "echo '/dev/a on /backstay/a type ext4 (rw)'; echo '/dev/b on /backstay/a type xfs (ro)'",
        )]);
        let result = programs.run("mount_facts", r#"{"sources": "mount"}"#);
        assert!(result.contains("ignoring repeat mounts in the following sources: mount (['/backstay/a', '/backstay/a'])"));
        assert!(result.contains(r#""aggregate_mounts":[]"#));
        let result = programs.run(
            "mount_facts",
            r#"{"sources": "mount", "include_aggregate_mounts": true}"#,
        );
        assert!(!result.contains("warnings"));
        assert_eq!(result.matches("/dev/b").count(), 2);
    }

    #[test]
    fn a_program_that_hangs_is_an_error_or_not_as_asked() {
        let programs = Programs::new([("mount", "exec sleep 600")]);
        let options = r#"{"sources": "mount", "timeout": 0.05}"#;
        assert_eq!(
            programs.run("mount_facts", options),
            r#"{"failed":true,"changed":false,"msg":"Command '$BIN/mount' timed out after 0.05 seconds"}"#
        );
        let options = r#"{"sources": "mount", "timeout": 0.05, "on_timeout": "ignore"}"#;
        assert_eq!(
            programs.run("mount_facts", options),
            r#"{"changed":false,"ansible_facts":{"mount_points":{},"aggregate_mounts":[]}}"#
        );
        assert!(
            programs
                .run("mount_facts", r#"{"timeout": 0}"#)
                .contains("argument 'timeout' must be a positive number or null, not 0.0")
        );
    }
}
