//! `ssh-keygen` with a passphrase: what it asks is answered by a program, which reads a private
//! file. The passphrase is in no command line and no environment.

use crate::machine::{Command, Machine, TemporaryFile, TemporaryProgram};

use super::Failure;

/// What a command reads while it runs; gone with this.
#[derive(Debug)]
pub(super) struct Passphrase {
    program: TemporaryProgram,
    _secret: TemporaryFile,
}

impl Passphrase {
    pub(super) fn new(machine: &mut Machine, passphrase: &str) -> Result<Self, Failure> {
        let secret = machine.temporary_file(passphrase.as_bytes())?;
        let script = format!("#!/bin/sh\nexec cat '{}'\n", secret.path().display());
        Ok(Self {
            program: machine.temporary_program("ask", script.as_bytes())?,
            _secret: secret,
        })
    }

    /// Has the command ask for it.
    pub(super) fn told_to(&self, command: Command) -> Command {
        command
            .env("SSH_ASKPASS", self.program.path())
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", ":0")
    }
}
