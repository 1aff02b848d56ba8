//! `extra_opts`: those options of GNU tar and unzip that mean something without them.

use super::super::Failure;
use super::super::archive::Format;

/// What the options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// How many leading components of names are dropped.
    pub(super) strip_components: usize,
    /// All leading components are dropped.
    pub(super) junk_paths: bool,
    /// Keep the archive's owners; the default for root.
    pub(super) same_owner: Option<bool>,
    /// Keep the archive's permissions whatever the umask; the default for root.
    pub(super) same_permissions: Option<bool>,
    pub(super) numeric_owner: bool,
    /// Leave the time of unpacking on files.
    pub(super) touch: bool,
    /// Leave files alone that are there.
    pub(super) keep_old: bool,
    pub(super) keep_newer: bool,
    /// Included names are patterns.
    pub(super) wildcards: bool,
    pub(super) exclude: Vec<String>,
}

impl Extra {
    /// Reads the options; one that means something else than what is done here is an error.
    pub(super) fn new(options: &[String], format: Format) -> Result<Self, Failure> {
        let mut extra = Self::default();
        let mut words = options.iter().map(|option| option.trim());
        while let Some(word) = words.next() {
            let known = match format {
                Format::Zip => extra.read_unzip(word),
                Format::Tar(_) => extra.read_tar(word, &mut words),
            };
            known.ok_or_else(|| unknown(word, format))?;
        }
        Ok(extra)
    }

    fn read_tar<'a>(&mut self, word: &str, rest: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match name {
            "--strip-components" | "--strip" => {
                self.strip_components = value.or_else(|| rest.next())?.trim().parse().ok()?;
            }
            "--exclude" => self.exclude.push(value.or_else(|| rest.next())?.to_owned()),
            "--no-same-owner" | "-o" => self.same_owner = Some(false),
            "--same-owner" => self.same_owner = Some(true),
            "--no-same-permissions" => self.same_permissions = Some(false),
            "--same-permissions" | "--preserve-permissions" | "-p" => {
                self.same_permissions = Some(true);
            }
            "--numeric-owner" => self.numeric_owner = true,
            "--touch" | "-m" => self.touch = true,
            "--keep-old-files" | "-k" | "--skip-old-files" => self.keep_old = true,
            "--keep-newer-files" => self.keep_newer = true,
            "--wildcards" => self.wildcards = true,
            // What is done in any case, or only talks.
            "--overwrite"
            | "--unlink-first"
            | "-U"
            | "--recursive-unlink"
            | "--no-overwrite-dir"
            | "--verbose"
            | "-v"
            | "-z"
            | "-j"
            | "-J"
            | "--gzip"
            | "--bzip2"
            | "--xz"
            | "--zstd"
            | "--auto-compress"
            | "-a"
            | "--warning"
            | "--no-wildcards"
            | "--delay-directory-restore"
            | "--no-acls"
            | "--no-selinux"
            | "--no-xattrs"
            | "--force-local" => {}
            _ => return None,
        }
        Some(())
    }

    fn read_unzip(&mut self, word: &str) -> Option<()> {
        match word {
            "-j" => self.junk_paths = true,
            "-n" => self.keep_old = true,
            // What is done in any case, or only talks.
            "-o" | "-q" | "-qq" | "-v" | "-u" => {}
            _ => return None,
        }
        Some(())
    }
}

fn unknown(word: &str, format: Format) -> Failure {
    let known = match format {
        Format::Zip => "-j, -n, -o, -q",
        Format::Tar(_) => {
            "--strip-components, --exclude, --same-owner, --no-same-owner, --same-permissions, \
             --no-same-permissions, --numeric-owner, --touch, --keep-old-files, --skip-old-files, \
             --keep-newer-files, --wildcards"
        }
    };
    Failure::new(format!(
        "extra_opts: `{word}` cannot be done without the program it belongs to; these can: {known}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::archive::Compression;
    use super::*;

    fn tar(options: &[&str]) -> Result<Extra, String> {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        Extra::new(&options, Format::Tar(Compression::None)).map_err(|failure| failure.msg)
    }

    #[test]
    fn values_follow_an_equals_sign_or_are_the_next_word() {
        assert_eq!(tar(&["--strip-components=2"]).unwrap().strip_components, 2);
        assert_eq!(
            tar(&["--strip-components", "1"]).unwrap().strip_components,
            1
        );
        assert_eq!(tar(&["--no-same-owner"]).unwrap().same_owner, Some(false));
    }

    #[test]
    fn an_option_that_cannot_be_done_is_an_error() {
        let error = tar(&["--transform=s/a/b/"]).unwrap_err();
        assert!(
            error.starts_with("extra_opts: `--transform=s/a/b/` cannot be done"),
            "{error}"
        );
        let zip = Extra::new(&["-j".into()], Format::Zip).unwrap();
        assert!(zip.junk_paths);
    }
}
