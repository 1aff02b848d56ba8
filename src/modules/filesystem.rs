//! `filesystem`: a file system on a device or in a file, made, grown, renamed or wiped.
//!
//! Each kind has its own programs; what they say of a size is read here.

use std::path::Path;

use crate::machine::{Command, Effect, FileKind, Machine, split_words};
use crate::transaction::journal::UndoStep;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Makes a filesystem.
    pub(crate) struct FilesystemArgs for "community.general.filesystem" {
        /// Whether there is a file system; `absent` wipes its signatures.
        state: String { default: "present", choices: ["present", "absent"] },
        /// The kind of file system.
        fstype: Option<String> {
            aliases: ["type"],
            choices: [
                "bcachefs", "btrfs", "ext2", "ext3", "ext4", "ext4dev", "f2fs", "lvm", "ocfs2",
                "reiserfs", "xfs", "vfat", "swap", "ufs"
            ],
        },
        /// The device or file.
        dev: std::path::PathBuf { required, aliases: ["device"] },
        /// Further words for the program that makes it.
        opts: Option<String> {},
        /// Make it although another one is there.
        force: bool { default: "false" },
        /// Let it take the whole device.
        resizefs: bool { default: "false" },
        /// The UUID it gets, whatever it has.
        uuid: Option<String> {},
    }
    required_if [("state", "present", ["fstype"], false)]
    mutually_exclusive [["resizefs", "uuid"]]
}

