//! `copy`, `template`, `script`, `unarchive`, `assemble`: files of the controller that a module
//! of the target needs. They are offered by digest, so only what is missing there is sent.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{ActionContext, Answer};
use crate::arguments::{ArgumentSpec, FileAttributes, OptionType, Parameter};
use crate::executor::content::content_option;
use crate::executor::failure::Failure;
use crate::executor::world::Overlay;
use crate::lookups;
use crate::machine::ContentId;
use crate::template::{Binding, Layers, Scope, TemplateOptions};
use crate::value::{JsonStyle, Map, Value, to_json};

/// Options that only the controller's half of `copy` reads.
const COPY_ONLY: [&str; 5] = [
    "src",
    "content",
    "decrypt",
    "local_follow",
    "directory_mode",
];

/// Copies a file, a directory, or text.
pub(super) async fn copy(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    if context.flag("remote_src", false) {
        return context.call_module("copy").await;
    }
    let source = context.text("src").filter(|source| !source.is_empty());
    let content = context
        .args
        .get("content")
        .filter(|value| !matches!(value, Value::Null))
        .cloned();
    let Some(dest) = context.text("dest") else {
        return Ok(Answer::failed("dest is required"));
    };
    match (source, content) {
        (None, None) => Ok(Answer::failed("src (or content) is required")),
        (Some(_), Some(_)) => Ok(Answer::failed("src and content are mutually exclusive")),
        (None, Some(_)) if dest.ends_with('/') => {
            Ok(Answer::failed("can not use content with a dir as dest"))
        }
        (None, Some(content)) => {
            let offer = context.job.world.contents.offer_bytes(text_of(&content));
            let args = copy_args(context, &offer, None);
            context.module("copy", args).await
        }
        (Some(source), None) => {
            let found = context
                .find_file("files", &source)
                .map_err(|failure| Failure::action(failure.brief()))?;
            if found.is_dir() {
                return copy_directory(context, &found, source.ends_with('/'), &dest).await;
            }
            copy_file(context, &found, Map::new()).await
        }
    }
}

