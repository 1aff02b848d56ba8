//! `find`: the files below some directories that match all of the given conditions.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::machine::{DirEntry, FileKind, Machine, MachineError, Metadata, Timestamp};
use crate::pyregex::{Flags, Pattern, PatternError};
use crate::value::{Map, Value};

use super::encoding::{self, Decoded};
use super::glob::NamePattern;
use super::lines::split_any_lines;
use super::os_error::os_error;
use super::stat::{algorithm, metadata_values};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Return a list of files based on specific criteria.
    pub(crate) struct FindArgs for "find" {
        /// The directories to search.
        paths: Vec<PathBuf> { required, aliases: ["name", "path"] },
        /// Names to find: shell patterns, or regular expressions with `use_regex`.
        patterns: Vec<String> { default: "", aliases: ["pattern"] },
        /// Names to leave out.
        excludes: Vec<String> { default: "", aliases: ["exclude"] },
        /// A regular expression that some line must start with.
        contains: Option<String> {},
        /// Search `contains` anywhere in the file as a whole.
        read_whole_file: bool { default: "false" },
        /// What to find.
        file_type: String { default: "file", choices: ["any", "directory", "file", "link"] },
        /// At least this old, or at most with a minus sign; units s, m, h, d, w.
        age: Option<String> {},
        /// The time that `age` counts from.
        age_stamp: String { default: "mtime", choices: ["atime", "ctime", "mtime"] },
        /// At least this big, or at most with a minus sign; units b, k, m, g, t.
        size: Option<String> {},
        /// Search the directories below, too.
        recurse: bool { default: "false" },
        /// Find hidden names, too.
        hidden: bool { default: "false" },
        /// Go through links to directories.
        follow: bool { default: "false" },
        /// Return the checksum of each file.
        get_checksum: bool { default: "false" },
        /// How to compute the checksum.
        checksum_algorithm: String {
            default: "sha1",
            choices: ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"],
            aliases: ["checksum", "checksum_algo"],
        },
        /// Patterns are regular expressions.
        use_regex: bool { default: "false" },
        /// How many levels to go down.
        depth: Option<i64> {},
        /// The permissions, octal or symbolic.
        mode: Option<Value> {},
        /// Match all bits of `mode` instead of any.
        exact_mode: bool { default: "true" },
        /// The encoding that `contains` reads files in.
        encoding: Option<String> {},
        /// Stop after this many.
        limit: Option<i64> {},
    }
}

/// Searches the paths in order, each from the top down.
pub(crate) fn run(machine: &mut Machine, args: FindArgs) -> ModuleResult {
    let conditions = Conditions::new(&args)?;
    let mut search = Search {
        args: &args,
        conditions,
        found: Vec::new(),
        examined: 0,
        skipped: Map::new(),
        warnings: Vec::new(),
    };
    for path in &args.paths {
        let path = machine.expand(path);
        let failed = if machine.is_dir(&path)? {
            let depth = args.depth.filter(|depth| *depth != 0);
            search
                .walk(machine, &path, depth, &mut HashSet::new())
                .err()
        } else {
            Some(Failure::new(format!(
                "'{}' is not a directory",
                path.display()
            )))
        };
        if let Some(failure) = failed {
            search.skip_path(&path, failure.msg);
        }
    }
    Ok(search.into_outcome())
}

struct Search<'a> {
    args: &'a FindArgs,
    conditions: Conditions,
    found: Vec<Value>,
    examined: usize,
    skipped: Map,
    warnings: Vec<String>,
}

