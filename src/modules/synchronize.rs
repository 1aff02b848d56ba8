//! `synchronize`: a directory of the controller, or of the target itself, made to be on the
//! target too.
//!
//! No rsync is needed on either side: the controller's half lists what there is by digest, and
//! what is missing is asked for. Lines of the result are those of rsync's `--out-format='%i %n%L'`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::machine::{
    Algorithm, Attributes, Content, ContentId, FileKind, Follow, Machine, Metadata, NewFile,
    Timestamp, symbolic_mode,
};
use crate::pyregex::{Flags, Pattern};
use crate::value::{Map, Value};

use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// A wrapper around rsync to make common tasks in your playbooks quick and easy.
    pub(crate) struct SynchronizeArgs for "ansible.posix.synchronize" {
        /// The source; with a slash at its end what is in it.
        src: String { required },
        dest: String { required },
        /// Means nothing: there is no other connection.
        dest_port: Option<i64> {},
        /// Delete what the source does not have.
        delete: bool { default: "false" },
        /// Means nothing: there is no other connection.
        private_key: Option<String> {},
        /// Means nothing: there is no rsync.
        rsync_path: Option<String> {},
        /// Directories with all in them, links, permissions, times, owners and groups.
        archive: bool { default: "true" },
        /// Compare contents rather than sizes and times.
        checksum: bool { default: "false" },
        /// Means nothing: what is sent is compressed or not as the connection is.
        compress: bool { default: "true" },
        /// Make nothing that is not there.
        existing_only: bool { default: "false" },
        /// Directories without what is in them.
        dirs: bool { default: "false" },
        recursive: Option<bool> {},
        links: Option<bool> {},
        /// Copy what links lead to.
        copy_links: bool { default: "false" },
        perms: Option<bool> {},
        times: Option<bool> {},
        owner: Option<bool> {},
        group: Option<bool> {},
        /// Means nothing: there is no other connection.
        set_remote_user: bool { default: "true" },
        /// Means nothing: the connection has its own limits.
        rsync_timeout: i64 { default: "0" },
        /// Options of rsync: include, exclude, chmod, chown, and what turns others off.
        rsync_opts: Vec<String> { default: "" },
        /// Means nothing: there is no other connection.
        use_ssh_args: bool { default: "false" },
        /// Means nothing: there is no other connection.
        ssh_connection_multiplexing: bool { default: "false" },
        /// Means nothing: files are whole or not there.
        partial: bool { default: "false" },
        /// Means nothing: there is no other connection.
        verify_host: bool { default: "false" },
        /// Means nothing: each file is put in its place whole.
        delay_updates: bool { default: "true" },
        /// To the target; the other way is not known here.
        mode: String { default: "push", choices: ["push"] },
        /// What the controller has, each with `path`, `kind` and attributes.
        _tree: Option<Vec<Value>> { internal },
    }
}

/// Brings the destination in line.
pub(crate) fn run(machine: &mut Machine, args: SynchronizeArgs) -> ModuleResult {
    let wishes = Wishes::new(&args)?;
    let slash = |path: &str| path.ends_with('/');
    let mut dest = machine.expand(Path::new(&args.dest));
    let entries = match &args._tree {
        Some(tree) => tree.iter().map(Entry::read).collect::<Result<_, _>>()?,
        None => {
            let src = machine.expand(Path::new(&args.src));
            walk_target(machine, &src, slash(&args.src), &wishes)?
        }
    };
    let is_one_file = matches!(entries.as_slice(), [only] if only.kind != FileKind::Directory);
    if is_one_file && !slash(&args.dest) && !machine.is_dir(&dest)? {
        // A file that gets a new name.
        let name = dest.file_name().map(PathBuf::from).unwrap_or_default();
        let parent = dest.parent().map(Path::to_owned).unwrap_or_default();
        let renamed = Entry {
            path: name,
            ..entries[0].clone()
        };
        dest = parent;
        return finish(machine, &args, &wishes, &dest, &[renamed]);
    }
    finish(machine, &args, &wishes, &dest, &entries)
}

