//! `stat`: everything about one file.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use crate::machine::{self, Algorithm, Command, FileKind, Machine, Metadata};
use crate::value::{Map, Value};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Retrieve file or file system status.
    pub(crate) struct StatArgs for "stat" {
        /// The file to look at.
        path: PathBuf { required, aliases: ["dest", "name"] },
        /// Look at what a link points to.
        follow: bool { default: "false" },
        /// Return the checksum of the content.
        get_checksum: bool { default: "true" },
        /// Return the MIME type and character set, as the program `file` knows them.
        get_mime: bool { default: "true", aliases: ["mime", "mime_type", "mime-type"] },
        /// Return the file system flags.
        get_attributes: bool { default: "true", aliases: ["attr", "attributes"] },
        /// How to compute the checksum.
        checksum_algorithm: String {
            default: "sha1",
            choices: ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"],
            aliases: ["checksum", "checksum_algo"],
        },
    }
}

/// Looks at the file; one that does not exist is an answer too.
pub(crate) fn run(machine: &mut Machine, args: StatArgs) -> ModuleResult {
    let path = machine.expand(&args.path);
    let found = if args.follow {
        machine.metadata(&path)?
    } else {
        machine.symlink_metadata(&path)?
    };
    let Some(found) = found else {
        return Ok(Outcome::unchanged().with("stat", Value::map([("exists", false)])));
    };
    let mut stat = Map::new();
    stat.insert("exists".into(), true.into());
    stat.insert("path".into(), path.display().to_string().into());
    stat.extend(metadata_values(&found));
    add_kernels(&mut stat, &found);
    add_access(machine, &mut stat, &path);
    if found.is_link() {
        // A link that leads to itself is as far as one gets, as for Python.
        let source = match machine.real_path(&path) {
            Err(error) if error.errno() == Some(Errno::LOOP.raw_os_error()) => path.clone(),
            source => source?,
        };
        let source = source.display().to_string();
        let target = machine.read_link(&path)?.display().to_string();
        stat.insert("lnk_source".into(), source.into());
        stat.insert("lnk_target".into(), target.into());
    }
    if let Some(name) = machine.user_name(found.uid) {
        stat.insert("pw_name".into(), name.into());
    }
    if let Some(name) = machine.group_name(found.gid) {
        stat.insert("gr_name".into(), name.into());
    }
    if args.get_checksum && found.is_file() && machine.may(&path, Access::READ_OK) {
        let checksum = machine.digest(&path, algorithm(&args.checksum_algorithm)?)?;
        stat.insert("checksum".into(), checksum.into());
    }
    if args.get_mime {
        add_mime(machine, &mut stat, &path)?;
    }
    if args.get_attributes {
        add_flags(machine, &mut stat, &path, &found);
    }
    Ok(Outcome::unchanged().with("stat", Value::from(stat)))
}

/// Returns the algorithm of Ansible's name.
pub(super) fn algorithm(name: &str) -> Result<Algorithm, Failure> {
    Ok(match name {
        "md5" => Algorithm::Md5,
        "sha1" => Algorithm::Sha1,
        "sha224" => Algorithm::Sha224,
        "sha256" => Algorithm::Sha256,
        "sha384" => Algorithm::Sha384,
        "sha512" => Algorithm::Sha512,
        _ => {
            return Err(Failure::new(format!(
                "Could not hash file with algorithm '{name}'. Available algorithms: md5, sha1, \
                 sha224, sha256, sha384, sha512"
            )));
        }
    })
}