impl Search<'_> {
    /// Searches one directory, then those in it; `above` are the directories on the way here.
    fn walk(
        &mut self,
        machine: &mut Machine,
        directory: &Path,
        depth: Option<i64>,
        above: &mut HashSet<(u64, u64)>,
    ) -> Result<(), Failure> {
        machine.check_cancelled()?;
        let Some(here) = machine.metadata(directory)? else {
            return Ok(());
        };
        if !above.insert((here.device, here.inode)) {
            return Ok(());
        }
        let entries = match machine.read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.skip_directory(directory, error),
        };
        self.examined += entries.len();
        // Ansible looks into one level more than it reports, and counts it.
        if depth == Some(0) {
            above.remove(&(here.device, here.inode));
            return Ok(());
        }
        let (directories, files): (Vec<DirEntry>, Vec<DirEntry>) = entries
            .into_iter()
            .partition(|entry| leads_to_directory(machine, directory, entry));
        for entry in files.iter().chain(&directories) {
            if self.is_full() {
                break;
            }
            self.examine(machine, directory, entry)?;
        }
        for entry in directories {
            if !self.args.recurse || self.is_full() {
                break;
            }
            if !entry.metadata.is_link() || self.args.follow {
                let below = depth.map(|depth| depth - 1);
                self.walk(machine, &directory.join(&entry.name), below, above)?;
            }
        }
        above.remove(&(here.device, here.inode));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.args.limit.is_some_and(|limit| {
            usize::try_from(limit).is_ok_and(|limit| self.found.len() >= limit)
        })
    }

    fn examine(
        &mut self,
        machine: &mut Machine,
        directory: &Path,
        entry: &DirEntry,
    ) -> Result<(), Failure> {
        if entry.name.as_bytes().starts_with(b".") && !self.args.hidden {
            return Ok(());
        }
        let path = directory.join(&entry.name);
        let found = &entry.metadata;
        if !self.conditions.hold(&entry.name, found)
            || !self.conditions.content_holds(machine, &path, found)?
        {
            return Ok(());
        }
        let mut facts = Map::new();
        facts.insert("path".into(), path.display().to_string().into());
        facts.extend(metadata_values(found));
        let owner = machine.user_name(found.uid).unwrap_or_default();
        let group = machine.group_name(found.gid).unwrap_or_default();
        facts.insert("gr_name".into(), group.into());
        facts.insert("pw_name".into(), owner.into());
        if self.args.get_checksum && found.is_file() {
            let checksum = machine.digest(&path, algorithm(&self.args.checksum_algorithm)?)?;
            facts.insert("checksum".into(), checksum.into());
        }
        self.found.push(facts.into());
        Ok(())
    }

    fn skip_directory(&mut self, path: &Path, error: MachineError) -> Result<(), Failure> {
        let errno = error.errno();
        // EPERM, ENOENT and EACCES.
        if !matches!(errno, Some(1 | 2 | 13)) {
            return Err(error.into());
        }
        let path = path.display().to_string();
        self.skipped.insert(path.into(), os_error(&error).into());
        Ok(())
    }

    fn skip_path(&mut self, path: &Path, why: String) {
        let path = path.display().to_string();
        self.warnings.push(format!(
            "Skipped '{path}' path due to this access issue: {why}\n"
        ));
        self.skipped.insert(path.into(), why.into());
    }

    fn into_outcome(self) -> Outcome {
        let msg = if !self.warnings.is_empty() {
            "Not all paths examined, check warnings for details"
        } else if self.is_full() {
            "Limit of matches reached"
        } else {
            "All paths examined"
        };
        let matched = self.found.len();
        let mut outcome = Outcome::unchanged()
            .with("files", Value::from(self.found))
            .msg(msg)
            .with("matched", matched)
            .with("examined", self.examined)
            .with("skipped_paths", Value::from(self.skipped));
        outcome.warnings = self.warnings;
        outcome
    }
}

fn leads_to_directory(machine: &Machine, directory: &Path, entry: &DirEntry) -> bool {
    match entry.metadata.kind {
        FileKind::Directory => true,
        FileKind::Link => machine
            .is_dir(&directory.join(&entry.name))
            .unwrap_or(false),
        _ => false,
    }
}

