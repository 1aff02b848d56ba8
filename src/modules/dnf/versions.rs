//! Versions of RPM packages: which of two is newer.

use std::cmp::Ordering;

/// One package: its name and what tells it from others of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) epoch: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) arch: String,
    pub(super) repo: String,
}

/// What RPM and dnf are asked to print of a package; dnf has a repository besides.
pub(super) const FORMAT: &str = r"%{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{ARCH}|@System\n";
pub(super) const QUERY: &str = "%{name}|%{epoch}|%{version}|%{release}|%{arch}|%{reponame}\n";

impl Package {
    /// Reads a line as `FORMAT` and `QUERY` ask for it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split('|').map(str::to_owned);
        Some(Self {
            name: fields.next().filter(|name| !name.is_empty())?,
            epoch: fields.next()?,
            version: fields.next()?,
            release: fields.next()?,
            arch: fields.next()?,
            repo: fields.next()?,
        })
    }

    /// Returns `name-[epoch:]version-release.arch`, as dnf prints it.
    pub(super) fn nevra(&self) -> String {
        let epoch = match self.epoch.as_str() {
            "0" | "" | "(none)" => String::new(),
            epoch => format!("{epoch}:"),
        };
        let Self {
            name,
            version,
            release,
            arch,
            ..
        } = self;
        format!("{name}-{epoch}{version}-{release}.{arch}")
    }

    /// Compares epoch, version and release.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let epoch = |package: &Self| package.epoch.parse::<u64>().unwrap_or(0);
        epoch(self)
            .cmp(&epoch(other))
            .then_with(|| compare(&self.version, &other.version))
            .then_with(|| compare(&self.release, &other.release))
    }
}

/// Compares two versions as RPM does: digits and letters in turns, `~` before and `^` after all.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        left = left.trim_start_matches(is_separator);
        right = right.trim_start_matches(is_separator);
        match (left.strip_prefix('~'), right.strip_prefix('~')) {
            (Some(l), Some(r)) => {
                (left, right) = (l, r);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (left.strip_prefix('^'), right.strip_prefix('^')) {
            (Some(l), Some(r)) => {
                (left, right) = (l, r);
                continue;
            }
            (Some(_), None) if right.is_empty() => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) if left.is_empty() => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let is_number = left.starts_with(|c: char| c.is_ascii_digit());
        let (part, left_rest) = segment(left, is_number);
        let (other, right_rest) = segment(right, is_number);
        if other.is_empty() {
            // Digits are newer than letters.
            return if is_number {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        }
        let order = if is_number {
            let (part, other) = (part.trim_start_matches('0'), other.trim_start_matches('0'));
            part.len().cmp(&other.len()).then_with(|| part.cmp(other))
        } else {
            part.cmp(other)
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

fn is_separator(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '~' && c != '^'
}

fn segment(text: &str, of_digits: bool) -> (&str, &str) {
    let is_in = |c: char| {
        if of_digits {
            c.is_ascii_digit()
        } else {
            c.is_ascii_alphabetic()
        }
    };
    let end = text.find(|c| !is_in(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        for (left, right, order) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "2.0", Ordering::Less),
            ("2.0.1", "2.0", Ordering::Greater),
            ("5.5p1", "5.5p10", Ordering::Less),
            ("10xyz", "10.1xyz", Ordering::Less),
            ("xyz.4", "8", Ordering::Less),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.0^", "1.0", Ordering::Greater),
            ("1.0^20160101", "1.0.1", Ordering::Less),
            ("1.05", "1.5", Ordering::Equal),
            ("2a", "2.0", Ordering::Less),
        ] {
            assert_eq!(compare(left, right), order, "{left} {right}");
            assert_eq!(compare(right, left), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn a_package_is_printed_as_dnf_prints_it() {
        let package = Package::parse("bash|0|5.1|2.el9|x86_64|@System").unwrap();
        assert_eq!(package.nevra(), "bash-5.1-2.el9.x86_64");
        let package = Package::parse("vim|2|8|1|noarch|base").unwrap();
        assert_eq!(package.nevra(), "vim-2:8-1.noarch");
        assert_eq!(Package::parse(""), None);
    }
}
