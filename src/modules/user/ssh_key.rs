//! The SSH key `user` makes for an account.

use std::path::{Path, PathBuf};

use super::Work;
use crate::machine::{Attributes, Command, Content, Effect, Follow, NewFile, User};
use crate::modules::Failure;

/// Makes the key unless it is there, and adds it to the result.
pub(super) fn generate(work: &mut Work<'_>, user: &User) -> Result<(), Failure> {
    let private = key_path(work, user);
    let public = PathBuf::from(format!("{}.pub", private.display()));
    if may_write(work, &private, "private")? && may_write(work, &public, "public")? {
        make_directory(work, &private, user)?;
        keygen(work, &private)?;
        own(work, &[&private, &public], user)?;
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

fn make_directory(work: &mut Work<'_>, private: &Path, user: &User) -> Result<(), Failure> {
    let Some(directory) = private.parent() else {
        return Ok(());
    };
    if work.machine.exists(directory)? {
        return Ok(());
    }
    work.machine.create_dir(directory, 0o700)?;
    let owner = Attributes {
        uid: Some(user.uid),
        gid: Some(user.gid),
        ..Attributes::default()
    };
    work.machine.set_attributes(directory, &owner, Follow::No)?;
    Ok(())
}

fn keygen(work: &mut Work<'_>, private: &Path) -> Result<(), Failure> {
    let comment = match &work.args.ssh_key_comment {
        Some(comment) => comment.clone(),
        None => format!("ansible-generated on {}", host_name()),
    };
    let mut command = Command::new(["ssh-keygen", "-t", &work.args.ssh_key_type]);
    if work.args.ssh_key_bits > 0 {
        command = command.arg("-b").arg(work.args.ssh_key_bits.to_string());
    }
    command = command.arg("-C").arg(comment).arg("-f").arg(private);
    let effect = Effect::compensated(
        format!("ssh-keygen -f {}", private.display()),
        [
            "rm",
            "-f",
            &private.display().to_string(),
            &format!("{}.pub", private.display()),
        ],
    );
    let Some(passphrase) = work.args.ssh_key_passphrase.clone() else {
        work.act_silently(&command.arg("-N").arg(""), effect)?;
        return Ok(());
    };
    // ssh-keygen asks a program, which reads a private file: the passphrase is in no command line
    // and no environment.
    let directory = work.machine.temporary_dir()?;
    let secret = directory.path().join("passphrase");
    let program = directory.path().join("ask");
    let private_mode = |mode| NewFile {
        mode: Some(mode),
        ..NewFile::default()
    };
    work.machine.write(
        &secret,
        Content::Bytes(passphrase.into_bytes()),
        &private_mode(0o600),
    )?;
    let script = format!("#!/bin/sh\nexec cat '{}'\n", secret.display());
    work.machine.write(
        &program,
        Content::Bytes(script.into_bytes()),
        &private_mode(0o700),
    )?;
    let command = command
        .env("SSH_ASKPASS", &program)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", ":0");
    work.act_silently(&command, effect)?;
    Ok(())
}

fn own(work: &mut Work<'_>, files: &[&Path], user: &User) -> Result<(), Failure> {
    let owner = Attributes {
        uid: Some(user.uid),
        gid: Some(user.gid),
        ..Attributes::default()
    };
    for path in files {
        if work.machine.exists(path)? {
            work.machine.set_attributes(path, &owner, Follow::No)?;
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