/// Returns what `stat` and `find` both say about a file.
pub(super) fn metadata_values(found: &Metadata) -> Map {
    let bit = |mask: u32| found.mode & mask != 0;
    let is = |kind: FileKind| found.kind == kind;
    let values: [(&str, Value); 28] = [
        ("mode", format!("{:04o}", found.mode).into()),
        ("isdir", found.is_dir().into()),
        ("ischr", is(FileKind::CharacterDevice).into()),
        ("isblk", is(FileKind::BlockDevice).into()),
        ("isreg", found.is_file().into()),
        ("isfifo", is(FileKind::Fifo).into()),
        ("islnk", found.is_link().into()),
        ("issock", is(FileKind::Socket).into()),
        ("uid", found.uid.into()),
        ("gid", found.gid.into()),
        ("size", found.size.into()),
        ("inode", found.inode.into()),
        ("dev", found.device.into()),
        ("nlink", found.nlink.into()),
        ("atime", found.atime.as_seconds().into()),
        ("mtime", found.mtime.as_seconds().into()),
        ("ctime", found.ctime.as_seconds().into()),
        ("wusr", bit(0o200).into()),
        ("rusr", bit(0o400).into()),
        ("xusr", bit(0o100).into()),
        ("wgrp", bit(0o020).into()),
        ("rgrp", bit(0o040).into()),
        ("xgrp", bit(0o010).into()),
        ("woth", bit(0o002).into()),
        ("roth", bit(0o004).into()),
        ("xoth", bit(0o001).into()),
        ("isuid", bit(0o4000).into()),
        ("isgid", bit(0o2000).into()),
    ];
    values
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

fn add_kernels(stat: &mut Map, found: &Metadata) {
    stat.insert("blocks".into(), found.blocks.into());
    stat.insert("block_size".into(), found.block_size.into());
    stat.insert("device_type".into(), found.device_type.into());
}

fn add_access(machine: &Machine, stat: &mut Map, path: &Path) {
    for (name, access) in [
        ("readable", Access::READ_OK),
        ("writeable", Access::WRITE_OK),
        ("executable", Access::EXEC_OK),
    ] {
        stat.insert(name.into(), machine.may(path, access).into());
    }
}

fn add_mime(machine: &mut Machine, stat: &mut Map, path: &Path) -> machine::Result<()> {
    let (mut mime, mut charset) = ("unknown".to_owned(), "unknown".to_owned());
    if let Some(program) = machine.find_program("file") {
        let command = Command::new([program])
            .arg("--mime-type")
            .arg("--mime-encoding")
            .arg(path);
        let output = machine.query(&command)?;
        if let Some(found) = parse_mime(&output.stdout_text()).filter(|_| output.success()) {
            (mime, charset) = found;
        }
    }
    stat.insert("mimetype".into(), mime.into());
    stat.insert("charset".into(), charset.into());
    Ok(())
}

/// Reads `PATH: text/plain; charset=us-ascii`.
fn parse_mime(output: &str) -> Option<(String, String)> {
    let (mime, charset) = output.rsplit_once(':')?.1.split_once(';')?;
    let charset = charset.split_once('=')?.1;
    Some((mime.trim().to_owned(), charset.trim().to_owned()))
}

fn add_flags(machine: &Machine, stat: &mut Map, path: &Path, found: &Metadata) {
    // Opening anything else could block or have effects.
    let flags = match found.kind {
        FileKind::File | FileKind::Directory => machine.file_flags(path),
        _ => None,
    };
    let letters = flags.map_or_else(String::new, crate::machine::FileFlags::letters);
    let names = letters.chars().filter_map(flag_name);
    stat.insert("version".into(), Value::Null);
    stat.insert("attributes".into(), Value::list(names));
    stat.insert("attr_flags".into(), letters.into());
}

fn flag_name(letter: char) -> Option<&'static str> {
    Some(match letter {
        'A' => "noatime",
        'a' => "append",
        'c' => "compressed",
        'C' => "nocow",
        'd' => "nodump",
        'D' => "dirsync",
        'e' => "extents",
        'E' => "encrypted",
        'h' => "blocksize",
        'i' => "immutable",
        'I' => "indexed",
        'j' => "journalled",
        'N' => "inline",
        's' => "zero",
        'S' => "synchronous",
        't' => "notail",
        'T' => "blockroot",
        'u' => "undelete",
        'X' => "compressedraw",
        'Z' => "compresseddirty",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;
    use super::*;

    fn stat(target: &Target, options: &str) -> Map {
        let result = target.result("stat", options);
        result.get("stat").unwrap().as_map().unwrap().clone()
    }

    #[test]
    fn a_file_has_the_keys_that_ansible_returns() {
        let target = Target::new().file("f", "hello");
        let found = stat(&target, r#"{"path": "$ROOT/f"}"#);
        let mut keys: Vec<_> = found.keys().map(ToString::to_string).collect();
        keys.sort();
        // Recorded from ansible-core 2.19.14.
        assert_eq!(
            keys.join(" "),
            "atime attr_flags attributes block_size blocks charset checksum ctime dev device_type \
             executable exists gid gr_name inode isblk ischr isdir isfifo isgid islnk isreg issock \
             isuid mimetype mode mtime nlink path pw_name readable rgrp roth rusr size uid version \
             wgrp woth writeable wusr xgrp xoth xusr"
        );
        assert_eq!(
            found.get("checksum"),
            Some(&"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d".into())
        );
        assert_eq!(found.get("mode"), Some(&"0644".into()));
    }

    #[test]
    fn a_link_is_itself_unless_it_is_followed() {
        let target = Target::new().file("f", "x").link("l", "f");
        let link = stat(&target, r#"{"path": "$ROOT/l", "get_mime": false}"#);
        assert_eq!(link.get("islnk"), Some(&true.into()));
        assert_eq!(link.get("lnk_target"), Some(&"f".into()));
        let source = target.path("f").display().to_string();
        assert_eq!(link.get("lnk_source"), Some(&source.into()));
        let followed = stat(&target, r#"{"path": "$ROOT/l", "follow": true}"#);
        assert_eq!(followed.get("isreg"), Some(&true.into()));
    }

    #[test]
    fn nothing_is_a_good_answer() {
        assert_eq!(
            Target::new().run("stat", r#"{"path": "$ROOT/no"}"#),
            r#"{"changed":false,"stat":{"exists":false}}"#
        );
    }

    #[test]
    fn the_mime_type_is_what_file_prints_after_the_last_colon() {
        assert_eq!(
            parse_mime("/a:b: text/plain; charset=us-ascii\n"),
            Some(("text/plain".into(), "us-ascii".into()))
        );
        assert_eq!(parse_mime("cannot open"), None);
    }
}
