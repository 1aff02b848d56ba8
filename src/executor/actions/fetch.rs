//! `fetch`: copies a file of the target to the controller.

use std::path::{Path, PathBuf};

use super::{ActionContext, Answer};
use crate::agent::contents::Algorithm;
use crate::arguments;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

arguments! {
    /// Fetch files from remote nodes.
    pub(super) struct FetchArgs for "fetch" {
        /// The file on the target.
        src: String { required },
        /// The directory of the controller, or with `flat` the file.
        dest: String { required },
        /// Leave out the directories for host and path.
        flat: bool { default: "false" },
        /// Fail when there is no such file.
        fail_on_missing: bool { default: "true" },
        /// Compare what arrived with what was there.
        validate_checksum: bool { default: "true" },
    }
}

/// Fetches the file, unless the controller has the same already.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    check_ends(&context.args)?;
    let args =
        FetchArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    if context.settings.check {
        return Ok(Answer::new([
            ("skipped", true.into()),
            (
                "msg",
                "check mode not (yet) supported for this module".into(),
            ),
        ]));
    }
    let about = context
        .module_in("stat", stat_args(&args.src), false)
        .await?;
    if about.failed {
        return Ok(unreadable(context, &args, &about));
    }
    let stat = about.result.get("stat").cloned().unwrap_or_default();
    let is = |key: &str| stat.get(key).is_some_and(Value::is_truthy);
    if !is("exists") {
        return Ok(missing(&args));
    }
    if is("isdir") {
        return Ok(directory(&args));
    }
    let dest = destination(context, &args)?;
    let text = |key: &str| stat.get(key).map(Value::to_string).unwrap_or_default();
    let remote = text("checksum");
    let result = |changed: bool, sum: &str| {
        Answer::new([
            ("changed", changed.into()),
            ("md5sum", digest_of(&dest, Algorithm::Md5).into()),
            ("dest", dest.to_string_lossy().as_ref().into()),
            ("checksum", sum.into()),
        ])
    };
    if !remote.is_empty() && digest_of(&dest, Algorithm::Sha1).as_deref() == Some(remote.as_str()) {
        let mut answer = result(false, &remote);
        answer.set("file", args.src.as_str());
        return Ok(answer);
    }
    save(context, &args.src, &dest).await?;
    let sum = digest_of(&dest, Algorithm::Sha1).unwrap_or_default();
    let mut answer = result(true, &sum);
    answer.set("remote_md5sum", Value::Null);
    if args.validate_checksum && !remote.is_empty() && sum != remote {
        answer.set("failed", true);
        answer.set("msg", "checksum mismatch");
        answer.failed = true;
    }
    answer.set(
        "remote_checksum",
        if remote.is_empty() { sum } else { remote },
    );
    Ok(answer)
}

/// Checks `src` and `dest` in Ansible's order and words.
fn check_ends(given: &Map) -> Result<(), Failure> {
    let end = |name: &str| given.get(name).filter(|value| **value != Value::Null);
    let (Some(source), Some(dest)) = (end("src"), end("dest")) else {
        return Err(Failure::action("src and dest are required"));
    };
    for (value, what) in [(dest, "dest"), (source, "source")] {
        if value.as_str().is_none() {
            return Err(Failure::action(format!(
                "Invalid type supplied for {what} option, it must be a string"
            )));
        }
    }
    Ok(())
}

/// Returns the answer for a file that the target cannot look at: as another user Ansible reads it
/// at once, so it is the reading that fails there.
fn unreadable(context: &ActionContext<'_>, args: &FetchArgs, about: &Answer) -> Answer {
    let src = args.src.as_str();
    let told = about.result.get("msg").map(Value::to_string);
    let told = told.unwrap_or_default();
    let is_become = context
        .target()
        .is_ok_and(|target| target.become_user.is_some());
    let msg = if is_become {
        format!("File is not readable: {src}")
    } else {
        let told = told.replace("permission denied", "Permission denied");
        format!("Failed to get information on remote file ({src}): {told}")
    };
    let mut answer = if args.fail_on_missing {
        Answer::failed(msg)
    } else {
        Answer::new([("msg", format!("{msg}, ignored").into())])
    };
    answer.set("changed", false);
    answer.set("file", src);
    answer
}

fn stat_args(path: &str) -> Map {
    let mut args = Map::new();
    args.insert("path".into(), path.into());
    args.insert("follow".into(), true.into());
    args.insert("get_checksum".into(), true.into());
    args.insert("checksum_algorithm".into(), "sha1".into());
    args
}

fn missing(args: &FetchArgs) -> Answer {
    let mut answer = Answer::new([
        ("changed", false.into()),
        (
            "msg",
            "the remote file does not exist, not transferring, ignored".into(),
        ),
    ]);
    if args.fail_on_missing {
        answer.set("failed", true);
        answer.failed = true;
    } else {
        answer.set("file", args.src.as_str());
    }
    answer
}

fn directory(args: &FetchArgs) -> Answer {
    const MESSAGE: &str = "remote file is a directory, fetch cannot work on directories";
    if args.fail_on_missing {
        let mut answer = Answer::failed(MESSAGE);
        answer.set("changed", false);
        return answer;
    }
    let message = format!("{MESSAGE}, not transferring, ignored");
    Answer::new([("msg", message.into())])
}

/// Returns where the file goes on the controller.
fn destination(context: &ActionContext<'_>, args: &FetchArgs) -> Result<PathBuf, Failure> {
    let base = context.local_path(&args.dest);
    let wants_directory = args.dest.ends_with('/');
    let name = Path::new(&args.src)
        .file_name()
        .ok_or_else(|| Failure::action("src names no file"))?;
    if !args.flat {
        let host = context
            .renderer
            .variable("inventory_hostname")?
            .map_or_else(|| context.job.host.to_string(), |name| name.to_string());
        let inside = args.src.trim_start_matches('/').replace("../", "");
        return Ok(crate::playbook::normal(&base.join(host).join(inside)));
    }
    if base.is_dir() && !wants_directory {
        return Err(Failure::action(
            "dest is an existing directory, use a trailing slash if you want to fetch src into \
             that directory",
        ));
    }
    let dest = if wants_directory {
        base.join(name)
    } else {
        base
    };
    if dest.is_dir() {
        return Err(Failure::action(format!(
            "calculated dest '{}' is an existing directory, use another path that does not point \
             to an existing directory",
            dest.display()
        )));
    }
    Ok(crate::playbook::normal(&dest))
}

/// Writes the file under another name first, so that what stands at `dest` is always whole.
async fn save(context: &ActionContext<'_>, source: &str, dest: &Path) -> Result<(), Failure> {
    let local = |error: std::io::Error| {
        Failure::action(format!("cannot write {}: {error}", dest.display()))
    };
    let parent = dest.parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(parent).await.map_err(local)?;
    let mut partial = dest.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let fetched = context.fetch(source, &partial).await;
    if fetched.is_err() {
        // The failure to fetch is what the user needs to know.
        tokio::fs::remove_file(&partial).await.ok();
        return fetched;
    }
    tokio::fs::rename(&partial, dest).await.map_err(local)
}

fn digest_of(path: &Path, algorithm: Algorithm) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    algorithm.of_reader(&mut file).ok()
}