/// What there is to know of one kind.
#[derive(Default)]
struct Kind {
    /// What `blkid` calls it.
    name: &'static str,
    /// What messages call it.
    shown: &'static str,
    make: &'static str,
    force: &'static [&'static str],
    /// The flags of `make` that set the UUID, and what goes with them.
    uuid_flags: &'static [&'static str],
    uuid_more: &'static [&'static str],
    /// The program that changes the UUID, with its flag.
    change_uuid: Option<(&'static str, &'static str)>,
    /// The program that makes it larger, with its flags.
    grow: Option<(&'static str, &'static [&'static str])>,
    /// It grows where it is mounted.
    grows_mounted: bool,
    /// Free space that it cannot use.
    slack: u64,
}

fn kind(fstype: &str) -> Kind {
    let ext = Kind {
        force: &["-F"],
        uuid_flags: &["-U"],
        change_uuid: Some(("tune2fs", "-U")),
        grow: Some(("resize2fs", &[])),
        ..Kind::default()
    };
    match fstype {
        "ext2" => Kind {
            name: "ext2",
            shown: "Ext2",
            make: "mkfs.ext2",
            ..ext
        },
        "ext3" => Kind {
            name: "ext3",
            shown: "Ext3",
            make: "mkfs.ext3",
            ..ext
        },
        "ext4" | "ext4dev" => Kind {
            name: "ext4",
            shown: "Ext4",
            make: "mkfs.ext4",
            ..ext
        },
        "xfs" => Kind {
            name: "xfs",
            shown: "XFS",
            make: "mkfs.xfs",
            force: &["-f"],
            change_uuid: Some(("xfs_admin", "-U")),
            grow: Some(("xfs_growfs", &[])),
            grows_mounted: true,
            // It takes no less than 64 blocks.
            slack: 64 * 4096 - 1,
            ..Kind::default()
        },
        "reiserfs" => Kind {
            name: "reiserfs",
            shown: "Reiserfs",
            make: "mkfs.reiserfs",
            force: &["-q"],
            ..Kind::default()
        },
        "bcachefs" => Kind {
            name: "bcachefs",
            shown: "Bcachefs",
            make: "mkfs.bcachefs",
            force: &["--force"],
            uuid_flags: &["-U", "--uuid"],
            grow: Some(("bcachefs", &["device", "resize"])),
            ..Kind::default()
        },
        "btrfs" => Kind {
            name: "btrfs",
            shown: "Btrfs",
            make: "mkfs.btrfs",
            force: &["-f"],
            grow: Some(("btrfs", &["filesystem", "resize", "max"])),
            grows_mounted: true,
            ..Kind::default()
        },
        "ocfs2" => Kind {
            name: "ocfs2",
            shown: "Ocfs2",
            make: "mkfs.ocfs2",
            force: &["-Fx"],
            ..Kind::default()
        },
        "f2fs" => Kind {
            name: "f2fs",
            shown: "F2fs",
            make: "mkfs.f2fs",
            force: &["-f"],
            grow: Some(("resize.f2fs", &[])),
            ..Kind::default()
        },
        "vfat" => Kind {
            name: "vfat",
            shown: "VFAT",
            make: "mkfs.vfat",
            grow: Some(("fatresize", &["-s", "max"])),
            ..Kind::default()
        },
        "lvm" => Kind {
            name: "LVM2_member",
            shown: "LVM",
            make: "pvcreate",
            force: &["-f"],
            uuid_flags: &["-u", "--uuid"],
            uuid_more: &["--norestorefile"],
            change_uuid: Some(("pvchange", "-u")),
            grow: Some(("pvresize", &[])),
            ..Kind::default()
        },
        "swap" => Kind {
            name: "swap",
            shown: "Swap",
            make: "mkswap",
            force: &["-f"],
            ..Kind::default()
        },
        _ => Kind {
            name: "ufs",
            shown: "UFS",
            make: "newfs",
            grow: Some(("growfs", &["-y"])),
            ..Kind::default()
        },
    }
}

/// Brings the device into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: FilesystemArgs) -> ModuleResult {
    let path = machine.expand(&args.dev);
    let device = path.display().to_string();
    let opts = match &args.opts {
        Some(text) => text.split_whitespace().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    if !machine.exists(&path)? {
        let msg = format!("Device {device} not found.");
        return if args.state == "absent" {
            Ok(Outcome::unchanged().msg(msg))
        } else {
            Err(Failure::new(msg))
        };
    }
    let found = known(machine, &device, "TYPE")?;
    let Some(fstype) = args.fstype.as_deref().filter(|_| args.state == "present") else {
        if !found.is_empty() {
            let wipefs = tool::required(machine, "wipefs")?;
            let argv = [wipefs.as_str(), "--all", &device];
            let effect = Effect::opaque(format!("wipe the {found} of {device}"));
            let output = machine.execute(&tool::command(&argv), effect)?.output();
            tool::check(output.as_ref(), tool::complaint)?;
        }
        return Ok(Outcome::unchanged().with_changed(!found.is_empty()));
    };
    let kind = kind(fstype);
    if args.uuid.is_some() && kind.change_uuid.is_none() && kind.uuid_flags.is_empty() {
        return Err(Failure::new(format!(
            "module does not support UUID option for this filesystem ({}) yet.",
            kind.name
        )));
    }
    let is_same = !found.is_empty() && found == kind.name;
    let mut device = Device {
        machine,
        path: &path,
        shown: device,
        kind,
    };
    match &args.uuid {
        _ if is_same && args.resizefs => return device.grow(),
        Some(uuid) if is_same => return device.rename(uuid),
        _ if is_same && !args.force => return Ok(Outcome::unchanged()),
        _ if !found.is_empty() && !args.force => {
            return Err(Failure::new(format!(
                "'{}' is already used as {found}, use force=true to overwrite",
                device.shown
            ))
            .with("rc", 0)
            .with("err", ""));
        }
        _ => {}
    }
    device.make(opts, args.uuid.as_deref(), found.is_empty())?;
    Ok(Outcome::changed())
}

/// Returns what `blkid` knows of the device under a tag; nothing when it knows none.
fn known(machine: &mut Machine, device: &str, tag: &str) -> Result<String, Failure> {
    let blkid = tool::required(machine, "blkid")?;
    let argv = [&blkid, "-c", "/dev/null", "-o", "value", "-s", tag, device];
    let output = machine.query(&Command::new(argv))?;
    Ok(output.stdout_text().trim().to_owned())
}

struct Device<'m> {
    machine: &'m mut Machine,
    path: &'m Path,
    shown: String,
    kind: Kind,
}

