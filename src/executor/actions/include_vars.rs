//! `include_vars`: variables from files of the controller.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::node::{Kind, Node};
use crate::playbook::{FileKind, Vars};
use crate::pyregex::{Flags, Pattern};
use crate::source::Mark;
use crate::template::Binding;
use crate::value::{Map, Value};

arguments! {
    /// Load variables from files, dynamically within a task.
    pub(super) struct IncludeVarsArgs for "include_vars" {
        /// A file.
        file: Option<String> {},
        /// A directory whose files are read.
        dir: Option<String> {},
        /// A variable that holds what was read.
        name: Option<String> {},
        /// How deep to go; 0 sets no limit.
        depth: i64 { default: "0" },
        /// Only files whose names match.
        files_matching: Option<String> {},
        /// Names, as expressions at their end, that are left out.
        ignore_files: Vec<String> { default: "" },
        /// The endings that count.
        extensions: Vec<String> { default: "yaml,yml,json" },
        /// Leave out files with other endings instead of failing.
        ignore_unknown_extensions: bool { default: "false" },
        /// `merge` lays dictionaries over those that are there.
        hash_behaviour: Option<String> { choices: ["replace", "merge"] },
    }
    mutually_exclusive [["file", "dir"]]
    free_form "file"
}

/// What was read so far.
#[derive(Default)]
struct Loaded {
    vars: Vars,
    files: Vec<String>,
    /// One of the files is vaulted: nothing of the result is shown.
    is_secret: bool,
}

/// Reads the files.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = IncludeVarsArgs::parse(&context.args)
        .map_err(|problem| Failure::action(problem.message))?;
    let mut loaded = Loaded::default();
    let outcome = match (&args.dir, &args.file) {
        (Some(dir), _) => load_directory(context, &args, dir, &mut loaded),
        (None, Some(file)) => load_named(context, file.trim_end_matches('\n'), &mut loaded),
        (None, None) => Err(
            "Could not find file on the Ansible Controller.\nIf you are using a module and expect \
             the file to exist on the remote, see the remote_src option"
                .to_owned(),
        ),
    };
    let failed = outcome.err();
    let is_secret = loaded.is_secret;
    let mut vars = match &args.name {
        Some(name) if failed.is_none() => nested(name, loaded.vars, &context.job.task.mark),
        _ => loaded.vars,
    };
    if args.hash_behaviour.as_deref() == Some("merge") {
        for (name, node) in &mut vars {
            if let Some(Binding::Source(under)) = context.renderer.scope.get(name) {
                *node = merged(&under, node);
            }
        }
    }
    let shown: Map = vars
        .iter()
        .map(|(name, node)| (Value::from(Arc::clone(name)), node.to_value()))
        .collect();
    let mut answer = Answer::new([
        (
            "ansible_included_var_files",
            Value::list(loaded.files.iter().map(String::as_str)),
        ),
        ("ansible_facts", shown.into()),
    ]);
    answer.no_log = is_secret;
    if let Some(message) = failed {
        answer.set("failed", true);
        answer.set("message", message);
        answer.failed = true;
        return Ok(answer);
    }
    Ok(answer.effect(Effect::IncludeVars(Arc::new(vars))))
}

/// Wraps variables as one dictionary.
fn nested(name: &str, vars: Vars, mark: &Mark) -> Vars {
    let pairs = vars
        .into_iter()
        .map(|(key, node)| (Node::text(node.mark.clone(), key), node))
        .collect();
    let whole = Node::new(mark.clone(), Kind::Map(Arc::new(pairs)));
    [(Arc::from(name), whole)].into_iter().collect()
}

/// Lays a dictionary over another one, also inside; anything else replaces what was there.
fn merged(under: &Node, over: &Node) -> Node {
    let (Some(below), Some(above)) = (under.as_map(), over.as_map()) else {
        return over.clone();
    };
    let mut pairs = below.to_vec();
    for (key, value) in above {
        match pairs.iter_mut().find(|(known, _)| known.kind == key.kind) {
            Some((_, known)) => *known = merged(known, value),
            None => pairs.push((key.clone(), value.clone())),
        }
    }
    Node::new(over.mark.clone(), Kind::Map(Arc::new(pairs)))
}

fn load_named(context: &ActionContext<'_>, name: &str, loaded: &mut Loaded) -> Result<(), String> {
    let path = context
        .find_file("vars", name)
        .map_err(|failure| failure.brief())?;
    load(context, &path, loaded)
}

