//! `synchronize`: what of a directory of the controller the target does not have yet.
//!
//! Lists the source by digest; the module asks for what is missing, over the connection there is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{ActionContext, Answer};
use crate::executor::failure::Failure;
use crate::modules::synchronize::{SynchronizeArgs, Wishes, with_tree};
use crate::playbook::Keyword;
use crate::value::Value;

const MODULE: &str = "ansible.posix.synchronize";

/// Sends the tree's list, or has the target use its own files when the task is delegated to it.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = SynchronizeArgs::parse(&context.args)
        .map_err(|problem| Failure::action(problem.message))?;
    if context
        .job
        .task
        .layer
        .nearest(Keyword::DelegateTo)
        .is_some()
    {
        if **context.target == *context.job.host {
            return context.call_module(MODULE).await;
        }
        return Err(Failure::action(
            "synchronize works from the controller to the host, or on the host it is delegated to; \
             not between two other hosts",
        ));
    }
    let wishes = Wishes::new(&args).map_err(|failure| Failure::action(failure.msg))?;
    let source = match context.find_file("files", &args.src) {
        Ok(found) => found,
        Err(failure) => return Ok(Answer::failed(failure.brief())),
    };
    let mut listing = Listing {
        context,
        wishes: &wishes,
        users: names("/etc/passwd"),
        groups: names("/etc/group"),
        entries: Vec::new(),
    };
    let contents_only = args.src.ends_with('/');
    let top = match source.file_name() {
        Some(name) if !contents_only => PathBuf::from(name),
        _ => PathBuf::new(),
    };
    listing.walk(&source, &top, true)?;
    let entries = listing.entries;
    let args = with_tree(&context.args, entries);
    context.module(MODULE, args).await
}

struct Listing<'a, 'b> {
    context: &'a ActionContext<'b>,
    wishes: &'a Wishes,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    entries: Vec<Value>,
}

impl Listing<'_, '_> {
    fn walk(&mut self, path: &Path, relative: &Path, is_top: bool) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::action(format!("cannot read {}: {error}", path.display()))
        };
        let is_contents = is_top && relative.as_os_str().is_empty();
        let about = if self.wishes.copy_links || is_contents {
            std::fs::metadata(path)
        } else {
            std::fs::symlink_metadata(path)
        }
        .map_err(unreadable)?;
        if !is_top && self.wishes.filter.excludes(relative, about.is_dir()) {
            return Ok(());
        }
        let kind = if about.is_dir() {
            "directory"
        } else if about.is_symlink() {
            "link"
        } else {
            "file"
        };
        let mut entry = vec![
            ("path", Value::from(relative.to_string_lossy().as_ref())),
            ("kind", kind.into()),
            ("mode", (about.mode() & 0o7777).into()),
            ("mtime", about.mtime().into()),
            ("mtime_nanoseconds", about.mtime_nsec().into()),
            ("uid", about.uid().into()),
            ("gid", about.gid().into()),
        ];
        let named = |names: &HashMap<u32, String>, id: u32| names.get(&id).cloned();
        let user = named(&self.users, about.uid()).map(|name| ("user", Value::from(name)));
        let group = named(&self.groups, about.gid()).map(|name| ("group", Value::from(name)));
        entry.extend(user.into_iter().chain(group));
        match kind {
            "link" if !self.wishes.links => return Ok(()),
            "link" => {
                let to = std::fs::read_link(path).map_err(unreadable)?;
                entry.push(("link", to.to_string_lossy().as_ref().into()));
            }
            "file" if !about.is_file() => return Ok(()),
            "file" => {
                let contents = &self.context.job.world.contents;
                let id = contents.offer_file(path, false).map_err(unreadable)?;
                entry.push(("sha256", id.sha256.as_str().into()));
                entry.push(("size", id.size.into()));
            }
            _ if !self.wishes.recursive && !self.wishes.dirs => return Ok(()),
            _ => {}
        }
        self.entries.push(Value::map(entry));
        if kind == "directory" && (self.wishes.recursive || is_contents) {
            let mut names: Vec<_> = std::fs::read_dir(path)
                .map_err(unreadable)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<_, _>>()
                .map_err(unreadable)?;
            names.sort();
            for name in names {
                self.walk(&path.join(&name), &relative.join(&name), false)?;
            }
        }
        Ok(())
    }
}

/// Reads the names of a local database of users or groups.
fn names(path: &str) -> HashMap<u32, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        })
        .collect()
}