impl Device<'_> {
    fn make(
        &mut self,
        mut opts: Vec<String>,
        uuid: Option<&str>,
        was_empty: bool,
    ) -> Result<(), Failure> {
        let (flags, more) = (self.kind.uuid_flags, self.kind.uuid_more);
        if let (Some(uuid), Some(flag)) = (uuid, flags.first())
            && !opts.iter().any(|word| flags.contains(&word.as_str()))
        {
            opts.extend([(*flag).to_owned(), uuid.to_owned()]);
            opts.extend(more.iter().map(|word| (*word).to_owned()));
        }
        let mut argv = vec![tool::required(self.machine, self.kind.make)?];
        argv.extend(self.kind.force.iter().map(|word| (*word).to_owned()));
        argv.extend(opts);
        argv.push(self.shown.clone());
        let what = format!("make a {} on {}", self.kind.name, self.shown);
        // Where there was no file system, none is there again; another is lost.
        let wipefs = tool::found(self.machine, "wipefs").filter(|_| was_empty);
        let effect = match wipefs {
            Some(wipefs) => Effect::Compensated {
                what,
                undo: vec![tool::step(&[&wipefs, "--all", &self.shown])],
            },
            None => Effect::opaque(what),
        };
        self.act(&argv, effect)?;
        if let (Some(uuid), []) = (uuid, flags) {
            let argv = self.renaming(uuid)?;
            self.act(
                &argv,
                Effect::Compensated {
                    what: argv.join(" "),
                    undo: Vec::new(),
                },
            )?;
        }
        Ok(())
    }

    fn act(&mut self, argv: &[String], effect: Effect) -> Result<Option<String>, Failure> {
        let output = self.machine.execute(&tool::command(argv), effect)?.output();
        tool::check(output.as_ref(), tool::complaint)
            .map_err(|failure| failure.with("cmd", argv.join(" ")))?;
        Ok(output.map(|output| output.stdout_text()))
    }

    fn renaming(&self, uuid: &str) -> Result<Vec<String>, Failure> {
        let Some((program, flag)) = self.kind.change_uuid else {
            return Err(Failure::new(format!(
                "module does not support UUID option for this filesystem ({}) yet.",
                self.kind.name
            )));
        };
        let mut argv = vec![tool::required(self.machine, program)?, flag.to_owned()];
        // LVM makes up its own.
        if program != "pvchange" {
            argv.push(uuid.to_owned());
        }
        argv.push(self.shown.clone());
        Ok(argv)
    }

    /// Gives the file system another UUID.
    fn rename(&mut self, uuid: &str) -> ModuleResult {
        let argv = self.renaming(uuid)?;
        let old = known(self.machine, &self.shown, "UUID")?;
        let what = format!("change the UUID of {}", self.shown);
        let effect = if old.is_empty() || self.kind.name == "LVM2_member" {
            Effect::opaque(what)
        } else {
            Effect::Compensated {
                what,
                undo: vec![UndoStep::new(self.renaming(&old)?)],
            }
        };
        let said = self.act(&argv, effect)?;
        let msg = said.unwrap_or_else(|| {
            let (kind, device) = (self.kind.shown, &self.shown);
            format!("Changing {kind} filesystem UUID on device {device}")
        });
        Ok(Outcome::changed().msg(msg))
    }

    /// Lets the file system take the whole device.
    fn grow(&mut self) -> ModuleResult {
        let (shown, device) = (self.kind.shown, self.shown.clone());
        let Some((program, flags)) = self.kind.grow else {
            return Err(Failure::new(format!(
                "module does not support resizing {} filesystem yet.",
                self.kind.name
            )));
        };
        let whole = self.size()?;
        if self.taken()? + self.kind.slack >= whole {
            return Ok(Outcome::unchanged().msg(format!(
                "{shown} filesystem is using the whole device {device}"
            )));
        }
        let target = if self.kind.grows_mounted {
            self.mounted()?.ok_or_else(|| self.not_mounted())
        } else {
            Ok(device.clone())
        };
        let target = match target {
            // What is to be mounted yet cannot be looked up now.
            Err(_) if self.machine.is_check() => device.clone(),
            target => target?,
        };
        let mut argv = vec![tool::required(self.machine, program)?];
        argv.extend(flags.iter().map(|word| (*word).to_owned()));
        argv.push(target);
        let effect = Effect::opaque(format!("grow the {} of {device}", self.kind.name));
        let said = self.act(&argv, effect)?;
        let msg = said.unwrap_or_else(|| format!("resizing filesystem {shown} on device {device}"));
        Ok(Outcome::changed().msg(msg))
    }

    fn not_mounted(&self) -> Failure {
        let (device, kind) = (&self.shown, self.kind.shown);
        Failure::new(format!(
            "{device} needs to be mounted for {kind} operations"
        ))
    }

    /// Returns the size of the device in bytes.
    fn size(&mut self) -> Result<u64, Failure> {
        let about = self.machine.metadata(self.path)?;
        match about.map(|about| (about.kind, about.size)) {
            Some((FileKind::File, size)) => Ok(size),
            Some((FileKind::BlockDevice, _)) => {
                let said = self.ask("blockdev", &["--getsize64"])?;
                said.trim().parse().map_err(|_| self.unread("blockdev"))
            }
            _ => Err(Failure::new(format!(
                "Target device not supported: {}",
                self.shown
            ))),
        }
    }

    fn unread(&self, program: &str) -> Failure {
        Failure::new(format!(
            "unable to process {program} output for {}",
            self.shown
        ))
    }

    fn ask(&mut self, program: &str, flags: &[&str]) -> Result<String, Failure> {
        let device = self.shown.clone();
        self.ask_of(program, flags, &device)
    }

    fn ask_of(&mut self, program: &str, flags: &[&str], of: &str) -> Result<String, Failure> {
        let found = tool::required(self.machine, program)?;
        let mut argv = vec![found.as_str()];
        argv.extend(flags);
        argv.push(of);
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), tool::complaint)
            .map_err(|failure| failure.with("cmd", argv.join(" ")))?;
        Ok(output.stdout_text())
    }

    /// Returns where the device is mounted first.
    fn mounted(&mut self) -> Result<Option<String>, Failure> {
        let findmnt = tool::required(self.machine, "findmnt")?;
        let argv = [
            findmnt.as_str(),
            "--mtab",
            "--noheadings",
            "--output",
            "TARGET",
            "--source",
            &self.shown,
        ];
        let output = tool::ask(self.machine, &argv)?;
        let said = output.stdout_text();
        let first = said.lines().next().map(str::to_owned);
        Ok(first.filter(|_| output.success()))
    }

    /// Returns how many bytes the file system takes.
    fn taken(&mut self) -> Result<u64, Failure> {
        let (program, size) = match self.kind.name {
            "ext2" | "ext3" | "ext4" => (
                "tune2fs",
                product(
                    &self.ask("tune2fs", &["-l"])?,
                    ["Block count:", "Block size:"],
                ),
            ),
            "xfs" => {
                let of = self.mounted()?.unwrap_or_else(|| self.shown.clone());
                ("xfs_info", xfs_size(&self.ask_of("xfs_info", &[], &of)?))
            }
            "btrfs" => {
                let of = self.mounted()?.ok_or_else(|| self.not_mounted())?;
                let said = self.ask_of("btrfs", &["filesystem", "usage", "-b"], &of)?;
                let line = said.lines().find(|line| line.contains("Device size"));
                ("btrfs", line.and_then(last_number))
            }
            "bcachefs" => ("bcachefs", sized(&self.ask("bcachefs", &["show-super"])?)),
            "f2fs" => {
                let said = self.ask("dump.f2fs", &[])?;
                let names = ["Info: sector size =", "Info: total FS sectors ="];
                ("dump.f2fs", product(&said, names))
            }
            "vfat" => {
                let said = self.ask("fatresize", &["--info"])?;
                let mut rows = said.lines().skip(1).filter_map(|line| line.split_once(':'));
                let row = rows.find(|(name, _)| ["Size", "Cur size"].contains(&name.trim()));
                (
                    "fatresize",
                    row.and_then(|(_, size)| size.trim().parse().ok()),
                )
            }
            "LVM2_member" => {
                let flags = [
                    "--noheadings",
                    "-o",
                    "pv_size",
                    "--units",
                    "b",
                    "--nosuffix",
                ];
                ("pvs", self.ask("pvs", &flags)?.trim().parse().ok())
            }
            _ => ("dumpfs", ufs_size(&self.ask("dumpfs", &[])?)),
        };
        size.ok_or_else(|| self.unread(program))
    }
}

