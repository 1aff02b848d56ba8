//! Lookups that find and read files: `file`, `unvault`, `template`, `fileglob`, `first_found`.

use super::{Found, Options, World};
use crate::source::SourceFile;
use crate::template::{LookupCall, LookupError, TemplateOptions};
use crate::value::{Map, Value};

pub(super) fn lookup(world: &World, call: &LookupCall<'_>) -> Found {
    match call.name {
        "file" => file(world, call),
        "unvault" => unvault(world, call),
        "template" => template(world, call),
        "fileglob" => fileglob(world, call),
        _ => first_found(world, call),
    }
}

fn file(world: &World, call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &["rstrip", "lstrip"])?;
    let mut found = Vec::new();
    for term in &call.terms {
        let failed = |reason: String| {
            LookupError::Failed(format!("Unable to access the file '{term}': {reason}"))
        };
        let path = world
            .find(Some("files"), &term.to_string())
            .ok_or_else(|| failed("File not found. Use -vvvvv to see paths searched.".into()))?;
        let text = world.read_text(&path).map_err(failed)?;
        let mut text = &*text;
        if options.flag("lstrip", false)? {
            text = text.trim_start();
        }
        if options.flag("rstrip", true)? {
            text = text.trim_end();
        }
        found.push(text.into());
    }
    Ok(found)
}

fn unvault(world: &World, call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    call.terms
        .iter()
        .map(|term| {
            let path = world
                .find(Some("files"), &term.to_string())
                .ok_or_else(|| format!("Unable to find file matching \"{term}\" "))?;
            Ok(world.read_text(&path)?.into())
        })
        .collect()
}

fn template(world: &World, call: &LookupCall<'_>) -> Found {
    let settings = [
        "variable_start_string",
        "variable_end_string",
        "comment_start_string",
        "comment_end_string",
        "trim_blocks",
    ];
    let mut known = vec!["convert_data", "jinja2_native", "template_vars"];
    known.extend(settings);
    let options = Options::new(call, &known)?;
    let mut template_options = TemplateOptions::default();
    for name in settings {
        if let Some(value) = options.get(name) {
            template_options.settings.insert(name.into(), value.clone());
        }
    }
    let mut found = Vec::new();
    for term in &call.terms {
        let name = term.to_string();
        let path = world
            .find(Some("templates"), &name)
            .ok_or_else(|| format!("the template file {name} could not be found for the lookup"))?;
        let file = SourceFile::new(path.display().to_string(), world.read_text(&path)?);
        let mut extra: Map = super::template_variables(&name, &path, None);
        if call.reader.variable("ansible_managed")?.is_none() {
            extra.insert("ansible_managed".into(), "Ansible managed".into());
        }
        if let Some(variables) = options.get("template_vars").and_then(Value::as_map) {
            extra.extend(variables.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        found.push(call.reader.template(&file, &template_options, &extra)?);
    }
    Ok(found)
}

fn fileglob(world: &World, call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    let mut found = Vec::new();
    for term in &call.terms {
        let term = term.to_string();
        let (directory, name) = term.rsplit_once('/').unwrap_or(("", &term));
        let directories = if term.contains('/') {
            let directory = if directory.is_empty() { "/" } else { directory };
            world.find(Some("files"), directory).into_iter().collect()
        } else {
            world
                .search_paths
                .iter()
                .flat_map(|path| [path.join("files"), path.clone()])
                .collect::<Vec<_>>()
        };
        for directory in directories {
            let pattern = directory.join(name).display().to_string();
            let files: Vec<Value> = super::search::glob(&pattern)
                .into_iter()
                .filter(|path| std::path::Path::new(path).is_file())
                .map(Value::from)
                .collect();
            if !files.is_empty() {
                found.extend(files);
                break;
            }
        }
    }
    Ok(found)
}

fn first_found(world: &World, call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &["files", "paths", "skip", "_terms"])?;
    let mut skip = options.flag("skip", false)?;
    let action = world.action.as_deref().unwrap_or_default();
    let subdir = call.from_loop.then(|| {
        ["template", "var"]
            .into_iter()
            .find(|kind| action.contains(kind))
            .map_or(
                "files",
                |kind| if kind == "var" { "vars" } else { "templates" },
            )
    });
    let mut names = Vec::new();
    if call.terms.is_empty() {
        search_names(options.get("files"), options.get("paths"), &mut names);
    }
    for term in &call.terms {
        collect_names(term, options.get("paths"), &mut skip, &mut names)?;
    }
    for name in &names {
        if let Some(path) = world.find(subdir, name) {
            return Ok(vec![normal(&path.display().to_string()).into()]);
        }
    }
    if skip {
        return Ok(Vec::new());
    }
    Err("No file was found when using first_found.".into())
}

fn collect_names(
    term: &Value,
    paths: Option<&Value>,
    skip: &mut bool,
    names: &mut Vec<String>,
) -> Result<(), LookupError> {
    match term {
        Value::Map(map) => {
            if let Some(flag) = map.get("skip").and_then(Value::to_soft_bool) {
                *skip = flag;
            }
            search_names(map.get("files"), map.get("paths").or(paths), names);
        }
        Value::String(_) => search_names(Some(term), paths, names),
        Value::List(terms) => {
            for term in terms.iter() {
                collect_names(term, paths, skip, names)?;
            }
        }
        other => {
            return Err(LookupError::Failed(format!(
                "Invalid term supplied. A string, dict or list is required, not '{}').",
                other.python_type()
            )));
        }
    }
    Ok(())
}

fn search_names(files: Option<&Value>, paths: Option<&Value>, names: &mut Vec<String>) {
    let files = split_on(files, &[',', ';']);
    let paths = split_on(paths, &[',', ':', ';']);
    if paths.is_empty() {
        names.extend(files);
        return;
    }
    for path in &paths {
        for file in &files {
            names.push(if file.starts_with('/') || path.is_empty() {
                file.clone()
            } else {
                format!("{}/{file}", path.trim_end_matches('/'))
            });
        }
    }
}

fn split_on(terms: Option<&Value>, splitters: &[char]) -> Vec<String> {
    match terms {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(terms)) => terms
            .iter()
            .flat_map(|term| split_on(Some(term), splitters))
            .collect(),
        Some(term) => term
            .to_string()
            .split(splitters)
            .map(str::to_owned)
            .collect(),
    }
}

/// Returns the path without `.` and `..`.
fn normal(path: &str) -> String {
    let absolute = std::path::absolute(path)
        .map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
