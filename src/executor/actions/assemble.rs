//! `assemble`: with `remote_src: false` the fragments are the controller's, and only what they
//! make is sent.

use std::path::Path;

use super::{ActionContext, Answer};
use crate::executor::content::content_option;
use crate::executor::failure::Failure;
use crate::modules::Assembly;
use crate::pyregex::{Flags, Pattern};
use crate::value::Value;

/// Options that only the putting together reads.
const ASSEMBLE_ONLY: [&str; 6] = [
    "src",
    "remote_src",
    "regexp",
    "delimiter",
    "ignore_hidden",
    "decrypt",
];

/// Puts a file together from fragments, of the target or of the controller.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    if context.flag("remote_src", true) {
        return context.call_module("assemble").await;
    }
    let (Some(source), Some(_)) = (context.text("src"), context.text("dest")) else {
        return Ok(Answer::failed("src and dest are required"));
    };
    let found = context
        .find_file("files", &source)
        .map_err(|failure| Failure::action(failure.brief()))?;
    if !found.is_dir() {
        return Ok(Answer::failed(format!(
            "Source ({source}) is not a directory"
        )));
    }
    let whole = assembled(context, &found)?;
    let offer = context.job.world.contents.offer_bytes(whole);
    let mut args = context.args.clone();
    for name in ASSEMBLE_ONLY {
        args.shift_remove(name);
    }
    args.insert("_content".into(), content_option(&offer));
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    args.insert("_original_basename".into(), name.as_ref().into());
    let mut answer = context.module("copy", args).await?;
    // `copy` tells a list of differences, `assemble` the one there is.
    let first = answer.result.get("diff").and_then(Value::as_list);
    if let Some(diff) = first.and_then(|told| told.first()).cloned() {
        answer.set("diff", diff);
    }
    Ok(answer)
}

fn assembled(context: &ActionContext<'_>, directory: &Path) -> Result<Vec<u8>, Failure> {
    let regexp = context.text("regexp").map(|regexp| {
        Pattern::text(&regexp, Flags::default())
            .map_err(|error| Failure::action(format!("Invalid Regexp ({error}) in \"{regexp}\"")))
    });
    let assembly = Assembly {
        regexp: regexp.transpose()?,
        ignore_hidden: context.flag("ignore_hidden", false),
        delimiter: context.text("delimiter"),
    };
    let unreadable = |error: std::io::Error| {
        Failure::action(format!("cannot read {}: {error}", directory.display()))
    };
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    names.sort();
    let decrypt = context.flag("decrypt", true);
    let mut fragments = Vec::new();
    for name in names {
        let path = directory.join(&name);
        if path.is_file() && assembly.takes(&name.to_string_lossy()) {
            let contents = &context.job.world.contents;
            fragments.push(contents.read(&path, decrypt).map_err(unreadable)?);
        }
    }
    Ok(assembly.join(&fragments))
}
