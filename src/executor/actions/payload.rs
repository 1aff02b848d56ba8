//! A Python module with everything it imports, as one archive that a Python runs.
//!
//! Of `ansible.module_utils` and of collections only what is imported is sent, found by reading
//! the import statements; it runs nothing.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use crate::playbook::ExternalModule;

/// What the start of a module needs, beside what modules import themselves; an ansible-core that
/// lacks one does without.
const ALWAYS: [&str; 4] = [
    "ansible.module_utils.basic",
    "ansible.module_utils._internal._ansiballz._loader",
    "ansible.module_utils._internal._json._profiles._module_legacy_c2m",
    "ansible.module_utils._internal._json._profiles._module_legacy_m2c",
];

/// Makes the archive of a module whose text is `source`; `core` is an installed package
/// `ansible`.
pub(super) fn payload(
    module: &ExternalModule,
    source: &[u8],
    core: &Path,
) -> Result<(Vec<u8>, String), String> {
    let entry = entry(module);
    let mut closure = Closure {
        module,
        core,
        files: BTreeMap::new(),
    };
    for package in ["ansible", "ansible.module_utils"] {
        closure.add(&path_of(package, true), Vec::new());
    }
    closure.add_module(&entry, source);
    for name in ALWAYS {
        closure.follow(name);
    }
    let archive = closure.archive().map_err(|error| error.to_string())?;
    Ok((archive, entry))
}

/// Returns the dotted name a module goes by: its collection's, or that of a local one.
fn entry(module: &ExternalModule) -> String {
    let path = module.path.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    match parts.iter().rposition(|part| part == "ansible_collections") {
        Some(start) => parts[start..].join("."),
        None => format!("ansible.legacy.{}", module.name),
    }
}

struct Closure<'a> {
    module: &'a ExternalModule,
    core: &'a Path,
    files: BTreeMap<String, Vec<u8>>,
}

impl Closure<'_> {
    fn add_module(&mut self, entry: &str, source: &[u8]) {
        self.add_packages(entry);
        self.add(&path_of(entry, false), source.to_vec());
        self.follow_imports(entry, false, source);
    }

    /// Adds empty packages above a name.
    fn add_packages(&mut self, name: &str) {
        for (dot, _) in name.match_indices('.') {
            let path = path_of(&name[..dot], true);
            self.files.entry(path).or_default();
        }
    }

    fn add(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), bytes);
    }

    /// Adds what a dotted name means, where it means a file, and what that imports.
    fn follow(&mut self, name: &str) -> bool {
        if self.files.contains_key(&path_of(name, false)) {
            return true;
        }
        let Some((path, is_package)) = self.find(name) else {
            return false;
        };
        let inside = path_of(name, is_package);
        if self
            .files
            .get(&inside)
            .is_some_and(|known| !known.is_empty())
        {
            return true;
        }
        let Ok(bytes) = std::fs::read(&path) else {
            return false;
        };
        if let Some((above, _)) = name.rsplit_once('.')
            && above != "ansible.module_utils"
            && !self.files.contains_key(&path_of(above, true))
        {
            self.follow(above);
        }
        self.add_packages(name);
        self.add(&inside, bytes.clone());
        self.follow_imports(name, is_package, &bytes);
        true
    }

    /// Finds the file behind a dotted name; true for a package.
    fn find(&self, name: &str) -> Option<(PathBuf, bool)> {
        let bases: Vec<PathBuf> = if let Some(rest) = name.strip_prefix("ansible.module_utils.") {
            let below = rest.replace('.', "/");
            let own = self.module.utilities.iter().map(|root| root.join(&below));
            let core = self.core.join("module_utils").join(&below);
            own.chain([core]).collect()
        } else if name.starts_with("ansible_collections.") && name.matches('.').count() >= 4 {
            let below = name.replace('.', "/");
            let roots = self.module.collections.iter();
            roots.map(|root| root.join(&below)).collect()
        } else {
            return None;
        };
        bases.iter().find_map(|base| {
            let file = PathBuf::from(format!("{}.py", base.display()));
            let package = base.join("__init__.py");
            if package.is_file() {
                Some((package, true))
            } else {
                file.is_file().then_some((file, false))
            }
        })
    }

    fn follow_imports(&mut self, name: &str, is_package: bool, source: &[u8]) {
        for (from, names) in imports(&String::from_utf8_lossy(source)) {
            let Some(from) = absolute(&from, name, is_package) else {
                continue;
            };
            self.follow(&from);
            for name in names {
                self.follow(&format!("{from}.{name}"));
            }
        }
    }

    fn archive(self) -> zip::result::ZipResult<Vec<u8>> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (path, bytes) in self.files {
            writer.start_file(path, options)?;
            writer.write_all(&bytes)?;
        }
        Ok(writer.finish()?.into_inner())
    }
}

fn path_of(name: &str, is_package: bool) -> String {
    let end = if is_package { "/__init__.py" } else { ".py" };
    name.replace('.', "/") + end
}

