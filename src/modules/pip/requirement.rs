//! What pip is asked for: a name with versions it must have, or an address. Pure.

use std::cmp::Ordering;

/// One package, or what pip is to make of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Requirement {
    text: String,
    /// The normal form of the name, and the versions; `None` for what is no plain package.
    plain: Option<(String, Vec<(String, String)>)>,
}

/// Joins names again that were split at the commas between their versions or extras.
pub(super) fn rejoined(names: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    for part in names.iter().flat_map(|name| name.split(',')).map(str::trim) {
        let continues = part.starts_with(['<', '>', '=', '!', '~']);
        match whole.last_mut() {
            Some(last) if continues || last.matches('[').count() > last.matches(']').count() => {
                last.push(',');
                last.push_str(part);
            }
            _ => whole.push(part.to_owned()),
        }
    }
    whole.retain(|name| !name.is_empty());
    whole
}

impl Requirement {
    pub(super) fn parse(text: &str) -> Self {
        let plain = plain(text);
        let text = match plain {
            Some(_) => text.split_whitespace().collect(),
            None => text.to_owned(),
        };
        Self { text, plain }
    }

    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    pub(super) fn has_version(&self) -> bool {
        self.plain
            .as_ref()
            .is_some_and(|(_, versions)| !versions.is_empty())
    }

    /// Returns the same package with a version: a bare number is the only one.
    pub(super) fn with_version(&self, version: &str) -> Self {
        let separator = if version.starts_with(|c: char| c.is_ascii_digit()) {
            "=="
        } else {
            ""
        };
        Self::parse(&format!("{}{separator}{version}", self.text))
    }

    /// Tells whether it is the address of a repository.
    pub(super) fn is_repository(&self) -> bool {
        self.text
            .split_once('+')
            .is_some_and(|(kind, _)| matches!(kind, "svn" | "git" | "hg" | "bzr"))
    }

    /// Tells whether an installed package will do.
    pub(super) fn is_met_by(&self, name: &str, version: &str) -> bool {
        self.plain.as_ref().is_some_and(|(own, wanted)| {
            *own == normal_name(name)
                && wanted
                    .iter()
                    .all(|(operator, wanted)| is_met(operator, wanted, version))
        })
    }
}

fn plain(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let mut rest = rest.trim();
    if let Some(extras) = rest.strip_prefix('[') {
        rest = extras.split_once(']')?.1.trim();
    }
    let mut versions = Vec::new();
    for part in rest
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let operator = ["===", "==", "!=", "<=", ">=", "~=", "<", ">"]
            .into_iter()
            .find(|operator| part.starts_with(operator))?;
        let version = part[operator.len()..].trim();
        if version.is_empty() || version.contains([';', ' ', '@']) {
            return None;
        }
        versions.push((operator.to_owned(), version.to_owned()));
    }
    is_name.then(|| (normal_name(name), versions))
}

/// Returns a name as Python's package index compares it.
fn normal_name(name: &str) -> String {
    let parts: Vec<_> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-").to_lowercase()
}

fn is_met(operator: &str, wanted: &str, version: &str) -> bool {
    if let Some(start) = wanted.strip_suffix(".*") {
        let width = start.split('.').count();
        let same = release(start) == prefix(release(version), width);
        return (operator == "!=") != same;
    }
    let order = compare(version, wanted);
    match operator {
        "===" => version == wanted,
        "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<=" => order != Ordering::Greater,
        ">=" => order != Ordering::Less,
        "<" => order == Ordering::Less,
        ">" => order == Ordering::Greater,
        // `~= 1.4.2` is `>= 1.4.2, == 1.4.*`.
        _ => {
            let width = wanted.split('.').count().saturating_sub(1).max(1);
            order != Ordering::Less
                && prefix(release(version), width) == prefix(release(wanted), width)
        }
    }
}

fn prefix(mut numbers: Vec<u64>, width: usize) -> Vec<u64> {
    numbers.resize(width, 0);
    numbers
}

/// Returns the leading numbers of a version, without its epoch.
fn release(version: &str) -> Vec<u64> {
    let version = version.trim_start_matches('v');
    let version = version.split_once('!').map_or(version, |(_, rest)| rest);
    let mut numbers = Vec::new();
    for part in version.split('.') {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => break,
        }
        if digits.len() != part.len() {
            break;
        }
    }
    numbers
}

/// Compares two versions: epoch, numbers, then dev, pre-release, release, post-release.
fn compare(one: &str, other: &str) -> Ordering {
    let key = |version: &str| {
        let version = version.split('+').next().unwrap_or_default().to_lowercase();
        let epoch: u64 = version
            .split_once('!')
            .and_then(|(epoch, _)| epoch.parse().ok())
            .unwrap_or(0);
        let mut numbers = release(&version);
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        (epoch, numbers, suffix(&version))
    };
    key(one).cmp(&key(other))
}

/// Returns the rank and the number of what follows the numbers.
fn suffix(version: &str) -> (i32, u64) {
    let number = |mark: &str| {
        let after = version.split_once(mark).map_or("", |(_, after)| after);
        let digits: String = after
            .trim_start_matches(['.', '-', '_'])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap_or(0)
    };
    let marks = [("post", 1), ("rc", -2), ("b", -3), ("a", -4), ("dev", -5)];
    marks
        .into_iter()
        .find(|(mark, _)| version.contains(mark))
        .map_or((0, 0), |(mark, rank)| (rank, number(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_commas_are_whole_again() {
        let names = ["django>=3", "<4", "a[x", "y]", "b, c"].map(str::to_owned);
        assert_eq!(rejoined(&names), ["django>=3,<4", "a[x,y]", "b", "c"]);
    }

    #[test]
    fn installed_versions_are_compared_as_python_compares_them() {
        for (wanted, name, version, expected) in [
            ("Jinja2", "jinja2", "3.0", true),
            ("zope.interface>=5", "zope-interface", "5.4.0", true),
            ("a == 1.0", "a", "1", true),
            ("a>=2.0", "a", "2.0rc1", false),
            ("a>1.9", "a", "1.10", true),
            ("a~=1.4.2", "a", "1.4.9", true),
            ("a~=1.4", "a", "2.0", false),
            ("a==1.*", "a", "1.7", true),
            ("a!=1.*", "a", "1.7", false),
            ("a>=1,<2", "a", "2.0.dev1", true),
            ("a<2,>1", "a", "2.0.post1", false),
            ("a[x]>=1", "a", "1.1", true),
            ("git+https://x/a", "a", "1", false),
            ("b", "a", "1", false),
        ] {
            let requirement = Requirement::parse(wanted);
            assert_eq!(
                requirement.is_met_by(name, version),
                expected,
                "{wanted} {version}"
            );
        }
    }

    #[test]
    fn a_version_is_added_to_a_name() {
        let package = Requirement::parse("a");
        assert_eq!(package.with_version("1.0").text(), "a==1.0");
        assert_eq!(package.with_version(">= 1").text(), "a>=1");
        assert!(Requirement::parse("git+https://x").is_repository());
    }
}
