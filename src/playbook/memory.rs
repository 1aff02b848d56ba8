//! A file tree, a catalog and a template engine in memory, for the checks of this room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::{Catalog, Context, FileKind, Files, TaskIds, Templates};
use super::layer::Vars;
use crate::arguments;
use crate::arguments::ArgumentSpec;
use crate::error::Error;
use crate::node::Node;
use crate::source::SourceFile;
use crate::value::Map;

arguments! {
    /// Copies.
    pub(super) struct CopyArgs for "copy" {
        /// From.
        src: Option<String> {},
        /// To.
        dest: Option<String> {},
        /// Text.
        content: Option<String> {},
    }
}

arguments! {
    /// Prints.
    pub(super) struct DebugArgs for "debug" {
        /// Text.
        msg: Option<String> {},
        /// Variable.
        var: Option<String> {},
    }
}

arguments! {
    /// Runs.
    pub(super) struct CommandArgs for "command" {
        /// The command.
        cmd: Option<String> {},
        /// The directory.
        chdir: Option<String> {},
    }
    free_form "cmd"
}

arguments! {
    /// Sets facts.
    pub(super) struct SetFactArgs for "set_fact" {
        /// Kept.
        cacheable: bool { default: "false" },
    }
}

/// Files by absolute path.
pub(super) struct Memory(pub(super) BTreeMap<PathBuf, String>);

impl Memory {
    /// Makes a tree under `/p`, the playbook's directory.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| (Path::new("/p").join(path), (*text).to_owned()))
                .collect(),
        )
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            files: self,
            templates: &Braces,
            catalog: &Few,
            roles_path: vec![PathBuf::from("/roles")],
            collections_path: vec![PathBuf::from("/collections")],
            module_path: vec![PathBuf::from("/modules")],
            working_directory: PathBuf::from("/p"),
            home: Some(PathBuf::from("/home/me")),
            yaml: crate::yaml::ReadOptions::default(),
            private_role_vars: None,
            unknown_keyword_fails: true,
            ids: TaskIds::default(),
        }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>, Error> {
        let text = self
            .0
            .get(path)
            .ok_or_else(|| Error::content(format!("could not read `{}`", path.display())))?;
        let name = path.strip_prefix("/p").unwrap_or(path);
        Ok(SourceFile::new(name.to_string_lossy(), text.as_str()))
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        if self.0.contains_key(path) {
            return Some(FileKind::File);
        }
        self.0
            .keys()
            .any(|known| known.starts_with(path))
            .then_some(FileKind::Directory)
    }

    fn list(&self, directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = self
            .0
            .keys()
            .filter_map(|path| path.strip_prefix(directory).ok())
            .filter_map(|rest| rest.components().next())
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        names
    }
}

/// Knows `{{ name }}` and nothing else.
struct Braces;

impl Templates for Braces {
    fn check(&self, node: &Node) -> Vec<Error> {
        let text = node.to_value().to_string();
        let open = text.matches("{{").count() == text.matches("}}").count();
        let error = Error::content("template syntax error").at(&node.mark);
        (!open).then_some(error).into_iter().collect()
    }

    fn check_condition(&self, node: &Node) -> Vec<Error> {
        let text = node.to_value().to_string();
        let error = Error::content(format!("`{text}` is no condition")).at(&node.mark);
        text.ends_with("==").then_some(error).into_iter().collect()
    }

    fn render_name(&self, node: &Node, layers: &[Arc<Vars>]) -> Result<String, Error> {
        let mut text = node.to_value().to_string();
        while let Some((before, rest)) = text.clone().split_once("{{") {
            let (name, after) = rest.split_once("}}").unwrap_or((rest, ""));
            let name = name.trim();
            let value = layers
                .iter()
                .find_map(|layer| layer.get(name))
                .ok_or_else(|| Error::content(format!("'{name}' is undefined")))?;
            text = format!("{before}{}{after}", value.to_value());
        }
        Ok(text)
    }
}

/// A few modules and lookups.
struct Few;

const MODULES: &[(&str, &ArgumentSpec)] = &[
    ("ansible.posix.mount", &CopyArgs::SPEC),
    ("command", &CommandArgs::SPEC),
    ("copy", &CopyArgs::SPEC),
    ("debug", &DebugArgs::SPEC),
    ("set_fact", &SetFactArgs::SPEC),
];

impl Catalog for Few {
    fn module(&self, name: &str) -> Option<&'static ArgumentSpec> {
        MODULES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, spec)| *spec)
    }

    fn modules(&self) -> Vec<&'static str> {
        MODULES.iter().map(|(name, _)| *name).collect()
    }

    fn has_lookup(&self, name: &str) -> bool {
        self.lookups().contains(&name)
    }

    fn lookups(&self) -> Vec<&'static str> {
        vec!["items", "dict", "fileglob"]
    }
}

/// Loads `site.yml` of a tree.
pub(super) fn load(files: &[(&str, &str)]) -> Result<super::Playbook, Vec<Error>> {
    let memory = Memory::new(files);
    super::load(Path::new("site.yml"), &memory.context())
}

/// Shows errors as `file:line:column message (help)`.
pub(super) fn show(errors: &[Error]) -> Vec<String> {
    errors
        .iter()
        .map(|error| {
            let mark = error.mark.as_ref().map(ToString::to_string);
            let help = error.help.as_ref().map(|help| format!(" ({help})"));
            format!(
                "{} {}{}",
                mark.unwrap_or_default(),
                error.message,
                help.unwrap_or_default()
            )
        })
        .collect()
}

/// Checks that `CommandArgs` and its like are whole.
#[test]
fn the_few_modules_take_their_options() {
    let given: Map = [("cmd".into(), "ls".into())].into_iter().collect();
    let args = CommandArgs::parse(&given).expect("cmd is an option");
    assert_eq!((args.cmd.as_deref(), args.chdir), (Some("ls"), None));
    let given: Map = [("msg".into(), "hi".into())].into_iter().collect();
    let args = DebugArgs::parse(&given).expect("msg is an option");
    assert_eq!((args.msg.as_deref(), args.var), (Some("hi"), None));
    let args = CopyArgs::parse(&Map::new()).expect("no option is required");
    assert_eq!((args.src, args.dest, args.content), (None, None, None));
    let args = SetFactArgs::parse(&Map::new()).expect("no option is required");
    assert!(!args.cacheable);
}
