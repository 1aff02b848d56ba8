//! The `ssh_config` files: which of their settings hold for one host. `Host` and `Match` blocks
//! and `Include` are as in `ssh_config`(5).
//!
//! A reader of our own: the crates at hand know no `Match`, and settings of a block they do not
//! understand must never leak into the block before it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::options::{self, Options, Outcome, Setting};
use super::pattern;
use super::tokens::Tokens;
use crate::error::nearest;
use crate::transport::local;

/// How deep files may include each other, as in OpenSSH.
const DEEPEST: usize = 16;

/// Whom the files are asked about.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The host as the user named it.
    pub(super) original: String,
    pub(super) local_user: String,
    pub(super) home: PathBuf,
}

/// Takes settings in the order they are found.
pub(super) struct Reader<'a> {
    question: &'a Question,
    pub(super) options: Options,
    pub(super) warnings: Vec<String>,
    /// The second reading, in which `Match final` holds.
    last: bool,
    /// `Match final` was met, so a second reading is wanted.
    wants_last: bool,
}

/// A setting that cannot be followed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadOption {
    pub(super) option: String,
    pub(super) detail: String,
}

/// Where relative includes of a file are looked for, and whether it must be the user's own.
#[derive(Clone, Copy)]
struct Home<'a> {
    directory: &'a Path,
    must_be_own: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        Self {
            question,
            options: Options::default(),
            warnings: Vec::new(),
            last: false,
            wants_last: false,
        }
    }

    /// Takes a setting of the command line; one that nobody knows is an error.
    pub(super) fn argument(&mut self, setting: &Setting) -> Result<(), BadOption> {
        let name = &setting.name;
        let bad = |detail| BadOption {
            option: name.clone(),
            detail,
        };
        match self.options.apply(setting).map_err(bad)? {
            Outcome::Taken => Ok(()),
            Outcome::Unsupported => {
                self.warn(format!(
                    "the ssh option `{name}` is not supported and has no effect"
                ));
                Ok(())
            }
            Outcome::Unknown => Err(bad(match nearest(name, options::names()) {
                Some(near) => format!("there is no such option; did you mean `{near}`?"),
                None => "there is no such option".to_owned(),
            })),
        }
    }

    /// Reads the user's file, or the one of `-F`, then the system's.
    pub(super) fn files(
        &mut self,
        user: Option<&Path>,
        named: bool,
        system: Option<&Path>,
    ) -> Result<(), BadOption> {
        self.all_files(user, named, system)?;
        if self.wants_last {
            self.last = true;
            self.all_files(user, named, system)?;
        }
        Ok(())
    }

    fn all_files(
        &mut self,
        user: Option<&Path>,
        named: bool,
        system: Option<&Path>,
    ) -> Result<(), BadOption> {
        let own = self.question.home.join(".ssh");
        let home = Home {
            directory: &own,
            must_be_own: !named,
        };
        if let Some(path) = user {
            if named && !path.exists() {
                return Err(bad(path, 0, "there is no such file".to_owned()));
            }
            self.file(path, home, 0)?;
        }
        let home = Home {
            directory: Path::new("/etc/ssh"),
            must_be_own: false,
        };
        system.map_or(Ok(()), |path| self.file(path, home, 0))
    }

    fn file(&mut self, path: &Path, home: Home<'_>, depth: usize) -> Result<(), BadOption> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(bad(path, 0, error.to_string())),
        };
        if home.must_be_own {
            check_owner(path).map_err(|detail| bad(path, 0, detail))?;
        }
        let mut active = true;
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let number = index + 1;
            let failed = |detail| bad(path, number, detail);
            let Some(setting) = Setting::parse(line).map_err(failed)? else {
                continue;
            };
            match setting.name.to_lowercase().as_str() {
                "host" => {
                    let patterns = setting.words.iter().map(String::as_str);
                    active = pattern::list_matches(patterns, &self.question.original);
                }
                "match" => active = self.matches(&setting.words).map_err(failed)?,
                "include" if active => {
                    self.include(&setting.words, home, depth)
                        .map_err(|problem| match problem {
                            Included::Bad(bad) => bad,
                            Included::Wrong(detail) => failed(detail),
                        })?;
                }
                _ if active => self.take(&setting, path, number)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, setting: &Setting, path: &Path, line: usize) -> Result<(), BadOption> {
        let outcome = self
            .options
            .apply(setting)
            .map_err(|detail| bad(path, line, format!("`{}`: {detail}", setting.name)))?;
        // A file may be shared with other programs and newer versions of ssh, so what is
        // unknown there is no error.
        if outcome != Outcome::Taken {
            self.warn(format!(
                "{}:{line}: the ssh option `{}` is not supported and has no effect",
                path.display(),
                setting.name
            ));
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn include(
        &mut self,
        patterns: &[String],
        home: Home<'_>,
        depth: usize,
    ) -> Result<(), Included> {
        if depth == DEEPEST {
            return Err(Included::Wrong(
                "too many files include each other".to_owned(),
            ));
        }
        for pattern in patterns {
            let path = expand_home(pattern, &self.question.home);
            for file in glob(&home.directory.join(path)) {
                self.file(&file, home, depth + 1).map_err(Included::Bad)?;
            }
        }
        Ok(())
    }

    /// Decides a `Match` line; every criterion must hold.
    fn matches(&mut self, words: &[String]) -> Result<bool, String> {
        let mut words = words.iter().map(String::as_str);
        let mut holds = true;
        while let Some(word) = words.next() {
            let (negated, criterion) = match word.strip_prefix('!') {
                Some(criterion) => (true, criterion),
                None => (false, word),
            };
            let (criterion, attached) = match criterion.split_once('=') {
                Some((criterion, value)) => (criterion, Some(value)),
                None => (criterion, None),
            };
            let matched = match criterion.to_lowercase().as_str() {
                "all" => true,
                // Names are never canonicalized here.
                "canonical" => false,
                "final" => {
                    self.wants_last = true;
                    self.last
                }
                name => {
                    let value = attached
                        .or_else(|| words.next())
                        .ok_or_else(|| format!("`Match {name}` needs a value"))?;
                    // A command is run only if it can still decide.
                    if name == "exec" && !holds {
                        continue;
                    }
                    self.criterion(name, value)?
                }
            };
            holds &= matched != negated;
        }
        Ok(holds)
    }

    fn criterion(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let question = self.question;
        let tokens = self.tokens();
        let subject = match name {
            "host" => &tokens.host,
            "originalhost" => &question.original,
            "user" => &tokens.user,
            "localuser" => &question.local_user,
            "tagged" => self.options.tag.as_deref().unwrap_or_default(),
            "sessiontype" => "exec",
            "exec" => return local::succeeds(&tokens.expand(value)?),
            // What the command is shall not decide how a host is reached.
            "command" | "version" => return Ok(false),
            "localnetwork" => {
                self.warn("`Match localnetwork` is not supported and never holds".to_owned());
                return Ok(false);
            }
            other => return Err(format!("`Match` knows no `{other}`")),
        };
        Ok(pattern::list_matches(value.split(','), subject))
    }

    /// Returns what tokens stand for as far as is known now.
    pub(super) fn tokens(&self) -> Tokens {
        let original = self.question.original.clone();
        let options = &self.options;
        let host = options
            .host_name
            .clone()
            .unwrap_or_else(|| original.clone());
        let local_user = self.question.local_user.clone();
        Tokens {
            host: host.replace("%h", &original).replace("%%", "%"),
            port: options.port.unwrap_or(22),
            user: options.user.clone().unwrap_or_else(|| local_user.clone()),
            local_user,
            home: self.question.home.display().to_string(),
            key_alias: options
                .host_key_alias
                .clone()
                .unwrap_or_else(|| original.clone()),
            jump: String::new(),
            original,
        }
    }
}

enum Included {
    /// The included file has the problem.
    Bad(BadOption),
    /// The line that includes has it.
    Wrong(String),
}

fn bad(path: &Path, line: usize, detail: String) -> BadOption {
    let path = path.display();
    BadOption {
        option: if line == 0 {
            path.to_string()
        } else {
            format!("{path}:{line}")
        },
        detail,
    }
}

/// Refuses a file that another user could have written: it may name commands to run.
fn check_owner(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let own = metadata.uid() == 0 || metadata.uid() == rustix::process::getuid().as_raw();
    if own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err("others may write to it; `chmod go-w` it, or `chown` it to yourself".to_owned())
}

/// Replaces a leading `~` by `home`.
pub(super) fn expand_home(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

/// Returns the files that `path`, whose last part may be a pattern, stands for, sorted.
fn glob(path: &Path) -> Vec<PathBuf> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (Some(name), Some(directory)) = (name, path.parent()) else {
        return Vec::new();
    };
    if !name.contains(['*', '?']) {
        return vec![path.to_owned()];
    }
    let listed = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = listed
        .filter(|entry| {
            let entry = entry.file_name();
            let entry = entry.to_string_lossy();
            !entry.starts_with('.') && pattern::matches(&name, &entry)
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn read(files: &[(&str, &str)], host: &str) -> (Options, Vec<String>) {
        try_read(files, host).unwrap()
    }

    fn try_read(files: &[(&str, &str)], host: &str) -> Result<(Options, Vec<String>), BadOption> {
        let home = tempfile::tempdir().unwrap();
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(home.path().join(".ssh/conf.d"))
            .unwrap();
        for (name, text) in files {
            let mut file = File::create(home.path().join(".ssh").join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        let question = Question {
            original: host.to_owned(),
            local_user: "ann".to_owned(),
            home: home.path().to_owned(),
        };
        let mut reader = Reader::new(&question);
        reader.files(Some(&home.path().join(".ssh/config")), true, None)?;
        Ok((reader.options, reader.warnings))
    }

    #[test]
    fn host_blocks_hold_for_their_patterns_and_the_first_value_counts() {
        let text = "User first\nHost web* !web9\n  Port 2222\n  User second\nHost *\n  Port 1\n";
        assert_eq!(read(&[("config", text)], "web1").0.port, Some(2222));
        assert_eq!(read(&[("config", text)], "web9").0.port, Some(1));
        assert_eq!(
            read(&[("config", text)], "web1").0.user.as_deref(),
            Some("first")
        );
    }

    #[test]
    fn match_blocks_are_decided_by_every_criterion() {
        let cases = [
            ("Match all", true),
            ("Match host 10.*", true),
            ("Match originalhost web1", true),
            ("Match host web1", false),
            ("Match originalhost web1 user deploy", true),
            ("Match originalhost web1 user root", false),
            ("Match !user root,admin", true),
            ("Match localuser ann", true),
            ("Match exec \"test %h = 10.0.0.1\"", true),
            ("Match exec false", false),
            ("Match user root exec \"echo run > ran\"", false),
            ("Match canonical", false),
            ("Match tagged prod", true),
        ];
        for (line, holds) in cases {
            let text =
                format!("Tag prod\nHost web1\nHostName 10.0.0.1\nUser deploy\n{line}\nPort 99\n");
            let port = read(&[("config", &text)], "web1").0.port;
            assert_eq!(port.is_some(), holds, "{line}");
        }
    }

    #[test]
    fn match_final_holds_in_a_second_reading() {
        let text = "Match final\n  Port 99\nHost web1\n  User deploy\n";
        let (options, _) = read(&[("config", text)], "web1");
        assert_eq!(
            (options.port, options.user.as_deref()),
            (Some(99), Some("deploy"))
        );
    }

    #[test]
    fn included_files_belong_to_the_block_they_stand_in() {
        let config = "Host db1\n  Include db\nHost *\n  Include conf.d/*.conf\n";
        let files = [
            ("config", config),
            ("db", "Port 5432\n"),
            ("conf.d/b.conf", "User b\n"),
            ("conf.d/a.conf", "Host web1\nUser a\n"),
        ];
        let (web, _) = read(&files, "web1");
        assert_eq!((web.port, web.user.as_deref()), (None, Some("a")));
        let (db, _) = read(&files, "db1");
        assert_eq!((db.port, db.user.as_deref()), (Some(5432), Some("b")));
    }

    #[test]
    fn a_file_that_includes_itself_is_an_error_and_so_is_nonsense() {
        assert!(try_read(&[("config", "Include config\n")], "web1").is_err());
        let error = try_read(&[("config", "User x\nPort many\n")], "web1").unwrap_err();
        assert!(error.option.ends_with("/.ssh/config:2"), "{}", error.option);
        assert_eq!(error.detail, "`Port`: `many` is not a number that fits");
    }

    #[test]
    fn unsupported_options_are_named_once_with_their_place() {
        let text = "HostbasedAuthentication yes\nFutureOption yes\nSendEnv LANG\n";
        let (_, warnings) = read(&[("config", text)], "web1");
        assert_eq!(warnings.len(), 2);
        assert!(
            warnings[0].ends_with(
                "/.ssh/config:1: the ssh option `HostbasedAuthentication` is not supported and \
                 has no effect"
            ),
            "{}",
            warnings[0]
        );
    }

    #[test]
    fn a_misspelt_option_of_the_command_line_suggests_the_right_one() {
        let question = Question {
            original: "web1".into(),
            local_user: "ann".into(),
            home: "/nonexistent".into(),
        };
        let setting = Setting::parse("StrictHostKeyCheking=no").unwrap().unwrap();
        assert_eq!(
            Reader::new(&question).argument(&setting),
            Err(BadOption {
                option: "StrictHostKeyCheking".into(),
                detail: "there is no such option; did you mean `StrictHostKeyChecking`?".into(),
            })
        );
    }
}
