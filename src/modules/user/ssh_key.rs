//! The SSH key `user` makes for an account.

use std::path::{Path, PathBuf};

use super::Work;
use crate::machine::{Attributes, Command, Content, Follow, Links, NewFile, User};
use crate::modules::Failure;
use crate::modules::keygen::Passphrase;

/// Makes the key unless it is there, and adds it to the result.
pub(super) fn generate(work: &mut Work<'_>, user: &User) -> Result<(), Failure> {
    let private = key_path(work, user);
    let public = PathBuf::from(format!("{}.pub", private.display()));
    if may_write(work, &private, "private")? && may_write(work, &public, "public")? {
        let linked = make_directory(work, &private, user)?;
        // No key is thrown away for a look at what would be.
        if !work.machine.is_check() {
            keygen(work, [&private, &public], linked, user)?;
        }
        work.outcome.changed = true;
    }
    describe(work, &private, &public)
}

fn key_path(work: &Work<'_>, user: &User) -> PathBuf {
    let file = work
        .args
        .ssh_key_file
        .clone()
        .unwrap_or_else(|| format!(".ssh/id_{}", work.args.ssh_key_type).into());
    Path::new(&user.home).join(file)
}

/// Tells whether nothing is in the way; with `force` what is there is removed.
fn may_write(work: &mut Work<'_>, path: &Path, kind: &str) -> Result<bool, Failure> {
    if work.machine.symlink_metadata(path)?.is_none() {
        return Ok(true);
    }
    let shown = path.display();
    if !work.args.force {
        work.outcome.warnings.push(format!(
            "Found existing ssh key {kind} file \"{shown}\", no force, so skipping ssh-keygen \
             generation"
        ));
        return Ok(false);
    }
    work.outcome.warnings.push(format!(
        "Overwriting existing ssh key {kind} file \"{shown}\""
    ));
    work.machine.remove(path)?;
    Ok(true)
}

/// Makes the directory unless it is there; tells whether a link leads to it.
fn make_directory(work: &mut Work<'_>, private: &Path, user: &User) -> Result<bool, Failure> {
    let Some(directory) = private.parent() else {
        return Ok(false);
    };
    if let Some(found) = work.machine.symlink_metadata(directory)? {
        // The account may have put it there, to have us write where it may not.
        if found.is_link() && found.uid != 0 {
            return Err(Failure::new(format!(
                "refusing to follow the symbolic link `{}` (only a link that root owns is followed)",
                directory.display()
            ))
            .with("name", work.args.name.as_str()));
        }
        return Ok(found.is_link());
    }
    work.machine.create_dir(directory, 0o700)?;
    let owner = Attributes {
        uid: Some(user.uid),
        gid: Some(user.gid),
        ..Attributes::default()
    };
    work.machine.set_attributes(directory, &owner, Follow::No)?;
    Ok(false)
}

/// Makes the pair in a private place, and puts it, private and public, where it belongs.
fn keygen(
    work: &mut Work<'_>,
    places: [&Path; 2],
    linked: bool,
    user: &User,
) -> Result<(), Failure> {
    let comment = match &work.args.ssh_key_comment {
        Some(comment) => comment.clone(),
        None => format!("ansible-generated on {}", host_name()),
    };
    let directory = work.machine.temporary_dir()?;
    let made = ["key", "key.pub"].map(|name| directory.path().join(name));
    let mut command = Command::new(["ssh-keygen", "-t", &work.args.ssh_key_type]);
    if work.args.ssh_key_bits > 0 {
        command = command.arg("-b").arg(work.args.ssh_key_bits.to_string());
    }
    command = command.arg("-C").arg(comment).arg("-f").arg(&made[0]);
    let passphrase = match &work.args.ssh_key_passphrase {
        None => None,
        Some(passphrase) => Some(Passphrase::new(work.machine, passphrase)?),
    };
    command = match &passphrase {
        None => command.arg("-N").arg(""),
        Some(passphrase) => passphrase.told_to(command),
    };
    let output = work.machine.query(&command)?;
    if !output.success() {
        return Err(Failure::new(output.stderr_text())
            .with("name", work.args.name.as_str())
            .with("rc", output.status));
    }
    let home = places[0]
        .parent()
        .and_then(Path::parent)
        .filter(|_| !linked);
    for ((made, place), mode) in made.iter().zip(places).zip([0o600, 0o644]) {
        let new = NewFile {
            mode: Some(mode),
            uid: Some(user.uid),
            gid: Some(user.gid),
            ..NewFile::default()
        };
        let content = Content::Bytes(work.machine.read(made)?);
        match home {
            // Its home is not the account's to exchange, but all below it is.
            Some(home) => work.machine.below(home, Links::Taken, |machine| {
                machine.write(place, content, &new)
            })?,
            None => work.machine.write(place, content, &new)?,
        }
    }
    Ok(())
}

fn describe(work: &mut Work<'_>, private: &Path, public: &Path) -> Result<(), Failure> {
    let data = &mut work.outcome.data;
    data.insert("ssh_key_file".into(), private.display().to_string().into());
    if !work.machine.exists(public)? {
        return Ok(());
    }
    let key = String::from_utf8_lossy(&work.machine.read(public)?)
        .trim()
        .to_owned();
    work.outcome
        .data
        .insert("ssh_public_key".into(), key.into());
    let shown = work
        .machine
        .query(&Command::new(["ssh-keygen", "-l", "-f"]).arg(private))?;
    let fingerprint = if shown.success() {
        shown.stdout_text()
    } else {
        shown.stderr_text()
    };
    work.outcome
        .data
        .insert("ssh_fingerprint".into(), fingerprint.trim().into());
    Ok(())
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