fn finish(
    machine: &mut Machine,
    args: &SynchronizeArgs,
    wishes: &Wishes,
    dest: &Path,
    entries: &[Entry],
) -> ModuleResult {
    let mut work = Work {
        machine,
        wishes,
        dest,
        lines: Vec::new(),
        directories: Vec::new(),
    };
    work.place(entries)?;
    if args.delete {
        work.delete(entries)?;
    }
    work.settle_directories()?;
    let text = work
        .lines
        .iter()
        .fold(String::new(), |text, line| text + line + "\n");
    let outcome = Outcome::unchanged()
        .with_changed(!work.lines.is_empty())
        .msg(text.as_str())
        .with("rc", 0)
        .with("cmd", format!("synchronize {} {}", args.src, args.dest))
        .with("stdout_lines", Value::list(work.lines));
    Ok(if machine.wants_diff() {
        outcome.only_diff(Diff::default().with("prepared", text))
    } else {
        outcome
    })
}

/// What all the options together ask for.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) recursive: bool,
    pub(crate) links: bool,
    pub(crate) copy_links: bool,
    perms: bool,
    times: bool,
    owner: bool,
    group: bool,
    checksum: bool,
    existing_only: bool,
    pub(crate) dirs: bool,
    chmod: Vec<String>,
    chown: Option<(Option<String>, Option<String>)>,
    pub(crate) filter: Filter,
}

/// Options of rsync that change nothing about the result here.
const WITHOUT_EFFECT: [&str; 16] = [
    "-z",
    "--compress",
    "-v",
    "--verbose",
    "-h",
    "--human-readable",
    "--progress",
    "--stats",
    "--no-motd",
    "-P",
    "--partial",
    "-q",
    "--quiet",
    "-W",
    "--whole-file",
    "--delay-updates",
];

impl Wishes {
    pub(crate) fn new(args: &SynchronizeArgs) -> Result<Self, Failure> {
        let of = |option: Option<bool>| option.unwrap_or(args.archive);
        let mut wishes = Self {
            recursive: of(args.recursive),
            links: of(args.links),
            copy_links: args.copy_links,
            perms: of(args.perms),
            times: of(args.times),
            owner: of(args.owner),
            group: of(args.group),
            checksum: args.checksum,
            existing_only: args.existing_only,
            dirs: args.dirs,
            chmod: Vec::new(),
            chown: None,
            filter: Filter(Vec::new()),
        };
        let mut words = args
            .rsync_opts
            .iter()
            .flat_map(|option| match option.split_once(' ') {
                Some((name, value)) if name.starts_with('-') && !name.contains('=') => {
                    vec![name.to_owned(), value.trim().to_owned()]
                }
                _ => vec![option.clone()],
            });
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            let mut value = || {
                value
                    .clone()
                    .or_else(|| words.next())
                    .ok_or_else(|| Failure::new(format!("{name} of rsync_opts needs a value")))
            };
            match name.as_str() {
                "--exclude" => {
                    let pattern = unquoted(&value()?);
                    wishes.filter.0.push(Rule::new(false, &pattern)?);
                }
                "--include" => {
                    let pattern = unquoted(&value()?);
                    wishes.filter.0.push(Rule::new(true, &pattern)?);
                }
                "--chmod" => wishes.chmod.extend(value()?.split(',').map(str::to_owned)),
                "--chown" => {
                    let value = value()?;
                    let (user, group) = value.split_once(':').unwrap_or((&value, ""));
                    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                    wishes.chown = Some((some(user), some(group)));
                }
                "--no-perms" | "--no-p" => wishes.perms = false,
                "--no-times" | "--no-t" => wishes.times = false,
                "--no-owner" | "--no-o" => wishes.owner = false,
                "--no-group" | "--no-g" => wishes.group = false,
                "--perms" | "-p" => wishes.perms = true,
                "--times" | "-t" => wishes.times = true,
                "--owner" | "-o" => wishes.owner = true,
                "--group" | "-g" => wishes.group = true,
                "--links" | "-l" => wishes.links = true,
                "--copy-links" | "-L" => wishes.copy_links = true,
                "--checksum" | "-c" => wishes.checksum = true,
                "--recursive" | "-r" => wishes.recursive = true,
                other if WITHOUT_EFFECT.contains(&other) => {}
                other => {
                    return Err(Failure::new(format!(
                        "synchronize works without rsync and does not know its option `{other}`"
                    )));
                }
            }
        }
        Ok(wishes)
    }

    fn mode(&self, entry: &Entry, found: Option<&Metadata>, umask: u32) -> Result<u32, Failure> {
        let is_directory = entry.kind == FileKind::Directory;
        let mut mode = match found {
            _ if self.perms => entry.mode,
            Some(found) => found.mode,
            None => entry.mode & !umask & 0o777,
        };
        for clause in &self.chmod {
            let (applies, clause) = match clause.split_at_checked(1) {
                Some(("D", rest)) => (is_directory, rest),
                Some(("F", rest)) => (!is_directory, rest),
                _ => (true, clause.as_str()),
            };
            if !applies {
                continue;
            }
            mode = match u32::from_str_radix(clause, 8) {
                Ok(bits) => bits,
                Err(_) => symbolic_mode(clause, mode, entry.kind, umask).map_err(Failure::new)?,
            };
        }
        Ok(mode & 0o7777)
    }
}

