//! `backstay vault`: every sub-command of `ansible-vault`, with its options.
//!
//! Files, the editor, prompts and standard streams; what encrypting means is the vault room's.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand};

use super::arguments::{VaultPasswordArgs, VerbosityArgs};
use super::{programs, secrets, terminal};
use crate::config::{Config, Surroundings};
use crate::error::{EXIT_ERROR, Error, ErrorKind, Result};
use crate::redactor::Redactor;
use crate::vault::{self, Key, Secrets, VaultFiles};

/// Encrypts and decrypts files and values, as `ansible-vault` does.
#[derive(Debug, Parser)]
#[command(
    name = "ansible-vault",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(super) struct VaultArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a new encrypted file in an editor
    Create(CreateArgs),
    /// Decrypt files, or standard input
    Decrypt(DecryptArgs),
    /// Edit an encrypted file in an editor
    Edit(EditArgs),
    /// Show encrypted files
    View(ViewArgs),
    /// Encrypt files, or standard input
    Encrypt(EncryptArgs),
    /// Encrypt texts, written as YAML values
    #[command(name = "encrypt_string", alias = "encrypt-string")]
    EncryptString(StringArgs),
    /// Encrypt files anew under another password
    Rekey(RekeyArgs),
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    passwords: VaultPasswordArgs,
    #[command(flatten)]
    verbosity: VerbosityArgs,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// The vault id to encrypt with; needed where several are given
    #[arg(long, value_name = "ID")]
    encrypt_vault_id: Option<String>,
}

