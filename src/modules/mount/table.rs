//! The table of file systems, and the kernel's list of mounts. Pure.

use crate::transaction::journal::UndoStep;

/// One line of the table, unescaped.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) src: String,
    pub(super) name: String,
    pub(super) fstype: String,
    pub(super) opts: String,
    pub(super) dump: String,
    pub(super) passno: String,
}

impl Entry {
    fn fields(&self) -> [String; 6] {
        [
            &self.src,
            &self.name,
            &self.fstype,
            &self.opts,
            &self.dump,
            &self.passno,
        ]
        .map(|field| escaped(field))
    }
}

fn escaped(field: &str) -> String {
    field
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('&', "\\046")
}

/// Returns the table with the entry, and whether it differs.
pub(super) fn with_entry(text: &str, entry: &Entry, has_src: bool) -> (String, bool) {
    let wanted = entry.fields();
    let new_line = format!("{}\n", wanted.join(" "));
    let (mut new, mut is_there, mut changed) = (String::new(), false, false);
    for line in text.lines() {
        let fields: Vec<_> = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let is_entry = (4..=6).contains(&fields.len());
        if !is_entry || !is_meant(&fields, &wanted[1], has_src.then_some(entry.src.as_str())) {
            new += &format!("{line}\n");
            continue;
        }
        is_there = true;
        // Fields that are left out count as others.
        let is_same = fields.len() == 6
            && fields[0] == wanted[0]
            && fields[2..]
                .iter()
                .zip(&wanted[2..])
                .all(|(old, new)| old == new);
        if is_same {
            new += &format!("{line}\n");
        } else {
            new += &new_line;
            changed = true;
        }
    }
    if !is_there {
        new += &new_line;
        changed = true;
    }
    (new, changed)
}

/// Returns the table without the entries of a mount point.
pub(super) fn without_entry(text: &str, name: &str, src: Option<&str>) -> String {
    let name = escaped(name);
    let stays = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        line.trim_start().starts_with('#') || fields.len() != 6 || !is_meant(&fields, &name, src)
    };
    text.split_inclusive('\n').filter(stays).collect()
}

/// Tells whether the fields are those of the mount point; of swap the source tells.
fn is_meant(fields: &[&str], name: &str, src: Option<&str>) -> bool {
    let is_swap = fields[1] == "none" && fields[2] == "swap";
    fields[1] == name && !(is_swap && src.is_some_and(|src| fields[0] != src))
}

/// What is mounted somewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    pub(super) dst: String,
    /// The device, or the directory where it is a bind mount.
    pub(super) src: String,
    pub(super) device: String,
    pub(super) opts: String,
    fs: String,
}

impl Mount {
    /// Returns the step that mounts it again.
    pub(super) fn step(&self) -> UndoStep {
        if self.src != self.device {
            return UndoStep::new([
                "mount",
                "-o",
                &format!("bind,{}", self.opts),
                &self.src,
                &self.dst,
            ]);
        }
        UndoStep::new([
            "mount", "-t", &self.fs, "-o", &self.opts, &self.src, &self.dst,
        ])
    }
}

/// Reads `/proc/self/mountinfo`.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    struct Row<'a> {
        id: &'a str,
        parent: &'a str,
        root: &'a str,
        dst: String,
        opts: &'a str,
        fs: &'a str,
        device: String,
    }
    let rows: Vec<Row<'_>> = text
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let n_fields = fields.len();
            (n_fields >= 10).then(|| Row {
                id: fields[0],
                parent: fields[1],
                root: fields[3],
                dst: unescaped(fields[4]),
                opts: fields[5],
                fs: fields[n_fields - 3],
                device: unescaped(fields[n_fields - 2]),
            })
        })
        .collect();
    let parent = |row: &Row<'_>| {
        rows.iter()
            .find(|other| other.id == row.parent && row.parent != "1")
    };
    let src = |row: &Row<'_>| {
        let Some(parent) = parent(row) else {
            return row.device.clone();
        };
        let inside = format!("{}/", parent.root);
        let root = if parent.root.len() > 1 && row.root.starts_with(&inside) {
            &row.root[parent.root.len()..]
        } else {
            row.root
        };
        if parent.dst == "/" {
            root.to_owned()
        } else {
            format!("{}{root}", parent.dst)
        }
    };
    rows.iter()
        .map(|row| Mount {
            dst: row.dst.clone(),
            src: match row.root {
                "/" => row.device.clone(),
                _ => src(row),
            },
            device: row.device.clone(),
            opts: row.opts.to_owned(),
            fs: row.fs.to_owned(),
        })
        .collect()
}

/// Decodes the kernel's octal escapes.
fn unescaped(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, letter)| {
        text.replace(code, letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(src: &str, name: &str, fstype: &str) -> Entry {
        Entry {
            src: src.into(),
            name: name.into(),
            fstype: fstype.into(),
            opts: "defaults".into(),
            dump: "0".into(),
            passno: "0".into(),
        }
    }

    #[test]
    fn entries_are_found_by_their_mount_point_and_swap_by_its_source() {
        let table =
            "# /x\n/dev/a  /a b  c\n/dev/sda1 / ext4 defaults 0 1 # root\n/swap none swap sw 0 0";
        let (new, changed) = with_entry(table, &entry("/s2", "none", "swap"), true);
        assert!(changed);
        assert_eq!(
            new,
            "# /x\n/dev/a  /a b  c\n/dev/sda1 / ext4 defaults 0 1 # root\n/swap none swap sw 0 0\n\
             /s2 none swap defaults 0 0\n"
        );
        assert!(!with_entry(&new, &entry("/s2", "none", "swap"), true).1);
        assert_eq!(
            without_entry("a /b c d 0 0\n#a /b c d 0 0\ne /f g h 0 0\n", "/b", None),
            "#a /b c d 0 0\ne /f g h 0 0\n"
        );
    }

    #[test]
    fn blanks_are_escaped() {
        let (new, _) = with_entry("", &entry("//h/a b", "/m&n", "cifs"), true);
        assert_eq!(new, "//h/a\\040b /m\\046n cifs defaults 0 0\n");
    }

    #[test]
    fn the_source_of_a_bind_mount_is_a_directory() {
        let found = mounts(
            "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             42 25 0:35 / /tmp rw,nosuid - tmpfs tmpfs rw\n\
             78 42 0:35 /aaa /tmp/bbb rw - tmpfs tmpfs rw\n",
        );
        let sources: Vec<_> = found.iter().map(|mount| mount.src.as_str()).collect();
        assert_eq!(sources, ["/dev/sda1", "tmpfs", "/tmp/aaa"]);
        assert_eq!(
            found[1].step().argv.join(" "),
            "mount -t tmpfs -o rw,nosuid tmpfs /tmp"
        );
        assert_eq!(
            found[2].step().argv.join(" "),
            "mount -o bind,rw /tmp/aaa /tmp/bbb"
        );
    }
}