fn last_number(line: &str) -> Option<u64> {
    line.split_whitespace().last()?.parse().ok()
}

/// Multiplies the numbers that stand behind two names.
fn product(text: &str, names: [&str; 2]) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.contains(name))?;
        let (_, value) = line.split_once(name)?;
        value.split_whitespace().next()?.parse().ok()
    };
    number(names[0])?.checked_mul(number(names[1])?)
}

fn xfs_size(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("data"))?;
    let words = split_words(&line.replace(['=', ','], " "))?;
    let number = |name: &str| -> Option<u64> {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    number("bsize")?.checked_mul(number("blocks")?)
}

/// Reads a size with its unit, as `bcachefs` tells it.
fn sized(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Size: "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let (number, unit) = (words.get(1)?.parse::<f64>().ok()?, words.get(2)?);
    let letters = "BKMGTPEZY";
    let first = unit.chars().next()?.to_ascii_uppercase();
    let power = i32::try_from(letters.find(first)?).ok()?;
    let base: f64 = if unit.contains('i') { 1024.0 } else { 1000.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the size of a device"
    )]
    Some((number * base.powi(power)) as u64)
}

fn ufs_size(text: &str) -> Option<u64> {
    let fragment = text.lines().find(|line| line.starts_with("fsize"))?;
    let fragment: u64 = fragment.split_whitespace().nth(1)?.parse().ok()?;
    let provider = text.lines().find(|line| line.contains("providersize"))?;
    last_number(provider)?.checked_mul(fragment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.filesystem";

    /// Programs that keep the file system of any device in a file.
    fn host() -> Programs {
        let made = |kind: &str| format!("echo {kind} >\"$here/fs\"");
        let (ext4, xfs) = (made("ext4"), made("xfs"));
        let host = Programs::new([
            (
                "blkid",
                "case \"$*\" in *UUID*) echo old-uuid ;; *) cat \"$here/fs\" 2>/dev/null ;; esac",
            ),
            ("mkfs.ext4", ext4.as_str()),
            ("mkfs.xfs", xfs.as_str()),
            ("xfs_admin", "echo named"),
            (
                "tune2fs",
                "echo 'Block count:   3'; echo 'Block size:   1024'",
            ),
            ("resize2fs", "echo grown"),
            ("wipefs", "rm \"$here/fs\""),
        ]);
        host.put("disk", &"x".repeat(4096));
        host
    }

    fn changes(host: &Programs) -> Vec<String> {
        let bin = host.path("").display().to_string();
        let calls = host.calls().into_iter().map(|call| call.replace(&bin, ""));
        calls
            .filter(|call| !call.starts_with("blkid") && !call.starts_with("tune2fs -l"))
            .collect()
    }

    fn steps(host: &Programs) -> Vec<String> {
        host.undo_steps()
    }

    #[test]
    fn a_file_system_is_made_once_and_wiped_once() {
        let host = host();
        let options = r#"{"fstype": "ext4", "dev": "$BIN/disk", "opts": "-L data", "uuid": null}"#;
        assert_eq!(host.predict(NAME, options), r#"{"changed":true}"#);
        assert_eq!(changes(&host), Vec::<String>::new());
        assert_eq!(host.run(NAME, options), r#"{"changed":true}"#);
        assert_eq!(host.run(NAME, options), r#"{"changed":false}"#);
        let absent = r#"{"state": "absent", "dev": "$BIN/disk"}"#;
        assert_eq!(host.predict(NAME, absent), r#"{"changed":true}"#);
        assert_eq!(host.run(NAME, absent), r#"{"changed":true}"#);
        assert_eq!(host.run(NAME, absent), r#"{"changed":false}"#);
        assert_eq!(
            changes(&host),
            ["mkfs.ext4 -F -L data disk", "wipefs --all disk"]
        );
        assert_eq!(steps(&host), ["wipefs --all disk"]);
    }

    #[test]
    fn another_file_system_is_overwritten_only_by_force() {
        let host = host();
        host.put("fs", "xfs\n");
        let options = r#"{"fstype": "ext4", "dev": "$BIN/disk"}"#;
        assert_eq!(
            host.run(NAME, options),
            r#"{"failed":true,"changed":false,"msg":"'$BIN/disk' is already used as xfs, use force=true to overwrite","rc":0,"err":""}"#
        );
        let forced = r#"{"fstype": "ext4", "dev": "$BIN/disk", "force": true, "uuid": "u-1"}"#;
        assert_eq!(host.run(NAME, forced), r#"{"changed":true}"#);
        assert_eq!(changes(&host), ["mkfs.ext4 -F -U u-1 disk"]);
        assert_eq!(steps(&host), Vec::<String>::new());
    }

    #[test]
    fn a_uuid_is_set_whatever_it_was() {
        let host = host();
        host.put("fs", "xfs\n");
        let options = r#"{"fstype": "xfs", "dev": "$BIN/disk", "uuid": "new"}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"msg":"Changing XFS filesystem UUID on device $BIN/disk"}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"msg":"named\n"}"#
        );
        assert_eq!(changes(&host), ["xfs_admin -U new disk"]);
        assert_eq!(steps(&host), ["xfs_admin -U old-uuid disk"]);
    }

    #[test]
    fn a_file_system_grows_into_the_free_space_of_its_device() {
        let host = host();
        host.put("fs", "ext4\n");
        let options = r#"{"fstype": "ext4", "dev": "$BIN/disk", "resizefs": true}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"msg":"resizing filesystem Ext4 on device $BIN/disk"}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"msg":"grown\n"}"#
        );
        host.put("disk", &"x".repeat(3072));
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"msg":"Ext4 filesystem is using the whole device $BIN/disk"}"#
        );
        assert_eq!(changes(&host), ["resize2fs disk"]);
    }

    #[test]
    fn sizes_are_read_as_the_programs_tell_them() {
        let xfs = "meta-data=/dev/a  isize=512  agcount=4, agsize=65536 blks\n\
                   data     =        bsize=4096   blocks=262144, imaxpct=25\n\
                   naming   =version 2  bsize=4096\n";
        assert_eq!(xfs_size(xfs), Some(1 << 30));
        assert_eq!(sized("Device:  a\nSize:  1.5 GiB\n"), Some(3 << 29));
        assert_eq!(sized("Size: 512 B\n"), Some(512));
        let f2fs = "Info: sector size = 512\nInfo: total FS sectors = 102400 (50 MB)\n";
        let names = ["Info: sector size =", "Info: total FS sectors ="];
        assert_eq!(product(f2fs, names), Some(52_428_800));
        let ufs = "fsize   4096    shift   12\nproviderblocks 9  providersize  9\n";
        assert_eq!(ufs_size(ufs), Some(36864));
        assert_eq!(xfs_size("odd"), None);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let host = host();
        host.put("fs", "swap\n");
        for (options, result) in [
            (
                r#"{"fstype": "ext4", "dev": "/backstay/none"}"#,
                r#"{"failed":true,"changed":false,"msg":"Device /backstay/none not found."}"#,
            ),
            (
                r#"{"state": "absent", "dev": "/backstay/none"}"#,
                r#"{"changed":false,"msg":"Device /backstay/none not found."}"#,
            ),
            (
                r#"{"dev": "$BIN/disk"}"#,
                r#"{"failed":true,"changed":false,"msg":"state is present but all of the following are missing: fstype"}"#,
            ),
            (
                r#"{"fstype": "vfat", "dev": "$BIN/disk", "uuid": "u"}"#,
                r#"{"failed":true,"changed":false,"msg":"module does not support UUID option for this filesystem (vfat) yet."}"#,
            ),
            (
                r#"{"fstype": "swap", "dev": "$BIN/disk", "resizefs": true}"#,
                r#"{"failed":true,"changed":false,"msg":"module does not support resizing swap filesystem yet."}"#,
            ),
        ] {
            assert_eq!(host.run(NAME, options), result);
        }
    }
}
