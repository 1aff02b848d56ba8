//! File system flags, as `chattr` sets and `lsattr` shows them.

use std::io;
use std::path::Path;

use rustix::fs::IFlags;
use rustix::io::Errno;

use super::place::Place;

/// Letters in the order in which `lsattr` prints them.
const LETTERS: [(u32, char); 23] = [
    (0x0000_0001, 's'),
    (0x0000_0002, 'u'),
    (0x0000_0008, 'S'),
    (0x0001_0000, 'D'),
    (0x0000_0010, 'i'),
    (0x0000_0020, 'a'),
    (0x0000_0040, 'd'),
    (0x0000_0080, 'A'),
    (0x0000_0004, 'c'),
    (0x0000_0400, 'm'),
    (0x0000_0800, 'E'),
    (0x0000_4000, 'j'),
    (0x0000_1000, 'I'),
    (0x0000_8000, 't'),
    (0x0002_0000, 'T'),
    (0x0008_0000, 'e'),
    (0x0080_0000, 'C'),
    (0x0200_0000, 'x'),
    (0x4000_0000, 'F'),
    (0x1000_0000, 'N'),
    (0x2000_0000, 'P'),
    (0x0010_0000, 'V'),
    (0x0000_0200, 'B'),
];

/// The flags of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFlags(pub(super) u32);

impl FileFlags {
    /// Returns the letters as `lsattr` prints them, without the dashes.
    pub fn letters(self) -> String {
        LETTERS
            .iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, letter)| *letter)
            .collect()
    }

    /// Returns the flags after `chattr change`; the error is the unknown letter.
    pub(super) fn change(self, change: &str) -> Result<Self, char> {
        let (operator, letters) = match change.chars().next() {
            Some(operator @ ('+' | '-' | '=')) => (operator, &change[1..]),
            _ => ('=', change),
        };
        let mut bits = 0;
        for letter in letters.chars() {
            let known = LETTERS.iter().find(|(_, known)| *known == letter);
            bits |= known.ok_or(letter)?.0;
        }
        Ok(Self(match operator {
            '+' => self.0 | bits,
            '-' => self.0 & !bits,
            _ => bits | (self.0 & KERNELS_OWN),
        }))
    }
}

/// Flags that nobody can set or clear with `chattr`: they stay when others are set with `=`.
const KERNELS_OWN: u32 = !0x3007_a0ff_u32 & !0x0080_0400;

/// Reads the flags of a file or directory; `None` where the file system has none.
pub(super) fn read(path: &Path) -> io::Result<Option<FileFlags>> {
    let file = Place::of(path)?.open()?;
    match rustix::fs::ioctl_getflags(&file) {
        Ok(flags) => Ok(Some(FileFlags(flags.bits()))),
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn write(path: &Path, flags: FileFlags) -> io::Result<()> {
    let file = Place::of(path)?.open()?;
    Ok(rustix::fs::ioctl_setflags(
        &file,
        IFlags::from_bits_retain(flags.0),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_lsattrs_and_changes_are_chattrs() {
        let flags = FileFlags(0x0008_0000);
        assert_eq!(flags.letters(), "e");
        assert_eq!(
            flags.change("+ia").map(FileFlags::letters),
            Ok("iae".into())
        );
        assert_eq!(
            FileFlags(0x30).change("-a").map(FileFlags::letters),
            Ok("i".into())
        );
        assert_eq!(
            FileFlags(0x30).change("=d").map(FileFlags::letters),
            Ok("d".into())
        );
        assert_eq!(flags.change("+q"), Err('q'));
    }
}