fn unquoted(text: &str) -> String {
    text.trim_matches(['\'', '"']).to_owned()
}

/// Which paths take part: the first rule that matches decides.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    includes: bool,
    pattern: Pattern,
    /// The pattern is about the path, not the name.
    of_path: bool,
    directories_only: bool,
}

impl Rule {
    fn new(includes: bool, text: &str) -> Result<Self, Failure> {
        let directories_only = text.ends_with('/');
        let body = text.trim_end_matches('/');
        let anchored = body.starts_with('/');
        let body = body.trim_start_matches('/');
        let of_path = anchored || body.contains('/') || body.contains("**");
        let mut regex = String::from(if anchored || !of_path {
            r"\A"
        } else {
            r"(?:\A|.*/)"
        });
        let mut letters = body.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '*' if letters.peek() == Some(&'*') => {
                    letters.next();
                    regex.push_str(".*");
                }
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                '[' | ']' => regex.push(letter),
                letter if letter.is_alphanumeric() || letter == '_' || letter == '/' => {
                    regex.push(letter);
                }
                letter => {
                    regex.push('\\');
                    regex.push(letter);
                }
            }
        }
        regex.push_str(r"\Z");
        let flags = Flags {
            dot_all: true,
            ..Flags::default()
        };
        let pattern = Pattern::text(&regex, flags)
            .map_err(|error| Failure::new(format!("the pattern `{text}` is not valid: {error}")))?;
        Ok(Self {
            includes,
            pattern,
            of_path,
            directories_only,
        })
    }
}

impl Filter {
    /// Tells whether a path, relative to the transfer's root, is left out.
    pub(crate) fn excludes(&self, path: &Path, is_directory: bool) -> bool {
        let whole = path.to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let rule = self.0.iter().find(|rule| {
            let subject = if rule.of_path { &whole } else { &name };
            (is_directory || !rule.directories_only)
                && matches!(rule.pattern.search(&**subject), Ok(Some(_)))
        });
        rule.is_some_and(|rule| !rule.includes)
    }
}

/// One file of the source; the path is below the destination, and empty for the source itself.
#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    kind: FileKind,
    mode: u32,
    mtime: Timestamp,
    size: u64,
    content: Content,
    link: PathBuf,
    uid: u32,
    gid: u32,
    user: Option<String>,
    group: Option<String>,
}

impl Entry {
    fn read(value: &Value) -> Result<Self, Failure> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| {
            let number = value.get(name).and_then(Value::as_int).unwrap_or(0);
            i64::try_from(number).unwrap_or(0)
        };
        let path = PathBuf::from(text("path"));
        let leaves = path
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)));
        if leaves {
            return Err(Failure::new(format!(
                "`{}` leaves the destination",
                path.display()
            )));
        }
        let small = |name: &str| u32::try_from(number(name)).unwrap_or(0);
        let size = u64::try_from(number("size")).unwrap_or(0);
        let some = |name: &str| Some(text(name).to_owned()).filter(|text| !text.is_empty());
        Ok(Self {
            path,
            kind: match text("kind") {
                "directory" => FileKind::Directory,
                "link" => FileKind::Link,
                _ => FileKind::File,
            },
            mode: small("mode"),
            mtime: Timestamp {
                seconds: number("mtime"),
                nanoseconds: small("mtime_nanoseconds"),
            },
            size,
            content: Content::Remote(ContentId {
                sha256: text("sha256").to_owned(),
                size,
            }),
            link: PathBuf::from(text("link")),
            uid: small("uid"),
            gid: small("gid"),
            user: some("user"),
            group: some("group"),
        })
    }
}

