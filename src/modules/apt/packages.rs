//! What is installed and what could be: dpkg's database and apt's candidates.

use std::collections::{HashMap, HashSet};

use crate::machine::{Command, Machine};
use crate::modules::Failure;
use crate::modules::glob::NamePattern;

/// One wanted package: a name, and maybe a version it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// With its architecture, where one was given.
    pub(super) name: String,
    pub(super) version: Option<Version>,
}

/// Which versions will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// This one, or one that matches this pattern.
    Is(String),
    AtLeast(String),
}

impl Spec {
    /// Reads `name`, `name=version` or `name>=version`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.matches('=').count() > 1 || text.is_empty() {
            return Err(format!("invalid package spec: {text}"));
        }
        let (name, version) = match (text.split_once(">="), text.split_once('=')) {
            (Some((name, version)), _) => (name, Some(Version::AtLeast(version.into()))),
            (None, Some((name, version))) => (name, Some(Version::Is(version.into()))),
            (None, None) => (text, None),
        };
        Ok(Self {
            name: name.trim().into(),
            version,
        })
    }

    /// Returns the text it was read from.
    pub(super) fn text(&self) -> String {
        match &self.version {
            None => self.name.clone(),
            Some(Version::Is(version)) => format!("{}={version}", self.name),
            Some(Version::AtLeast(version)) => format!("{}>={version}", self.name),
        }
    }
}

/// What could be installed for a name.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) version: String,
    /// Every version the lists hold, newest first.
    versions: Vec<String>,
}

impl Candidate {
    /// Returns the argument that makes apt-get install it.
    pub(super) fn argument(&self, spec: &Spec) -> String {
        match &spec.version {
            None => spec.name.clone(),
            Some(_) => format!("{}={}", spec.name, self.version),
        }
    }
}

/// dpkg's packages and apt's candidates.
#[derive(Debug, Default)]
pub(super) struct Database {
    installed: HashMap<String, String>,
    with_left_files: HashSet<String>,
    provided: HashSet<String>,
    candidates: HashMap<String, Candidate>,
    known: HashSet<String>,
    virtual_names: HashSet<String>,
}

impl Database {
    /// Reads dpkg's database.
    pub(super) fn open(machine: &mut Machine) -> Result<Self, Failure> {
        const FORMAT: &str =
            "${Package}\\t${Architecture}\\t${Status}\\t${Version}\\t${Provides}\\n";
        let output = machine.query(&Command::new(["dpkg-query", "-W", "-f", FORMAT]))?;
        // dpkg-query fails on a host without any package; then its database is empty.
        Ok(Self::parse(&output.stdout_text()))
    }

    fn parse(text: &str) -> Self {
        let mut database = Self::default();
        for line in text.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let [name, architecture, status, version, provides] = fields[..] else {
                continue;
            };
            let qualified = format!("{name}:{architecture}");
            if status.ends_with(" ok installed") {
                for provided in provides.split(',') {
                    let name = provided.split([' ', '(']).find(|word| !word.is_empty());
                    database.provided.extend(name.map(str::to_owned));
                }
                database.installed.insert(name.into(), version.into());
                database.installed.insert(qualified, version.into());
            } else if status.ends_with("config-files") {
                database.with_left_files.insert(name.into());
                database.with_left_files.insert(qualified);
            }
        }
        database
    }

    /// Replaces names that are patterns by the names they match.
    pub(super) fn expand(machine: &mut Machine, specs: &[Spec]) -> Result<Vec<Spec>, Failure> {
        let is_pattern = |spec: &Spec| spec.name.contains(['*', '?', '[']);
        if !specs.iter().any(is_pattern) {
            return Ok(specs.to_vec());
        }
        let listed = machine
            .query(&Command::new(["apt-cache", "pkgnames"]))?
            .stdout_text();
        let mut names: Vec<_> = listed.lines().collect();
        names.sort_unstable();
        let mut expanded = Vec::new();
        for spec in specs {
            if !is_pattern(spec) {
                expanded.push(spec.clone());
                continue;
            }
            let pattern = NamePattern::new(&spec.name);
            let matching: Vec<_> = names
                .iter()
                .filter(|name| pattern.matches(name.as_ref()))
                .collect();
            if matching.is_empty() {
                return Err(Failure::new(format!(
                    "No package(s) matching '{}' available",
                    spec.name
                )));
            }
            expanded.extend(matching.into_iter().map(|name| Spec {
                name: (*name).to_owned(),
                version: spec.version.clone(),
            }));
        }
        Ok(expanded)
    }

    /// Asks apt what it would install for each name.
    pub(super) fn look_up_candidates(
        &mut self,
        machine: &mut Machine,
        specs: &[Spec],
        release: Option<&str>,
    ) -> Result<(), Failure> {
        if specs.is_empty() {
            return Ok(());
        }
        let mut command = Command::new(["apt-cache", "policy"]);
        if let Some(release) = release {
            command = Command::new([
                "apt-cache",
                "-o",
                &format!("APT::Default-Release={release}"),
                "policy",
            ]);
        }
        for spec in specs {
            command = command.arg(&spec.name);
        }
        let command = command.env("LC_ALL", "C");
        let text = machine.query(&command)?.stdout_text();
        self.read_policy(&text);
        for spec in specs {
            if !self.known.contains(&spec.name) || self.candidates.contains_key(&spec.name) {
                continue;
            }
            let shown = machine.query(&Command::new(["apt-cache", "showpkg", &spec.name]))?;
            let text = shown.stdout_text();
            let providers = text.split_once("Reverse Provides:").map(|(_, after)| after);
            if providers.is_some_and(|providers| !providers.trim().is_empty()) {
                self.virtual_names.insert(spec.name.clone());
            }
        }
        Ok(())
    }

    fn read_policy(&mut self, text: &str) {
        let mut name = String::new();
        for line in text.lines() {
            let trimmed = line.trim();
            if !line.starts_with(' ') {
                trimmed.trim_end_matches(':').clone_into(&mut name);
                self.known.insert(name.clone());
            } else if let Some(version) = trimmed.strip_prefix("Candidate: ") {
                if version != "(none)" {
                    let candidate = Candidate {
                        version: version.into(),
                        versions: Vec::new(),
                    };
                    self.candidates.insert(name.clone(), candidate);
                }
            } else if let Some(version) = version_row(trimmed)
                && let Some(candidate) = self.candidates.get_mut(&name)
            {
                candidate.versions.push(version.to_owned());
            }
        }
    }

    pub(super) fn installed_version(&self, spec: &Spec) -> Option<&str> {
        self.installed.get(&spec.name).map(String::as_str)
    }

    /// Tells whether what is installed is what `spec` asks for.
    pub(super) fn is_satisfied(&self, spec: &Spec) -> bool {
        match (self.installed_version(spec), &spec.version) {
            (Some(_), None) => true,
            (Some(installed), Some(version)) => version.accepts(installed),
            (None, None) => self.provided.contains(&spec.name),
            (None, Some(_)) => false,
        }
    }

    pub(super) fn has_left_files(&self, spec: &Spec) -> bool {
        self.with_left_files.contains(&spec.name)
    }

    pub(super) fn is_virtual(&self, spec: &Spec) -> bool {
        spec.version.is_none() && self.virtual_names.contains(&spec.name)
    }

    pub(super) fn is_known(&self, spec: &Spec) -> bool {
        self.known.contains(&spec.name)
    }

    /// Returns what apt would install for `spec`, narrowed to the versions it accepts.
    pub(super) fn candidate(&self, spec: &Spec) -> Option<Candidate> {
        let found = self.candidates.get(&spec.name)?;
        let Some(wanted) = &spec.version else {
            return Some(found.clone());
        };
        let version = std::iter::once(&found.version)
            .chain(&found.versions)
            .find(|version| wanted.accepts(version))?;
        Some(Candidate {
            version: version.clone(),
            versions: found.versions.clone(),
        })
    }
}