#[derive(Debug, Args)]
struct CreateArgs {
    file: String,
    /// Open the editor also without a terminal
    #[arg(long)]
    skip_tty_check: bool,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct DecryptArgs {
    files: Vec<String>,
    /// Write to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct EditArgs {
    files: Vec<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct ViewArgs {
    files: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct EncryptArgs {
    files: Vec<String>,
    /// Write to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct StringArgs {
    /// Texts to encrypt; `-` reads one from standard input
    texts: Vec<String>,
    /// Ask for the text
    #[arg(short, long, conflicts_with = "stdin_name")]
    prompt: bool,
    /// With --prompt: show what is typed
    #[arg(long)]
    show_input: bool,
    /// The variable's name; one for each text
    #[arg(short, long, value_name = "NAME", action = ArgAction::Append)]
    name: Vec<String>,
    /// The variable's name for the text from standard input
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<String>,
    /// Write to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct RekeyArgs {
    files: Vec<String>,
    /// Read the new password from this file
    #[arg(long, value_name = "FILE", conflicts_with = "new_vault_id")]
    new_vault_password_file: Option<PathBuf>,
    /// The new vault identity: `label@prompt` or `label@FILE`
    #[arg(long, value_name = "ID")]
    new_vault_id: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    common: Common,
}

/// Does what was asked for.
pub(super) fn run(args: &VaultArgs, surroundings: &Surroundings, config: &Config) -> Result<()> {
    let session = Session {
        surroundings,
        config,
    };
    let files = Disk {
        editor: editor(config, surroundings),
    };
    match &args.action {
        Action::Create(args) => {
            if !args.skip_tty_check && !io::stdout().is_terminal() {
                return Err(Error::usage("not a tty, editor cannot be opened")
                    .help("encrypt a file that is there, or use `--skip-tty-check`"));
            }
            let key = session.key(&args.common, &args.key)?;
            vault::create_file(&files, &args.file, &key)
        }
        Action::Decrypt(args) => {
            let secrets = session.secrets(&args.common)?;
            at_most_one(&args.files, args.output.as_deref())?;
            for path in or_stdin(&args.files) {
                vault::decrypt_file(&files, path, args.output.as_deref(), &secrets)?;
            }
            tell("Decryption successful");
            Ok(())
        }
        Action::Edit(args) => {
            let secrets = session.secrets(&args.common)?;
            args.files
                .iter()
                .try_for_each(|path| vault::edit_file(&files, path, &secrets))
        }
        Action::View(args) => {
            let secrets = session.secrets(&args.common)?;
            args.files.iter().try_for_each(|path| {
                let plaintext = vault::view_file(&files, path, &secrets)?;
                files.write("-", &plaintext)
            })
        }
        Action::Encrypt(args) => {
            let key = session.key(&args.common, &args.key)?;
            at_most_one(&args.files, args.output.as_deref())?;
            for path in or_stdin(&args.files) {
                vault::encrypt_file(&files, path, args.output.as_deref(), &key)?;
            }
            tell("Encryption successful");
            Ok(())
        }
        Action::EncryptString(args) => {
            let key = session.key(&args.common, &args.key)?;
            encrypt_strings(args, &files, &key)
        }
        Action::Rekey(args) => {
            let secrets = session.secrets(&args.common)?;
            let key = session.new_key(args)?;
            for path in &args.files {
                vault::rekey_file(&files, path, &secrets, &key)?;
            }
            tell("Rekey successful");
            Ok(())
        }
    }
}

struct Session<'a> {
    surroundings: &'a Surroundings,
    config: &'a Config,
}

impl Session<'_> {
    fn secrets(&self, common: &Common) -> Result<Secrets> {
        let mut secrets = self.read(&common.passwords)?;
        if secrets.is_empty() {
            secrets.add(vault::DEFAULT_ID, asked("Vault password: ")?.into_bytes());
        }
        Ok(secrets)
    }

    fn read(&self, passwords: &VaultPasswordArgs) -> Result<Secrets> {
        let directory = &self.surroundings.working_directory;
        // Plaintext is what these commands print, so nothing of it is masked.
        let redactor = Redactor::default();
        let (secrets, warnings) =
            secrets::vault_secrets(passwords, self.config, directory, &redactor)?;
        for warning in warnings {
            say(&super::painted_warning(self.config, &warning, None));
        }
        Ok(secrets)
    }

    fn key(&self, common: &Common, key: &KeyArgs) -> Result<Key> {
        let id = key.encrypt_vault_id.clone();
        let id = id.or_else(|| self.config.text("DEFAULT_VAULT_ENCRYPT_IDENTITY"));
        let secrets = self.read(&common.passwords)?;
        if secrets.is_empty() {
            new_password()
        } else {
            secrets.encryption_key(id.as_deref())
        }
    }

    /// Returns the key that `rekey` encrypts with.
    fn new_key(&self, args: &RekeyArgs) -> Result<Key> {
        let file = args.new_vault_password_file.iter().cloned().collect();
        let ids: Vec<String> = args.new_vault_id.iter().cloned().collect();
        if ids.is_empty() && args.new_vault_password_file.is_none() {
            return new_password();
        }
        let passwords = VaultPasswordArgs {
            vault_id: ids,
            vault_password_file: file,
            ..VaultPasswordArgs::default()
        };
        let secrets = self.read(&passwords)?;
        // The new identity stands behind those of the settings.
        let last = secrets.ids().last().map(str::to_owned);
        let id = args.key.encrypt_vault_id.clone().or(last);
        secrets.encryption_key(id.as_deref())
    }
}

/// Asks for a new password, twice.
fn new_password() -> Result<Key> {
    let password = asked("New Vault password: ")?;
    if password != asked("Confirm New Vault password: ")? {
        return Err(Error::content("passwords do not match").help("type them again"));
    }
    let mut secrets = Secrets::default();
    secrets.add(vault::DEFAULT_ID, password.into_bytes());
    secrets.encryption_key(None)
}

fn asked(prompt: &str) -> Result<String> {
    let password = terminal::ask_password(prompt)?;
    if password.trim().is_empty() {
        return Err(Error::content(
            "invalid vault password was provided: it is empty",
        ));
    }
    Ok(password.trim().to_owned())
}

/// Returns the exit code of `ansible-vault`: 5 for a use of options that makes no sense, else 1.
pub(super) fn exit_code(error: &Error) -> u8 {
    match error.kind {
        ErrorKind::Usage => EXIT_OPTIONS,
        _ => EXIT_ERROR,
    }
}

/// Options that contradict each other, as `ansible-vault` exits.
const EXIT_OPTIONS: u8 = 5;

fn encrypt_strings(args: &StringArgs, files: &Disk, key: &Key) -> Result<()> {
    let mut inputs: Vec<(Vec<u8>, &str, Option<String>)> = Vec::new();
    let texts: Vec<&String> = args.texts.iter().filter(|text| *text != "-").collect();
    let from_stdin = texts.len() < args.texts.len()
        || args.stdin_name.is_some()
        || (args.texts.is_empty() && !args.prompt);
    if args.prompt && from_stdin {
        return Err(Error::usage(
            "the `--prompt` option is not supported if also reading input from stdin",
        ));
    }
    if args.prompt {
        let name = terminal::ask("Variable name (enter for no name): ")?;
        let typed = if args.show_input {
            terminal::ask("String to encrypt: ")?
        } else {
            terminal::ask_password("String to encrypt (hidden): ")?
        };
        inputs.push((
            typed.into_bytes(),
            "the interactive prompt",
            (!name.is_empty()).then_some(name),
        ));
    }
    if from_stdin {
        inputs.push((files.read("-")?, "stdin", args.stdin_name.clone()));
    }
    for (index, text) in texts.into_iter().enumerate() {
        let source = "the command line args";
        inputs.push((
            text.clone().into_bytes(),
            source,
            args.name.get(index).cloned(),
        ));
    }
    let mut out = String::new();
    for (index, (plaintext, source, name)) in inputs.iter().enumerate() {
        if plaintext.is_empty() {
            let told = format!("the plaintext provided from {source} was empty, not encrypting");
            return Err(Error::usage(told).help("give a text of at least one character"));
        }
        if inputs.len() > 1 {
            let number = index + 1;
            say(&match name {
                Some(name) => format!(
                    "# The encrypted version of variable (\"{name}\", the string #{number} from {source})."
                ),
                None => format!("# The encrypted version of the string #{number} from {source}.)"),
            });
        }
        out.push_str(&vault::encrypt_string(plaintext, name.as_deref(), key)?);
        out.push('\n');
    }
    files.write(args.output.as_deref().unwrap_or("-"), out.as_bytes())?;
    tell("Encryption successful");
    Ok(())
}

fn or_stdin(files: &[String]) -> Vec<&str> {
    if files.is_empty() {
        return vec!["-"];
    }
    files.iter().map(String::as_str).collect()
}

fn at_most_one(files: &[String], output: Option<&str>) -> Result<()> {
    if output.is_some() && files.len() > 1 {
        return Err(Error::usage(
            "at most one input file may be used with the `--output` option",
        ));
    }
    Ok(())
}

/// Tells a person that it worked; a program reads the exit code.
fn tell(text: &str) {
    if io::stdout().is_terminal() {
        say(text);
    }
}

fn say(text: &str) {
    // Without a stderr there is nobody to tell.
    writeln!(io::stderr().lock(), "{text}").ok();
}

fn editor(config: &Config, surroundings: &Surroundings) -> String {
    let from_environment = || surroundings.environment.get("EDITOR").cloned();
    config
        .text("EDITOR")
        .or_else(from_environment)
        .unwrap_or_else(|| "vi".into())
}

/// Files on the controller, and the user's editor.
struct Disk {
    editor: String,
}

impl VaultFiles for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = if path == "-" {
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            std::fs::read(path)
        };
        read.map_err(|error| {
            Error::content(format!("unable to read source file ({path})")).caused_by(error)
        })
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let written = if path == "-" {
            io::stdout().lock().write_all(content)
        } else {
            replace(Path::new(path), content)
        };
        written.map_err(|error| {
            Error::content(format!("the file {path} cannot be written")).caused_by(error)
        })
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn edit(&self, path: &str, content: &[u8]) -> Result<Vec<u8>> {
        let draft = Draft::new(path, content).map_err(|error| {
            Error::usage("a temporary file for the editor cannot be made").caused_by(error)
        })?;
        programs::edit(&self.editor, &draft.path)?;
        std::fs::read(&draft.path)
            .map_err(|error| Error::usage("the edited text cannot be read back").caused_by(error))
    }
}