/// Lists a source that is on the target itself.
fn walk_target(
    machine: &mut Machine,
    src: &Path,
    contents_only: bool,
    wishes: &Wishes,
) -> Result<Vec<Entry>, Failure> {
    let top = match src.file_name() {
        Some(name) if !contents_only => PathBuf::from(name),
        _ => PathBuf::new(),
    };
    let mut found = Vec::new();
    let mut waiting = vec![(src.to_owned(), top)];
    while let Some((path, relative)) = waiting.pop() {
        machine.check_cancelled()?;
        let is_top = found.is_empty();
        let metadata = if wishes.copy_links || (is_top && contents_only) {
            machine.metadata(&path)?
        } else {
            machine.symlink_metadata(&path)?
        };
        let Some(about) = metadata else {
            return Err(Failure::new(format!(
                "rsync: link_stat \"{}\" failed: No such file or directory (2)",
                path.display()
            ))
            .with("rc", 23));
        };
        if !is_top && wishes.filter.excludes(&relative, about.is_dir()) {
            continue;
        }
        if about.is_link() && !wishes.links {
            continue;
        }
        if about.is_dir() {
            if !wishes.recursive && !wishes.dirs {
                continue;
            }
            if wishes.recursive || (is_top && contents_only) {
                let mut inside = machine.read_dir(&path)?;
                inside.reverse();
                waiting.extend(
                    inside
                        .iter()
                        .map(|entry| (path.join(&entry.name), relative.join(&entry.name))),
                );
            }
        }
        found.push(Entry {
            path: relative,
            kind: about.kind,
            mode: about.mode,
            mtime: about.mtime,
            size: about.size,
            link: if about.is_link() {
                machine.read_link(&path)?
            } else {
                PathBuf::new()
            },
            content: Content::File(path),
            uid: about.uid,
            gid: about.gid,
            user: None,
            group: None,
        });
    }
    Ok(found)
}

struct Work<'a> {
    machine: &'a mut Machine,
    wishes: &'a Wishes,
    dest: &'a Path,
    /// What was done, as rsync says it.
    lines: Vec<String>,
    /// Directories whose times are set when all is in them.
    directories: Vec<(PathBuf, Timestamp)>,
}

