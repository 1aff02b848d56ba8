//! `copy`, `template`, `script`, `unarchive`: files of the controller that a module
//! of the target needs. They are offered by digest, so only what is missing there is sent.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{ActionContext, Answer};
use crate::agent::contents::ContentId;
use crate::arguments::{ArgumentSpec, FileAttributes, OptionType, Parameter};
use crate::executor::content::content_option;
use crate::executor::failure::Failure;
use crate::executor::world::Overlay;
use crate::lookups;
use crate::template::{Binding, Layers, Scope, TemplateOptions};
use crate::value::{JsonStyle, Map, Value, bytes_of_text, to_json};

/// Options that only the controller's half of `copy` reads.
const COPY_ONLY: [&str; 4] = ["src", "content", "decrypt", "local_follow"];

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
            let mut args = copy_args(context, &offer, None);
            args.insert("_source".into(), beside(&dest).into());
            context.module("copy", args).await
        }
        (Some(source), None) => {
            let found = context
                .find_file("files", &source)
                .map_err(|failure| Failure::action(failure.brief()))?;
            if found.is_dir() {
                return copy_directory(context, &found, source.ends_with('/')).await;
            }
            let offer = offer(context, &found)?;
            let mut args = copy_args(context, &offer, Some(&found));
            preserve_mode(&mut args, &found);
            context.module("copy", args).await
        }
    }
}

/// Returns what stands for the source of a text: a name beside the destination, with Ansible's
/// name for it.
fn beside(dest: &str) -> String {
    let dest = Path::new(dest);
    let ending = dest.extension().unwrap_or_default().to_string_lossy();
    let dot = if ending.is_empty() { "" } else { "." };
    let name = format!(".source{dot}{ending}");
    dest.with_file_name(name).display().to_string()
}

/// Returns what `content` writes: a structure as JSON, everything else as it prints.
fn text_of(content: &Value) -> Vec<u8> {
    match content {
        Value::Map(_) | Value::List(_) => to_json(content, JsonStyle::default()).into_bytes(),
        other => bytes_of_text(&other.to_string()).into_owned(),
    }
}

fn offer(context: &ActionContext<'_>, path: &Path) -> Result<ContentId, Failure> {
    let decrypt = context.flag("decrypt", true);
    let offered = context.job.world.contents.offer_file(path, decrypt);
    offered
        .map_err(|error| Failure::action(format!("could not find src={}, {error}", path.display())))
}

/// Returns the module's options: the task's, with the content in place of the source.
fn copy_args(context: &ActionContext<'_>, offer: &ContentId, path: Option<&Path>) -> Map {
    let mut args = without_source(context);
    args.insert("_content".into(), content_option(offer));
    if let Some(name) = path.and_then(Path::file_name) {
        let name = name.to_string_lossy();
        args.insert("_original_basename".into(), (*name).into());
    }
    if let Some(path) = path {
        args.insert("_source".into(), path.to_string_lossy().as_ref().into());
    }
    args
}

/// Returns the options without what only the controller's half reads.
fn without_source(context: &ActionContext<'_>) -> Map {
    let mut args = context.args.clone();
    for name in COPY_ONLY {
        args.shift_remove(name);
    }
    args
}

/// Turns `mode: preserve` into the mode of the controller's file.
fn preserve_mode(args: &mut Map, path: &Path) {
    if args.get("mode").and_then(Value::as_str) != Some("preserve") {
        return;
    }
    if let Some(mode) = mode_of(path) {
        args.insert("mode".into(), mode.into());
    }
}

fn mode_of(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    Some(format!("0{mode:03o}"))
}

/// Copies a directory in one call: files by their digests, directories, and links as links
/// unless `local_follow`.
async fn copy_directory(
    context: &mut ActionContext<'_>,
    source: &Path,
    contents_only: bool,
) -> Result<Answer, Failure> {
    let top = match source.file_name() {
        Some(name) if !contents_only => PathBuf::from(name),
        _ => PathBuf::new(),
    };
    let mut tree = Vec::new();
    walk(context, source, &top, &[], &mut tree)?;
    let mut args = without_source(context);
    args.insert("_tree".into(), tree.into());
    args.insert("_source".into(), source.to_string_lossy().as_ref().into());
    context.module("copy", args).await
}

/// Lists what a directory holds as the module takes it, in order, directories last. A link that leads back
/// to one of the directories `above` stays a link, as does one that leads nowhere.
fn walk(
    context: &ActionContext<'_>,
    directory: &Path,
    relative: &Path,
    above: &[FileId],
    found: &mut Vec<Value>,
) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::action(format!("cannot read {}: {error}", directory.display()))
    };
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    // As Python's `os.walk` goes: the first trouble is that of the same file as in Ansible.
    names.sort_by_cached_key(|name| (directory.join(name).is_dir(), name.clone()));
    let here = identity(directory).map_err(unreadable)?;
    let above: Vec<FileId> = above.iter().copied().chain([here]).collect();
    let entry = |path: &Path, kind: &str, more: &[(&str, Value)]| {
        let told = [
            ("path", Value::from(path.to_string_lossy().as_ref())),
            ("kind", kind.into()),
        ];
        Value::map(told.into_iter().chain(more.iter().cloned()))
    };
    if names.is_empty() && !relative.as_os_str().is_empty() {
        found.push(entry(relative, "directory", &[]));
    }
    let follow = context.flag("local_follow", true);
    let preserve = context.args.get("mode").and_then(Value::as_str) == Some("preserve");
    for name in names {
        let path = directory.join(&name);
        let relative = relative.join(&name);
        let is_circle = || identity(&path).is_ok_and(|id| above.contains(&id));
        if path.is_symlink() && (!follow || !path.exists() || is_circle()) {
            let to = std::fs::read_link(&path).map_err(unreadable)?;
            let to = Value::from(to.to_string_lossy().as_ref());
            found.push(entry(&relative, "link", &[("link", to)]));
        } else if path.is_dir() {
            walk(context, &path, &relative, &above, found)?;
        } else {
            let id = offer(context, &path)?;
            let mut about = vec![
                ("sha256", Value::from(id.sha256.as_str())),
                ("size", id.size.into()),
            ];
            if let Some(mode) = mode_of(&path).filter(|_| preserve) {
                about.push(("mode", mode.into()));
            }
            found.push(entry(&relative, "file", &about));
        }
    }
    Ok(())
}

/// What makes two paths the same file.
type FileId = (u64, u64);

fn identity(path: &Path) -> std::io::Result<FileId> {
    std::fs::metadata(path).map(|about| (about.dev(), about.ino()))
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
    let offer = context
        .job
        .world
        .contents
        .offer_bytes(bytes_of_text(&text).into_owned());
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
        let managed = context.job.world.options.managed.as_str();
        told.insert("ansible_managed".into(), managed.into());
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