/// The conditions of one task, read once.
struct Conditions {
    file_type: String,
    patterns: Vec<Name>,
    excludes: Vec<Name>,
    contains: Option<Contains>,
    age: Option<i64>,
    age_stamp: String,
    now: Timestamp,
    size: Option<i64>,
    mode: Option<u32>,
    exact_mode: bool,
}

enum Name {
    Shell(NamePattern),
    Regex(Pattern),
}

struct Contains {
    text: Pattern,
    bytes: Pattern,
    /// The one that the task names: a file in another ends the search of its path.
    encoding: Option<String>,
    whole: bool,
}

impl Conditions {
    fn new(args: &FindArgs) -> Result<Self, Failure> {
        if let Some(limit) = args.limit.filter(|limit| *limit <= 0) {
            return Err(Failure::new(format!(
                "limit cannot be {limit} (use None for unlimited)"
            )));
        }
        let names = |patterns: &[String]| {
            let names = patterns
                .iter()
                .map(|pattern| Name::new(pattern, args.use_regex));
            names.collect::<Result<Vec<_>, _>>().map_err(bad_pattern)
        };
        let age =
            match &args.age {
                Some(age) => Some(number_with_unit(age, &AGE_UNITS).ok_or_else(|| {
                    Failure::new("failed to process age").with("age", age.as_str())
                })?),
                None => None,
            };
        let size = match &args.size {
            Some(size) => Some(number_with_unit(size, &SIZE_UNITS).ok_or_else(|| {
                Failure::new("failed to process size").with("size", size.as_str())
            })?),
            None => None,
        };
        Ok(Self {
            file_type: args.file_type.clone(),
            patterns: names(&args.patterns)?,
            excludes: names(&args.excludes)?,
            contains: Contains::new(args).map_err(bad_pattern)?,
            age,
            age_stamp: args.age_stamp.clone(),
            now: Timestamp::now(),
            size,
            mode: args.mode.as_ref().map(wanted_mode).transpose()?,
            exact_mode: args.exact_mode,
        })
    }

    /// Tells whether name, type, age, size and mode are right.
    fn hold(&self, name: &OsStr, found: &Metadata) -> bool {
        let right_type = match self.file_type.as_str() {
            "file" => found.is_file(),
            "directory" => found.is_dir(),
            "link" => found.is_link(),
            _ => true,
        };
        let is_wanted = self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(name));
        right_type
            && is_wanted
            && !self.excludes.iter().any(|pattern| pattern.matches(name))
            && self.age_holds(found)
            && self.size_holds(found)
            && self.mode_holds(found)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "ages are far below 2^52 seconds"
    )]
    fn age_holds(&self, found: &Metadata) -> bool {
        let stamp = match self.age_stamp.as_str() {
            "atime" => found.atime,
            "ctime" => found.ctime,
            _ => found.mtime,
        };
        let old = self.now.as_seconds() - stamp.as_seconds();
        match self.age {
            None => true,
            Some(age) if age >= 0 => old >= age as f64,
            Some(age) => old <= age.unsigned_abs() as f64,
        }
    }

    fn size_holds(&self, found: &Metadata) -> bool {
        match self.size {
            Some(size) if found.is_file() && size >= 0 => found.size >= size.unsigned_abs(),
            Some(size) if found.is_file() => found.size <= size.unsigned_abs(),
            _ => true,
        }
    }

    fn mode_holds(&self, found: &Metadata) -> bool {
        match self.mode {
            None => true,
            Some(mode) if self.exact_mode => found.mode == mode,
            Some(mode) => found.mode & mode != 0,
        }
    }

    /// Tells whether the content is right; only `file_type: file` looks at it.
    fn content_holds(
        &self,
        machine: &mut Machine,
        path: &Path,
        found: &Metadata,
    ) -> Result<bool, Failure> {
        match &self.contains {
            Some(contains) if found.is_file() && self.file_type == "file" => {
                match machine.read(path) {
                    Ok(bytes) => contains.matches(&bytes, path),
                    Err(_) => Ok(false),
                }
            }
            _ => Ok(true),
        }
    }
}