/// Returns what `content` writes: a structure as JSON, everything else as it prints.
fn text_of(content: &Value) -> Vec<u8> {
    match content {
        Value::Map(_) | Value::List(_) => to_json(content, JsonStyle::default()).into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// Copies one file; `changes` replace options.
async fn copy_file(
    context: &mut ActionContext<'_>,
    path: &Path,
    changes: Map,
) -> Result<Answer, Failure> {
    let offer = offer(context, path)?;
    let mut args = copy_args(context, &offer, Some(path));
    preserve_mode(&mut args, path);
    args.extend(changes);
    context.module("copy", args).await
}

fn offer(context: &ActionContext<'_>, path: &Path) -> Result<ContentId, Failure> {
    let decrypt = context.flag("decrypt", true);
    let offered = context.job.world.contents.offer_file(path, decrypt);
    offered
        .map_err(|error| Failure::action(format!("could not find src={}, {error}", path.display())))
}

/// Returns the module's options: the task's, with the content in place of the source.
fn copy_args(context: &ActionContext<'_>, offer: &ContentId, path: Option<&Path>) -> Map {
    let mut args = context.args.clone();
    for name in COPY_ONLY {
        args.shift_remove(name);
    }
    args.insert("_content".into(), content_option(offer));
    if let Some(name) = path.and_then(Path::file_name) {
        let name = name.to_string_lossy();
        args.insert("_original_basename".into(), (*name).into());
    }
    args
}

/// Turns `mode: preserve` into the mode of the controller's file.
fn preserve_mode(args: &mut Map, path: &Path) {
    if args.get("mode").and_then(Value::as_str) != Some("preserve") {
        return;
    }
    if let Ok(metadata) = std::fs::metadata(path) {
        let mode = metadata.permissions().mode() & 0o7777;
        args.insert("mode".into(), format!("0{mode:03o}").into());
    }
}

/// Something found under a directory that is copied.
enum Entry {
    File(PathBuf),
    Directory,
    Link(PathBuf),
}

/// Copies a directory: its files, the directories without any, and links as links unless
/// `local_follow`.
async fn copy_directory(
    context: &mut ActionContext<'_>,
    source: &Path,
    contents_only: bool,
    dest: &str,
) -> Result<Answer, Failure> {
    let top = match source.file_name() {
        Some(name) if !contents_only => PathBuf::from(name),
        _ => PathBuf::new(),
    };
    let follow = context.flag("local_follow", true);
    let mut entries = Vec::new();
    walk(source, &top, follow, &mut entries)
        .map_err(|error| Failure::action(format!("cannot read {}: {error}", source.display())))?;
    let dest = Path::new(dest);
    let mut changed = false;
    let mut warnings = Vec::new();
    for (relative, entry) in entries {
        let target = dest.join(&relative).to_string_lossy().into_owned();
        let answer = match entry {
            Entry::File(path) => {
                make_parent(context, dest, &relative, &mut changed).await?;
                let change = |name: &str, value: Value| (Value::from(name), value);
                let changes = [
                    change("dest", target.into()),
                    change("follow", false.into()),
                ];
                copy_file(context, &path, changes.into_iter().collect()).await?
            }
            Entry::Directory => directory(context, &target).await?,
            Entry::Link(to) => link(context, &target, &to).await?,
        };
        if answer.failed {
            return Ok(answer);
        }
        changed |= answer.result.get("changed").is_some_and(Value::is_truthy);
        if let Some(Value::List(told)) = answer.result.get("warnings") {
            warnings.extend(told.iter().cloned());
        }
    }
    let mut answer = Answer::new([
        ("changed", changed.into()),
        ("src", source.to_string_lossy().as_ref().into()),
        ("dest", dest.to_string_lossy().as_ref().into()),
    ]);
    if !warnings.is_empty() {
        answer.set("warnings", warnings);
    }
    Ok(answer)
}

/// Makes the directories of a file on its way, with `directory_mode`.
async fn make_parent(
    context: &mut ActionContext<'_>,
    dest: &Path,
    relative: &Path,
    changed: &mut bool,
) -> Result<(), Failure> {
    let parent = match relative.parent() {
        Some(parent) => dest.join(parent),
        None => dest.to_owned(),
    };
    let parent = parent.to_string_lossy().into_owned();
    if context.made_directories.contains(&parent) {
        return Ok(());
    }
    let answer = directory(context, &parent).await?;
    if answer.failed {
        let msg = answer.result.get("msg").map(Value::to_string);
        return Err(Failure::action(msg.unwrap_or_default()));
    }
    *changed |= answer.result.get("changed").is_some_and(Value::is_truthy);
    context.made_directories.insert(parent);
    Ok(())
}

fn walk(
    directory: &Path,
    relative: &Path,
    follow: bool,
    found: &mut Vec<(PathBuf, Entry)>,
) -> std::io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    if names.is_empty() {
        found.push((relative.to_owned(), Entry::Directory));
    }
    for name in names {
        let path = directory.join(&name);
        let relative = relative.join(&name);
        if path.is_symlink() && !follow {
            found.push((relative, Entry::Link(std::fs::read_link(&path)?)));
        } else if path.is_dir() {
            walk(&path, &relative, follow, found)?;
        } else {
            found.push((relative, Entry::File(path)));
        }
    }
    Ok(())
}

/// Returns the options that `file` shares with `copy`.
fn file_args(context: &ActionContext<'_>, path: &str) -> Map {
    const SHARED: [&str; 9] = [
        "owner",
        "group",
        "attributes",
        "selevel",
        "serole",
        "setype",
        "seuser",
        "unsafe_writes",
        "attr",
    ];
    let mut args: Map = context
        .args
        .iter()
        .filter(|(key, _)| key.as_str().is_some_and(|key| SHARED.contains(&key)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    args.insert("path".into(), path.into());
    args
}

async fn directory(context: &mut ActionContext<'_>, path: &str) -> Result<Answer, Failure> {
    let mut args = file_args(context, path);
    args.insert("state".into(), "directory".into());
    if let Some(mode) = context.args.get("directory_mode") {
        args.insert("mode".into(), mode.clone());
    }
    context.module("file", args).await
}

async fn link(context: &mut ActionContext<'_>, path: &str, to: &Path) -> Result<Answer, Failure> {
    let mut args = file_args(context, path);
    args.insert("state".into(), "link".into());
    args.insert("src".into(), to.to_string_lossy().as_ref().into());
    args.insert("force".into(), true.into());
    args.insert("follow".into(), false.into());
    context.module("file", args).await
}

/// The options of `template`: those of its own, and those `copy` has too.
pub(super) const TEMPLATE: ArgumentSpec = ArgumentSpec::new(
    "template",
    &["Template a file out to a target host."],
    &[
        Parameter::new(
            "src",
            OptionType::Text,
            &["The template on the controller."],
        )
        .required(),
        Parameter::new(
            "dest",
            OptionType::Text,
            &["Where to put what it renders to."],
        )
        .required(),
        Parameter::new(
            "backup",
            OptionType::Boolean,
            &["Keep the old file under a name with a time stamp."],
        )
        .default("false"),
        Parameter::new(
            "force",
            OptionType::Boolean,
            &["Replace a file that is there."],
        )
        .default("true"),
        Parameter::new("follow", OptionType::Boolean, &["Write through a link."]).default("false"),
        Parameter::new(
            "validate",
            OptionType::Text,
            &["A command that checks the file before it is put in place."],
        ),
        Parameter::new(
            "newline_sequence",
            OptionType::Text,
            &["The end of a line in what is rendered."],
        )
        .default("\n"),
        Parameter::new(
            "block_start_string",
            OptionType::Text,
            &["What starts a block."],
        ),
        Parameter::new(
            "block_end_string",
            OptionType::Text,
            &["What ends a block."],
        ),
        Parameter::new(
            "variable_start_string",
            OptionType::Text,
            &["What starts an expression."],
        ),
        Parameter::new(
            "variable_end_string",
            OptionType::Text,
            &["What ends an expression."],
        ),
        Parameter::new(
            "comment_start_string",
            OptionType::Text,
            &["What starts a comment."],
        ),
        Parameter::new(
            "comment_end_string",
            OptionType::Text,
            &["What ends a comment."],
        ),
        Parameter::new(
            "trim_blocks",
            OptionType::Boolean,
            &["Remove the newline after a block."],
        )
        .default("true"),
        Parameter::new(
            "lstrip_blocks",
            OptionType::Boolean,
            &["Remove the white space before a block."],
        )
        .default("false"),
        Parameter::new(
            "output_encoding",
            OptionType::Text,
            &["The encoding of what is written; only UTF-8."],
        )
        .default("utf-8")
        .choices(&["utf-8", "UTF-8", "utf8"]),
    ],
    FileAttributes::PARAMETERS,
);

/// Options that only the controller's half of `template` reads.
const TEMPLATE_ONLY: [&str; 11] = [
    "src",
    "newline_sequence",
    "block_start_string",
    "block_end_string",
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "trim_blocks",
    "lstrip_blocks",
    "output_encoding",
];

/// Renders a template and copies what it renders to.
pub(super) async fn template(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let mut given = TEMPLATE
        .resolve(&context.args)
        .map_err(|problem| Failure::action(problem.message))?;
    let mut read = |name: &'static str| -> Result<String, Failure> {
        given
            .take(name)
            .map_err(|problem| Failure::action(problem.message))
    };
    let about = Rendering {
        source: read("src")?,
        dest: read("dest")?,
        newline: newline(&read("newline_sequence")?),
    };
    let path = context
        .find_file("templates", &about.source)
        .map_err(|failure| Failure::action(failure.brief()))?;
    let text = render(context, &about, &path)?;
    let offer = context.job.world.contents.offer_bytes(text.into_bytes());
    let mut given = copy_args(context, &offer, Some(&path));
    for name in TEMPLATE_ONLY {
        given.shift_remove(name);
    }
    preserve_mode(&mut given, &path);
    context.module("copy", given).await
}

/// What a template is told about itself.
struct Rendering {
    source: String,
    dest: String,
    newline: String,
}

fn render(context: &ActionContext<'_>, about: &Rendering, path: &Path) -> Result<String, Failure> {
    let file = context.job.world.files.read(path)?;
    let mut settings = Map::new();
    for name in TEMPLATE_ONLY {
        if name != "src"
            && name != "output_encoding"
            && let Some(value) = context.args.get(name)
        {
            settings.insert(name.into(), value.clone());
        }
    }
    settings.insert("newline_sequence".into(), about.newline.as_str().into());
    let mut told = lookups::template_variables(&about.source, path, Some(&about.dest));
    if context.renderer.variable("ansible_managed")?.is_none() {
        told.insert("ansible_managed".into(), "Ansible managed".into());
    }
    let told: Overlay = told
        .into_iter()
        .map(|(name, value)| (name.to_string().into(), Binding::Final(value)))
        .collect();
    let scope = Layers::new([&told as &dyn Scope, context.renderer.scope]);
    let options = TemplateOptions { settings };
    Ok(context
        .renderer
        .engine
        .template_text(&file, &options, &scope)?)
}

fn newline(sequence: &str) -> String {
    sequence.replace("\\r", "\r").replace("\\n", "\n")
}

/// Runs a script of the controller on the target.
pub(super) async fn script(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let command = context.text("cmd").or_else(|| context.text("_raw_params"));
    let Some(command) = command else {
        return Err(Failure::action(
            "one of the following is required: _raw_params, cmd",
        ));
    };
    let words = crate::playbook::words(&command).unwrap_or_default();
    let Some(name) = words.first() else {
        return Err(Failure::action("no script was named"));
    };
    let path = context
        .find_file("files", name.trim().trim_matches(['"', '\'']))
        .map_err(|failure| Failure::action(failure.brief()))?;
    let offer = offer(context, &path)?;
    context.args.shift_remove("decrypt");
    context
        .args
        .insert("_content".into(), content_option(&offer));
    let basename = path.file_name().unwrap_or_default().to_string_lossy();
    context
        .args
        .insert("_original_basename".into(), basename.as_ref().into());
    context.call_module("script").await
}

/// Unpacks an archive of the controller on the target.
pub(super) async fn unarchive(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let copies = context.args.get("copy").and_then(Value::to_soft_bool);
    if copies.is_some() && context.args.contains_key("remote_src") {
        return Err(Failure::action(
            "parameters are mutually exclusive: ('copy', 'remote_src')",
        ));
    }
    context.args.shift_remove("copy");
    let remote = copies.map_or_else(|| context.flag("remote_src", false), |copies| !copies);
    context.args.insert("remote_src".into(), remote.into());
    if remote {
        context.args.shift_remove("decrypt");
        return context.call_module("unarchive").await;
    }
    let (Some(source), Some(_)) = (context.text("src"), context.text("dest")) else {
        return Err(Failure::action("src (or content) and dest are required"));
    };
    if source.contains("://") {
        return Err(Failure::action(format!(
            "Unsupported option, an URI src ({source}) is only supported when remote_src is True"
        )));
    }
    let path = context
        .find_file("files", &source)
        .map_err(|failure| Failure::action(failure.brief()))?;
    let offer = offer(context, &path)?;
    context.args.shift_remove("decrypt");
    context
        .args
        .insert("_content".into(), content_option(&offer));
    let basename = path.file_name().unwrap_or_default().to_string_lossy();
    context
        .args
        .insert("_original_basename".into(), basename.as_ref().into());
    context.call_module("unarchive").await
}