/// Returns the import statements of a text: what is imported from, and the names.
fn imports(source: &str) -> Vec<(String, Vec<String>)> {
    let whole = source.replace("\\\n", " ");
    let mut found = Vec::new();
    let mut lines = whole.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if let Some(names) = line.strip_prefix("import ") {
            let modules = names.split(',').filter_map(first_word);
            found.extend(modules.map(|name| (name, Vec::new())));
        } else if let Some((from, names)) = line
            .strip_prefix("from ")
            .and_then(|rest| rest.split_once(" import "))
        {
            let mut names = without_comment(names).to_owned();
            while names.contains('(') && !names.contains(')') {
                let Some(more) = lines.next() else { break };
                names.push_str(without_comment(more));
            }
            let names = names.replace(['(', ')'], " ");
            let names = names.split(',').filter_map(first_word).collect();
            found.push((from.trim().to_owned(), names));
        }
    }
    found
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

fn first_word(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    Some(word.trim_end_matches(';').to_owned())
}

/// Resolves the dots at the start of an import in the module or package `name`.
fn absolute(from: &str, name: &str, is_package: bool) -> Option<String> {
    let rest = from.trim_start_matches('.');
    let dots = from.len() - rest.len();
    if dots == 0 {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = name.split('.').collect();
    let up = if is_package { dots - 1 } else { dots };
    parts.truncate(parts.len().checked_sub(up)?);
    if !rest.is_empty() {
        parts.push(rest);
    }
    Some(parts.join("."))
}

/// Tells whether a module is of Python and imports `module_utils`.
pub(super) fn is_python(source: &str) -> bool {
    source.contains("#<<INCLUDE_ANSIBLE_MODULE_COMMON>>")
        || source.lines().any(|line| {
            let line = line.trim_start();
            let is = |start: &str, part: &str| line.starts_with(start) && line.contains(part);
            is("from ansible.module_utils", " import ")
                || is("import ansible.module_utils.", "")
                || is("from ansible_collections.", ".plugins.module_utils")
                || is("import ansible_collections.", ".plugins.module_utils")
                || is("from ..", "module_utils")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_statements_are_read_over_lines_and_blocks() {
        let source = "import os, ansible.module_utils.a as b\ntry:\n    from ansible.module_utils.c \
                      import (  # why\n        D,\n        e as f,\n    )\nexcept ImportError:\n    \
                      pass\nfrom ..g import h  # noqa\n";
        let name = |text: &str| text.to_owned();
        assert_eq!(
            imports(source),
            [
                (name("os"), vec![]),
                (name("ansible.module_utils.a"), vec![]),
                (name("ansible.module_utils.c"), vec![name("D"), name("e")]),
                (name("..g"), vec![name("h")]),
            ]
        );
    }

    #[test]
    fn a_relative_import_starts_at_its_package() {
        let inside = |from, package| absolute(from, "a.b.c", package);
        assert_eq!(inside(".d", false).as_deref(), Some("a.b.d"));
        assert_eq!(inside(".d", true).as_deref(), Some("a.b.c.d"));
        assert_eq!(inside("..", false).as_deref(), Some("a"));
        assert_eq!(inside("x.y", false).as_deref(), Some("x.y"));
        assert_eq!(inside(".....", false), None);
    }

    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    fn put_under(root: &Path) -> impl Fn(&str, &str) + '_ {
        move |path, text| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_archive_holds_what_is_imported_and_the_role_s_own_first() {
        let root = tempfile::tempdir().unwrap();
        let put = put_under(root.path());
        put("core/module_utils/basic.py", "from .deep.er import x\n");
        put("core/module_utils/deep/__init__.py", "import os\n");
        put("core/module_utils/deep/er.py", "x = 1\n");
        put("core/module_utils/mine.py", "core");
        put("core/module_utils/unused.py", "");
        put("role/mine.py", "role");
        let module = ExternalModule {
            name: "thing".into(),
            path: root.path().join("library/thing.py"),
            utilities: vec![root.path().join("role")],
            collections: Vec::new(),
        };
        let source = b"from ansible.module_utils.mine import y\n";
        let (archive, entry) = payload(&module, source, &root.path().join("core")).unwrap();
        assert_eq!(entry, "ansible.legacy.thing");
        let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        let names: Vec<_> = (0..archive.len())
            .map(|index| {
                archive
                    .by_index(index)
                    .unwrap()
                    .name()
                    .unwrap()
                    .into_owned()
            })
            .collect();
        assert_eq!(
            names,
            [
                "ansible/__init__.py",
                "ansible/legacy/__init__.py",
                "ansible/legacy/thing.py",
                "ansible/module_utils/__init__.py",
                "ansible/module_utils/basic.py",
                "ansible/module_utils/deep/__init__.py",
                "ansible/module_utils/deep/er.py",
                "ansible/module_utils/mine.py",
            ]
        );
        let mut text = String::new();
        let mut file = archive.by_name("ansible/module_utils/mine.py").unwrap();
        std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!(text, "role");
    }
}