impl Name {
    fn new(pattern: &str, use_regex: bool) -> Result<Self, PatternError> {
        Ok(if use_regex {
            Self::Regex(Pattern::text(pattern, Flags::default())?)
        } else {
            Self::Shell(NamePattern::new(pattern))
        })
    }

    fn matches(&self, name: &OsStr) -> bool {
        match self {
            Self::Shell(pattern) => pattern.matches(name),
            Self::Regex(pattern) => {
                matches!(pattern.match_start(&*name.to_string_lossy()), Ok(Some(_)))
            }
        }
    }
}

impl Contains {
    fn new(args: &FindArgs) -> Result<Option<Self>, PatternError> {
        let Some(pattern) = &args.contains else {
            return Ok(None);
        };
        Ok(Some(Self {
            text: Pattern::text(pattern, Flags::default())?,
            bytes: Pattern::bytes(pattern, Flags::default())?,
            encoding: args.encoding.clone(),
            whole: args.read_whole_file,
        }))
    }

    fn matches(&self, bytes: &[u8], path: &Path) -> Result<bool, Failure> {
        let recoded = match &self.encoding {
            Some(encoding) => {
                let text = encoding::decode_strictly(bytes, encoding)?;
                Some(text.ok_or_else(|| not_in(encoding, path))?)
            }
            None => None,
        };
        let mut lines = split_any_lines(recoded.as_ref().map_or(bytes, String::as_bytes));
        for line in &mut lines {
            end_with_newline(line);
        }
        if self.whole {
            lines = vec![lines.concat()];
        }
        for line in &lines {
            let found = match encoding::decode(line, "utf-8")? {
                Decoded::Text(text) if self.whole => self.text.search(text.as_str()),
                Decoded::Text(text) => self.text.match_start(text.as_str()),
                Decoded::Bytes(bytes) if self.whole => self.bytes.search(bytes.as_slice()),
                Decoded::Bytes(bytes) => self.bytes.match_start(bytes.as_slice()),
            };
            if found.map_err(bad_pattern)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn not_in(encoding: &str, path: &Path) -> Failure {
    Failure::new(format!(
        "Failed to read the file {} due to an encoding error. current encoding: {encoding}",
        path.display()
    ))
}

/// Makes any line end a newline, as Python's text mode does.
fn end_with_newline(line: &mut Vec<u8>) {
    if line.ends_with(b"\r\n") || line.ends_with(b"\r") {
        while line.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
        line.push(b'\n');
    }
}

const AGE_UNITS: [(&str, i64); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 3600),
    ("d", 86_400),
    ("w", 604_800),
];
const SIZE_UNITS: [(&str, i64); 5] = [
    ("b", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

/// Reads `-2d` with the unit's factor applied.
fn number_with_unit(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.to_lowercase();
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((&text, 1));
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

fn wanted_mode(mode: &Value) -> Result<u32, Failure> {
    let Some(text) = mode.as_str() else {
        return Err(Failure::new(format!(
            "argument 'mode' is not a string and conversion is not allowed, value is of type {}",
            mode.python_type()
        )));
    };
    match u32::from_str_radix(text, 8) {
        Ok(mode) => Ok(mode & 0o7777),
        Err(_) => {
            crate::machine::symbolic_mode(text, 0, FileKind::File, 0o022).map_err(Failure::new)
        }
    }
}

fn bad_pattern(error: PatternError) -> Failure {
    Failure::new(format!("Invalid regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;
    use super::*;

    fn target() -> Target {
        Target::new()
            .file("a.log", "one\ntwo\n")
            .file("b.txt", "three")
            .file(".hidden", "")
            .file("d/c.log", "")
            .file("d/e/f.log", "")
            .link("l", "d")
    }

    /// Returns the found paths relative to the root.
    fn found(options: &str) -> Vec<String> {
        let target = target();
        let result = target.result("find", &format!(r#"{{"paths": "$ROOT", {options}}}"#));
        let root = format!("{}/", target.path("").display()).replace("//", "/");
        let files = result.get("files").unwrap().as_list().unwrap();
        files
            .iter()
            .map(|file| file.get("path").unwrap().to_string().replace(&root, ""))
            .collect()
    }

    #[test]
    fn names_types_and_depth_select() {
        assert_eq!(found(r#""patterns": "*.log""#), ["a.log"]);
        assert_eq!(
            found(r#""recurse": true, "patterns": "*.log""#),
            ["a.log", "d/c.log", "d/e/f.log"]
        );
        assert_eq!(
            found(r#""recurse": true, "depth": 2"#),
            ["a.log", "b.txt", "d/c.log"]
        );
        assert_eq!(found(r#""hidden": true"#), [".hidden", "a.log", "b.txt"]);
        assert_eq!(found(r#""file_type": "directory""#), ["d"]);
        assert_eq!(found(r#""file_type": "link""#), ["l"]);
        assert_eq!(found(r#""file_type": "any""#), ["a.log", "b.txt", "d", "l"]);
        assert_eq!(found(r#""excludes": "b*""#), ["a.log"]);
        let regex = r#""use_regex": true, "patterns": ["^[ab]\\."], "excludes": [".*txt$"]"#;
        assert_eq!(found(regex), ["a.log"]);
        assert_eq!(found(r#""recurse": true, "limit": 2"#), ["a.log", "b.txt"]);
    }

    #[test]
    fn links_are_gone_through_on_request() {
        let options = r#""recurse": true, "follow": true, "patterns": "c.log""#;
        assert_eq!(found(options), ["d/c.log", "l/c.log"]);
    }

    #[test]
    fn content_size_age_and_mode_select() {
        assert_eq!(found(r#""contains": "tw""#), ["a.log"]);
        assert_eq!(found(r#""contains": "wo""#), Vec::<String>::new());
        assert_eq!(
            found(r#""contains": "e\ntwo$", "read_whole_file": true"#),
            ["a.log"]
        );
        assert_eq!(found(r#""size": "6""#), ["a.log"]);
        assert_eq!(found(r#""size": "-5b""#), ["b.txt"]);
        assert_eq!(found(r#""age": "1d""#), Vec::<String>::new());
        assert_eq!(found(r#""age": "-1d", "patterns": "a*""#), ["a.log"]);
        assert_eq!(found(r#""mode": "0644", "patterns": "a*""#), ["a.log"]);
        assert_eq!(
            found(r#""mode": "u=r", "exact_mode": false, "patterns": "a*""#),
            ["a.log"]
        );
        assert_eq!(found(r#""mode": "0600""#), Vec::<String>::new());
    }

    #[test]
    fn a_path_that_is_no_directory_is_skipped_with_a_warning() {
        assert_eq!(
            Target::new().run("find", r#"{"paths": "$ROOT/no"}"#),
            r#"{"changed":false,"files":[],"msg":"Not all paths examined, check warnings for details","matched":0,"examined":0,"skipped_paths":{"$ROOT/no":"'$ROOT/no' is not a directory"},"warnings":["Skipped '$ROOT/no' path due to this access issue: '$ROOT/no' is not a directory\n"]}"#
        );
    }

    #[test]
    fn wrong_numbers_are_named() {
        assert_eq!(
            Target::new().run("find", r#"{"paths": "$ROOT", "age": "2x"}"#),
            r#"{"failed":true,"changed":false,"msg":"failed to process age","age":"2x"}"#
        );
        assert_eq!(number_with_unit("-2W", &AGE_UNITS), Some(-1_209_600));
        assert_eq!(number_with_unit("+2", &AGE_UNITS), None);
    }
}