fn load(context: &ActionContext<'_>, path: &Path, loaded: &mut Loaded) -> Result<(), String> {
    let file = context
        .job
        .world
        .files
        .read(path)
        .map_err(|error| error.message)?;
    let document = crate::yaml::parse(&file)
        .map_err(|errors| errors.first().map(ToString::to_string).unwrap_or_default())?;
    if !matches!(document.root.kind, Kind::Null | Kind::Map(_)) {
        return Err(format!(
            "{} must be stored as a dictionary/hash",
            path.display()
        ));
    }
    let vars = crate::playbook::variables_of(&document.root).map_err(|error| error.message)?;
    loaded.vars.extend(vars);
    loaded.is_secret |= context.job.world.files.is_vaulted(path);
    loaded.files.push(path.display().to_string());
    Ok(())
}

fn load_directory(
    context: &ActionContext<'_>,
    args: &IncludeVarsArgs,
    dir: &str,
    loaded: &mut Loaded,
) -> Result<(), String> {
    let root = directory(context, dir);
    match context.job.world.files.kind(&root) {
        Some(FileKind::Directory) => {}
        Some(FileKind::File) => return Err(format!("{} is not a directory", root.display())),
        None => return Err(format!("{} directory does not exist", root.display())),
    }
    let filter = Filter::new(args)?;
    let mut paths = Vec::new();
    list(context, &root, 1, args.depth, &mut paths);
    let main = context
        .job
        .task
        .role()
        .map(|role| role.path.join("vars/main.yml"));
    for path in paths {
        if main.as_ref() == Some(&path) || !filter.wants(&path) {
            continue;
        }
        if !filter.knows_ending(&path) {
            if args.ignore_unknown_extensions {
                continue;
            }
            return Err(format!(
                "{} does not have a valid extension: {}",
                path.display(),
                args.extensions.join(", ")
            ));
        }
        load(context, &path, loaded)?;
    }
    Ok(())
}

/// Returns where a directory is: in the role's `vars`, or beside the task's file.
fn directory(context: &ActionContext<'_>, dir: &str) -> PathBuf {
    let beside = match context.job.task.role() {
        Some(role) if dir.split('/').next() == Some("vars") => {
            let inside = role.path.join(dir);
            if inside.exists() {
                inside
            } else {
                PathBuf::from(dir)
            }
        }
        Some(role) => role.path.join("vars").join(dir),
        None => {
            let file = Path::new(&context.job.task.mark.file.name);
            file.parent().unwrap_or(Path::new("")).join(dir)
        }
    };
    context.job.world.options.working_directory.join(beside)
}

/// Lists the files of a directory, then of those inside it, each sorted.
fn list(
    context: &ActionContext<'_>,
    directory: &Path,
    level: i64,
    depth: i64,
    found: &mut Vec<PathBuf>,
) {
    if depth != 0 && level > depth {
        return;
    }
    let files = &context.job.world.files;
    let paths: Vec<_> = files
        .list(directory)
        .into_iter()
        .map(|name| directory.join(name))
        .collect();
    let is_directory = |path: &PathBuf| files.kind(path) == Some(FileKind::Directory);
    found.extend(paths.iter().filter(|path| !is_directory(path)).cloned());
    for inside in paths.iter().filter(|path| is_directory(path)) {
        list(context, inside, level + 1, depth, found);
    }
}

/// Which files of a directory count.
struct Filter<'a> {
    matching: Option<Pattern>,
    ignored: Vec<Pattern>,
    extensions: &'a [String],
}

impl<'a> Filter<'a> {
    fn new(args: &'a IncludeVarsArgs) -> Result<Self, String> {
        let compile = |pattern: &str| {
            Pattern::text(pattern, Flags::default())
                .map_err(|_| format!("Invalid regular expression: {pattern}"))
        };
        Ok(Self {
            matching: args.files_matching.as_deref().map(compile).transpose()?,
            ignored: args
                .ignore_files
                .iter()
                .filter(|pattern| !pattern.is_empty())
                .map(|pattern| compile(&format!("{pattern}$")))
                .collect::<Result<_, _>>()?,
            extensions: &args.extensions,
        })
    }

    fn wants(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_match = |pattern: &Pattern| matches!(pattern.search(&*name), Ok(Some(_)));
        self.matching.as_ref().is_none_or(is_match) && !self.ignored.iter().any(is_match)
    }

    fn knows_ending(&self, path: &Path) -> bool {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        self.extensions.iter().any(|known| *known == *ending)
    }
}