impl Work<'_> {
    fn place(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        if !self.machine.exists(self.dest)? && !entries.is_empty() {
            self.machine
                .create_dir_all(self.dest, 0o777 & !self.machine.umask())?;
        }
        for entry in entries {
            self.machine.check_cancelled()?;
            match entry.kind {
                FileKind::Directory => self.directory(entry)?,
                FileKind::Link => self.link(entry)?,
                FileKind::File => self.file(entry)?,
                // Devices, sockets and pipes are not what a deploy brings.
                _ => {}
            }
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> Result<(), Failure> {
        let path = self.dest.join(&entry.path);
        let found = self.machine.metadata(&path)?.filter(Metadata::is_dir);
        let name = if entry.path.as_os_str().is_empty() {
            "./".to_owned()
        } else {
            format!("{}/", entry.path.display())
        };
        let Some(found) = found else {
            if self.wishes.existing_only {
                return Ok(());
            }
            let mode = self.wishes.mode(entry, None, self.machine.umask())?;
            if self.machine.symlink_metadata(&path)?.is_some() {
                self.machine.remove(&path)?;
            }
            self.machine.create_dir(&path, mode)?;
            let attributes = self.ownership(entry, None);
            self.machine
                .set_attributes(&path, &attributes, Follow::No)?;
            self.lines.push(format!("cd+++++++++ {name}"));
            self.note_times(path, entry);
            return Ok(());
        };
        let (attributes, letters) = self.differences(entry, &found)?;
        let late = self.wishes.times && found.mtime.seconds != entry.mtime.seconds;
        if late || letters.iter().any(|letter| *letter != '.') {
            let time = if late { 't' } else { '.' };
            let [p, o, g] = letters;
            self.lines.push(format!(".d..{time}{p}{o}{g}... {name}"));
        }
        self.machine
            .set_attributes(&path, &attributes, Follow::No)?;
        self.note_times(path, entry);
        Ok(())
    }

    fn note_times(&mut self, path: PathBuf, entry: &Entry) {
        if self.wishes.times {
            self.directories.push((path, entry.mtime));
        }
    }

    fn settle_directories(&mut self) -> Result<(), Failure> {
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let found = self.machine.metadata(&path)?;
            if found.is_some_and(|found| found.mtime.seconds != mtime.seconds) {
                let attributes = Attributes {
                    times: Some([mtime; 2]),
                    ..Attributes::default()
                };
                self.machine
                    .set_attributes(&path, &attributes, Follow::No)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, entry: &Entry) -> Result<(), Failure> {
        let path = self.dest.join(&entry.path);
        let found = self.machine.symlink_metadata(&path)?;
        let shown = format!("{} -> {}", entry.path.display(), entry.link.display());
        match &found {
            Some(found) if found.is_link() && self.machine.read_link(&path)? == entry.link => {
                return Ok(());
            }
            None if self.wishes.existing_only => return Ok(()),
            Some(_) => {
                self.machine.remove(&path)?;
                self.lines.push(format!("cLc........ {shown}"));
            }
            None => self.lines.push(format!("cL+++++++++ {shown}")),
        }
        self.machine.symlink(&entry.link, &path)?;
        let attributes = self.ownership(entry, None);
        self.machine
            .set_attributes(&path, &attributes, Follow::No)?;
        Ok(())
    }

    fn file(&mut self, entry: &Entry) -> Result<(), Failure> {
        let path = self.dest.join(&entry.path);
        let name = entry.path.display().to_string();
        let found = self.machine.symlink_metadata(&path)?;
        let Some(found) = found.filter(Metadata::is_file) else {
            if self.wishes.existing_only {
                return Ok(());
            }
            if self.machine.symlink_metadata(&path)?.is_some() {
                self.machine.remove(&path)?;
            }
            self.lines.push(format!("<f+++++++++ {name}"));
            return self.write(entry, &path, None);
        };
        let (attributes, [p, o, g]) = self.differences(entry, &found)?;
        let same_size = found.size == entry.size;
        let same_time = found.mtime.seconds == entry.mtime.seconds;
        let same = same_size && same_time && !self.wishes.checksum
            || same_size && self.holds(entry, &path)?;
        let time = match (self.wishes.times, same_time) {
            (true, false) => 't',
            (false, false) if !same => 'T',
            _ => '.',
        };
        let content = if self.wishes.checksum && !same {
            'c'
        } else {
            '.'
        };
        let size = if same_size { '.' } else { 's' };
        if same && [time, p, o, g] == ['.'; 4] {
            return Ok(());
        }
        let sign = if same { '.' } else { '<' };
        self.lines
            .push(format!("{sign}f{content}{size}{time}{p}{o}{g}... {name}"));
        if !same {
            return self.write(entry, &path, Some(&found));
        }
        let attributes = Attributes {
            times: (time == 't').then_some([entry.mtime; 2]),
            ..attributes
        };
        self.machine
            .set_attributes(&path, &attributes, Follow::No)?;
        Ok(())
    }

    /// Tells whether a file has the entry's bytes.
    fn holds(&mut self, entry: &Entry, path: &Path) -> Result<bool, Failure> {
        let wanted = self
            .machine
            .content_digest(&entry.content, Algorithm::Sha256)?;
        Ok(self.machine.digest(path, Algorithm::Sha256)? == wanted)
    }

    fn write(
        &mut self,
        entry: &Entry,
        path: &Path,
        found: Option<&Metadata>,
    ) -> Result<(), Failure> {
        let ownership = self.ownership(entry, found);
        let new = NewFile {
            mode: Some(self.wishes.mode(entry, found, self.machine.umask())?),
            uid: ownership.uid,
            gid: ownership.gid,
            times: self.wishes.times.then_some([entry.mtime; 2]),
            ..NewFile::default()
        };
        Ok(self.machine.write(path, entry.content.clone(), &new)?)
    }

    /// Returns what is to be set, and the letters of mode, owner and group.
    fn differences(
        &mut self,
        entry: &Entry,
        found: &Metadata,
    ) -> Result<(Attributes, [char; 3]), Failure> {
        let mode = self.wishes.mode(entry, Some(found), self.machine.umask())?;
        let mut attributes = self.ownership(entry, Some(found));
        attributes.mode = (mode != found.mode & 0o7777).then_some(mode);
        let letter = |differs: bool, letter: char| if differs { letter } else { '.' };
        let letters = [
            letter(attributes.mode.is_some(), 'p'),
            letter(attributes.uid.is_some(), 'o'),
            letter(attributes.gid.is_some(), 'g'),
        ];
        Ok((attributes, letters))
    }

    /// Returns the owner and group to set, by name where the target has it; only root may.
    fn ownership(&mut self, entry: &Entry, found: Option<&Metadata>) -> Attributes {
        let is_root = rustix::process::geteuid().is_root();
        let (given_user, given_group) = self.wishes.chown.clone().unwrap_or_default();
        let machine = &mut *self.machine;
        let mut user = |name: &Option<String>| name.as_deref().and_then(|it| machine.user_id(it));
        let uid = match &given_user {
            Some(_) => user(&given_user),
            None if self.wishes.owner && is_root => Some(user(&entry.user).unwrap_or(entry.uid)),
            None => None,
        };
        let machine = &mut *self.machine;
        let mut group = |name: &Option<String>| name.as_deref().and_then(|it| machine.group_id(it));
        let gid = match &given_group {
            Some(_) => group(&given_group),
            None if self.wishes.group && is_root => Some(group(&entry.group).unwrap_or(entry.gid)),
            None => None,
        };
        Attributes {
            uid: uid.filter(|uid| found.is_none_or(|found| found.uid != *uid)),
            gid: gid.filter(|gid| found.is_none_or(|found| found.gid != *gid)),
            ..Attributes::default()
        }
    }

    /// Deletes what the source's directories do not have; what is excluded stays.
    fn delete(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let wanted: BTreeSet<_> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let directories = entries
            .iter()
            .filter(|entry| entry.kind == FileKind::Directory);
        for entry in directories {
            let directory = self.dest.join(&entry.path);
            if !self.machine.is_dir(&directory)? {
                continue;
            }
            for there in self.machine.read_dir(&directory)? {
                let relative = entry.path.join(&there.name);
                let path = directory.join(&there.name);
                let is_directory = self
                    .machine
                    .symlink_metadata(&path)?
                    .is_some_and(|found| found.is_dir());
                if wanted.contains(relative.as_path())
                    || self.wishes.filter.excludes(&relative, is_directory)
                {
                    continue;
                }
                self.machine.remove(&path)?;
                let slash = if is_directory { "/" } else { "" };
                let shown = relative.display();
                self.lines.push(format!("*deleting   {shown}{slash}"));
            }
        }
        Ok(())
    }
}

/// Returns the options without what only the controller's half reads.
pub(crate) fn with_tree(args: &Map, tree: Vec<Value>) -> Map {
    let mut args = args.clone();
    args.insert("_tree".into(), Value::list(tree));
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Target;

    const NAME: &str = "ansible.posix.synchronize";

    fn lines(target: &Target, options: &str) -> Vec<String> {
        let result = target.result(NAME, &format!("{{{options}}}"));
        let msg = result.get("msg").unwrap().to_string();
        msg.lines().map(str::to_owned).collect()
    }

    fn source() -> Target {
        Target::new()
            .file("s/a", "one")
            .file("s/d/b", "two")
            .file("s/.git/x", "no")
            .link("s/l", "a")
    }

    #[test]
    fn a_tree_is_made_once_and_then_only_what_differs() {
        let target = source();
        let options = r#""src": "$ROOT/s", "dest": "$ROOT/t", "rsync_opts": ["--exclude=.git"]"#;
        assert_eq!(
            lines(&target, options),
            [
                "cd+++++++++ s/",
                "<f+++++++++ s/a",
                "cd+++++++++ s/d/",
                "<f+++++++++ s/d/b",
                "cL+++++++++ s/l -> a",
            ]
        );
        assert_eq!(target.read("t/s/d/b"), "two");
        assert_eq!(lines(&target, options), Vec::<String>::new());
        let target = target.file("t/s/a", "longer");
        let told = lines(&target, options);
        assert!(told.last().unwrap().ends_with(" s/a"), "{told:?}");
        assert_eq!(target.read("t/s/a"), "one");
    }

    #[test]
    fn deleting_spares_what_is_excluded() {
        let target = source().file("t/old/x", "1").file("t/keep.log", "2");
        let options = r#""src": "$ROOT/s/", "dest": "$ROOT/t", "delete": true, "times": false, "rsync_opts": ["--exclude", "*.log", "--exclude=/.git/"]"#;
        let told = lines(&target, options);
        assert!(told.contains(&"*deleting   old/".to_owned()), "{told:?}");
        assert!(target.path("t/keep.log").exists());
        assert!(!target.path("t/.git").exists());
        assert_eq!(lines(&target, options), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_archived_keeps_its_own_attributes() {
        let target = source();
        let options = r#""src": "$ROOT/s/a", "dest": "$ROOT/new", "archive": false, "rsync_opts": ["--chmod=F0600"]"#;
        assert_eq!(lines(&target, options), ["<f+++++++++ new"]);
        let stat = target.result("stat", r#"{"path": "$ROOT/new"}"#);
        assert_eq!(
            stat.get("stat").unwrap().get("mode").unwrap().to_string(),
            "0600"
        );
        let existing = r#""src": "$ROOT/s/", "dest": "$ROOT/e", "existing_only": true"#;
        assert!(lines(&target, existing).len() <= 1);
    }

    #[test]
    fn patterns_are_rsyncs() {
        let filter = |rules: &[&str]| {
            let args = Value::map([
                ("src", Value::from("/a")),
                ("dest", "/b".into()),
                ("rsync_opts", Value::list(rules.iter().copied())),
            ]);
            let args = SynchronizeArgs::parse(args.as_map().unwrap()).unwrap();
            Wishes::new(&args).unwrap().filter
        };
        for (rules, path, is_directory, is_out) in [
            (&["--exclude=*.pyc"][..], "a/b.pyc", false, true),
            (&["--exclude=/b.pyc"], "a/b.pyc", false, false),
            (&["--exclude=a/b"], "x/a/b", false, true),
            (&["--exclude=tmp/"], "x/tmp", false, false),
            (&["--exclude=tmp/"], "x/tmp", true, true),
            (
                &["--include=a.log", "--exclude=*.log"],
                "a.log",
                false,
                false,
            ),
            (
                &["--include=a.log", "--exclude=*.log"],
                "b.log",
                false,
                true,
            ),
            (&["--exclude=a/**/z"], "a/b/c/z", false, true),
        ] {
            let filter = filter(rules);
            assert_eq!(
                filter.excludes(Path::new(path), is_directory),
                is_out,
                "{rules:?} {path}"
            );
        }
    }

    #[test]
    fn an_option_that_is_not_known_and_a_source_that_is_not_there_are_refused() {
        let target = source();
        let result = target.run(
            NAME,
            r#"{"src": "$ROOT/s", "dest": "$ROOT/t", "rsync_opts": ["--fuzzy"]}"#,
        );
        assert!(result.contains("does not know its option `--fuzzy`"));
        let result = target.run(NAME, r#"{"src": "$ROOT/none", "dest": "$ROOT/t"}"#);
        assert!(result.contains("failed: No such file or directory"));
        let result = target.run(
            NAME,
            r#"{"src": "/s", "dest": "$ROOT/t", "_tree": [{"path": "../x", "kind": "file"}]}"#,
        );
        assert!(result.contains("`../x` leaves the destination"));
    }
}
