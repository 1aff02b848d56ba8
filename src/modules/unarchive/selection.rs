//! Which members of an archive are unpacked, and under which names.

use std::path::{Path, PathBuf};

use super::super::archive::{Entry, EntryKind, Format};
use super::super::glob::NamePattern;
use super::UnarchiveArgs;
use super::extra::Extra;

/// What `include`, `exclude` and the renaming options ask for.
pub(super) struct Selection {
    include: Vec<Wanted>,
    exclude: Vec<NamePattern>,
    format: Format,
    strip_components: usize,
    junk_paths: bool,
}

struct Wanted {
    text: String,
    pattern: Option<NamePattern>,
}

impl Selection {
    pub(super) fn new(args: &UnarchiveArgs, extra: &Extra, format: Format) -> Self {
        let include = args.include.iter().map(|name| Wanted {
            text: name.trim_end_matches('/').to_owned(),
            // unzip takes names for patterns, tar does when it is asked to.
            pattern: (format == Format::Zip || extra.wildcards).then(|| NamePattern::new(name)),
        });
        let exclude = args.exclude.iter().chain(&extra.exclude);
        Self {
            include: include.collect(),
            exclude: exclude
                .map(|pattern| match format {
                    Format::Zip => NamePattern::new(pattern),
                    Format::Tar(_) => NamePattern::new(pattern.trim_end_matches('/')),
                })
                .collect(),
            format,
            strip_components: extra.strip_components,
            junk_paths: extra.junk_paths,
        }
    }

    /// Tells whether nothing is left out on request.
    pub(super) fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.strip_components == 0
    }

    /// Returns the member under the path it is unpacked at, when it is one to unpack.
    pub(super) fn select(&self, entry: &Entry) -> Option<Entry> {
        let is_included =
            self.include.is_empty() || self.include.iter().any(|wanted| wanted.matches(entry));
        if !is_included || self.is_excluded(entry) {
            return None;
        }
        let mut entry = entry.clone();
        entry.path = self.renamed(&entry.path)?;
        if let EntryKind::HardLink(target) = &entry.kind {
            entry.kind = EntryKind::HardLink(self.renamed(target)?);
        }
        // The destination itself is as its owner wants it.
        (!entry.path.as_os_str().is_empty()).then_some(entry)
    }

    fn is_excluded(&self, entry: &Entry) -> bool {
        let name = entry.name.trim_start_matches('/');
        self.exclude.iter().any(|pattern| match self.format {
            Format::Zip => pattern.matches(name.as_ref()),
            Format::Tar(_) => excludes(pattern, &entry.path),
        })
    }

    fn renamed(&self, path: &Path) -> Option<PathBuf> {
        if self.junk_paths {
            return path.file_name().map(PathBuf::from);
        }
        let mut components = path.components();
        for _ in 0..self.strip_components {
            components.next()?;
        }
        Some(components.as_path().to_owned())
    }

    /// Returns a member's name for the list of files.
    pub(super) fn shown_name(&self, entry: &Entry) -> String {
        if self.strip_components == 0 && !self.junk_paths {
            return entry.name.trim_start_matches('/').to_owned();
        }
        let slash = match entry.kind {
            EntryKind::Directory => "/",
            _ => "",
        };
        format!("{}{slash}", entry.path.display())
    }

    /// Returns an included name that the archive does not have; only tar minds.
    pub(super) fn missing(&self, names: &[String]) -> Option<&str> {
        if self.format == Format::Zip || self.strip_components > 0 {
            return None;
        }
        self.include
            .iter()
            .find(|wanted| !names.iter().any(|name| wanted.matches_name(name)))
            .map(|wanted| wanted.text.as_str())
    }
}

impl Wanted {
    fn matches(&self, entry: &Entry) -> bool {
        self.matches_name(&entry.name)
    }

    fn matches_name(&self, name: &str) -> bool {
        let name = name.trim_start_matches('/');
        if let Some(pattern) = &self.pattern {
            return pattern.matches(name.as_ref()) || name == self.text;
        }
        let name = name.trim_start_matches("./").trim_end_matches('/');
        let wanted = self.text.trim_start_matches("./");
        name == wanted
            || name
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Tells whether tar leaves a path out: the pattern matches it, a directory above it, or either
/// from any component on.
fn excludes(pattern: &NamePattern, path: &Path) -> bool {
    path.ancestors()
        .filter(|above| !above.as_os_str().is_empty())
        .any(|above| {
            let mut rest = above.components();
            loop {
                if rest.as_path().as_os_str().is_empty() {
                    return false;
                }
                if pattern.matches(rest.as_path().as_os_str()) {
                    return true;
                }
                rest.next();
            }
        })
}