/// Replaces a file in one step, keeping its owner and mode; a new one is its owner's alone.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the controller that the user named"
)]
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let before = std::fs::metadata(&path).ok();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = private(&beside)?;
    let done = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| {
            if let Some(before) = &before {
                std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid())).ok();
                file.set_permissions(std::fs::Permissions::from_mode(before.mode() & 0o7777))?;
            }
            std::fs::rename(&beside, &path)
        });
    if done.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    done
}

fn private(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A plaintext on its way through the editor; overwritten and removed when dropped.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(original: &str, content: &[u8]) -> io::Result<Self> {
        let extension = Path::new(original)
            .extension()
            .unwrap_or_default()
            .to_string_lossy();
        let name = format!("backstay-{:016x}.{extension}", rand::random::<u64>());
        let draft = Self {
            path: directory().join(name.trim_end_matches('.')),
        };
        private(&draft.path)?.write_all(content)?;
        Ok(draft)
    }
}

/// Returns a directory in memory where there is one, else the one for temporary files.
fn directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

impl Drop for Draft {
    #[expect(
        clippy::disallowed_methods,
        reason = "the controller's own temporary file"
    )]
    fn drop(&mut self) {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&self.path) {
            let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
            file.write_all(&zeros).ok();
            file.sync_all().ok();
        }
        std::fs::remove_file(&self.path).ok();
    }
}