impl Version {
    fn accepts(&self, version: &str) -> bool {
        match self {
            Self::Is(pattern) => NamePattern::new(pattern).matches(version.as_ref()),
            Self::AtLeast(least) => compare(version, least) != std::cmp::Ordering::Less,
        }
    }
}

/// Reads a row of the version table: ` *** 1.5 100` or `1.6 500`.
fn version_row(trimmed: &str) -> Option<&str> {
    let mut words = trimmed.trim_start_matches("*** ").split_whitespace();
    let version = words.next()?;
    let priority = words.next()?;
    let is_row = words.next().is_none()
        && priority.parse::<i32>().is_ok()
        && version.starts_with(|c: char| c.is_ascii_digit());
    is_row.then_some(version)
}

/// Compares two Debian versions (deb-version(7)): epoch, upstream version, revision.
fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let split = |text: &str| -> (u64, String, String) {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (
            epoch.parse().unwrap_or(0),
            upstream.to_owned(),
            revision.to_owned(),
        )
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| compare_part(&a.1, &b.1))
        .then_with(|| compare_part(&a.2, &b.2))
}

fn compare_part(mut a: &str, mut b: &str) -> std::cmp::Ordering {
    let order = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (first, second) = (a.chars().next(), b.chars().next());
            let is_text = |c: Option<char>| c.is_some_and(|c| !c.is_ascii_digit());
            if !is_text(first) && !is_text(second) {
                break;
            }
            let found = order(first).cmp(&order(second));
            if found.is_ne() {
                return found;
            }
            a = first.map_or(a, |c| &a[c.len_utf8()..]);
            b = second.map_or(b, |c| &b[c.len_utf8()..]);
        }
        let number = |text: &mut &str| {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            *text = rest;
            let digits = digits.trim_start_matches('0');
            (digits.len(), digits.to_owned())
        };
        let found = number(&mut a).cmp(&number(&mut b));
        if found.is_ne() {
            return found;
        }
    }
    std::cmp::Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn debian_versions_are_ordered_as_dpkg_orders_them() {
        for (a, b, expected) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.10", "1.9", Ordering::Greater),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1:0.1", "9.9", Ordering::Greater),
            ("1.0-1+deb12u1", "1.0-1", Ordering::Greater),
            ("2.0a", "2.0+b", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_wanted_version_picks_the_newest_that_fits() {
        let mut database = Database::default();
        database.read_policy(
            "jq:\n  Installed: 1.5\n  Candidate: 1.6\n  Version table:\n     1.6 500\n        500 x \
             y\n *** 1.5 100\n",
        );
        let candidate = |text: &str| {
            database
                .candidate(&Spec::parse(text).unwrap())
                .map(|candidate| candidate.version)
        };
        assert_eq!(candidate("jq"), Some("1.6".into()));
        assert_eq!(candidate("jq=1.5"), Some("1.5".into()));
        assert_eq!(candidate("jq>=1.6"), Some("1.6".into()));
        assert_eq!(candidate("jq=2.*"), None);
    }

    #[test]
    fn a_spec_with_two_versions_is_refused() {
        assert_eq!(
            Spec::parse("a=1=2"),
            Err("invalid package spec: a=1=2".into())
        );
    }
}
