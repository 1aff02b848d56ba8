//! What the engine asks of the world: lookups, files of the controller, vault, warnings.
//!
//! The engine itself touches no file, process, environment or network; whoever runs it offers a
//! `Services` that may.

use std::sync::Arc;

use crate::source::{Mark, SourceFile};
use crate::template::TemplateError;
use crate::value::{Map, Value};

/// One call of a lookup plugin, its terms and options already rendered.
pub struct LookupCall<'a> {
    /// The name without `ansible.builtin.`.
    pub name: &'a str,
    pub terms: Vec<Value>,
    /// Keyword arguments without `wantlist` and `errors`.
    pub options: Map,
    /// Whether a `with_NAME` loop asks (its terms were flattened by the caller).
    pub from_loop: bool,
    pub reader: &'a dyn Reader,
}

/// What a lookup can ask back of the render that called it.
pub trait Reader {
    /// Returns the rendered variable `name`, or `None` when there is none of that name.
    fn variable(&self, name: &str) -> Result<Option<Value>, TemplateError>;

    /// Returns the names of all variables.
    fn names(&self) -> Vec<Arc<str>>;

    /// Renders `file` as the template module does, with `extra` variables on top.
    fn template(
        &self,
        file: &Arc<SourceFile>,
        options: &super::TemplateOptions,
        extra: &Map,
    ) -> Result<Value, TemplateError>;
}

/// Why a lookup gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum LookupError {
    /// The plugin failed; `errors=ignore` and `errors=warn` apply.
    Failed(String),
    /// A template or variable the plugin read failed.
    Template(TemplateError),
}

impl From<String> for LookupError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl From<&str> for LookupError {
    fn from(message: &str) -> Self {
        Self::Failed(message.into())
    }
}

impl From<TemplateError> for LookupError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

/// What stands at a path of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    pub is_dir: bool,
    pub is_file: bool,
    pub is_link: bool,
    pub is_mount: bool,
    /// Device and inode, what makes two paths the same file.
    pub identity: (u64, u64),
}

/// The world around a render.
pub trait Services: Send + Sync {
    /// Runs a lookup plugin.
    fn lookup(&self, call: LookupCall<'_>) -> Result<Vec<Value>, LookupError>;

    /// Returns the short names of all lookup plugins.
    fn lookup_names(&self) -> &'static [&'static str];

    /// Returns the plaintext of `!vault` text; the error is a full sentence.
    fn decrypt(&self, ciphertext: &str) -> Result<String, String>;

    /// Returns vaulted text of `plaintext` under `secret`, with a random salt unless one is given,
    /// for the `vault` filter.
    fn encrypt(
        &self,
        plaintext: &str,
        secret: &str,
        id: Option<&str>,
        salt: Option<&str>,
    ) -> Result<String, String>;

    /// Returns the plaintext of `ciphertext` under `secret`, for the `unvault` filter.
    fn decrypt_with(&self, ciphertext: &str, secret: &str) -> Result<String, String>;

    /// Returns the template that `include`, `import` and `extends` name, searched beside the
    /// template `from` that names it and along the template search path.
    fn load_template(&self, name: &str, from: Option<&str>) -> Result<Arc<SourceFile>, String>;

    /// Returns what stands at `path`, the link itself unless `follow`.
    fn path_state(&self, path: &str, follow: bool) -> Option<PathState>;

    /// Tells whether a file holds vaulted text; the error is Python's.
    fn is_vaulted_file(&self, path: &str) -> Result<bool, String>;

    /// Returns the absolute path with every link resolved as far as it exists.
    fn real_path(&self, path: &str) -> String;

    /// Returns the paths a shell pattern matches, sorted.
    fn glob(&self, pattern: &str) -> Vec<String>;

    /// Returns an environment variable of the controller.
    fn environment(&self, name: &str) -> Option<String>;

    /// Returns the home directory of `user`, or of the user who runs us.
    fn home(&self, user: Option<&str>) -> Option<String>;

    /// Tells the user something that is no error, and where it is written if that is known.
    fn warn(&self, message: String, mark: Option<&Mark>);

    /// Tells the user of something that will stop working.
    fn deprecate(&self, message: String, mark: &Mark);
}

/// A world with nothing in it: no lookups, no files, no secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Isolated;

impl Services for Isolated {
    fn lookup(&self, call: LookupCall<'_>) -> Result<Vec<Value>, LookupError> {
        Err(LookupError::Template(TemplateError::new(format!(
            "The lookup plugin '{}' was not found.",
            call.name
        ))))
    }

    fn lookup_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn decrypt(&self, _ciphertext: &str) -> Result<String, String> {
        Err("Attempting to decrypt but no vault secrets found.".into())
    }

    fn encrypt(
        &self,
        _plaintext: &str,
        _secret: &str,
        _id: Option<&str>,
        _salt: Option<&str>,
    ) -> Result<String, String> {
        Err("vault is not available here".into())
    }

    fn decrypt_with(&self, _ciphertext: &str, _secret: &str) -> Result<String, String> {
        Err("vault is not available here".into())
    }

    fn load_template(&self, name: &str, _from: Option<&str>) -> Result<Arc<SourceFile>, String> {
        Err(name.into())
    }

    fn path_state(&self, _path: &str, _follow: bool) -> Option<PathState> {
        None
    }

    fn is_vaulted_file(&self, _path: &str) -> Result<bool, String> {
        Err("there are no files".into())
    }

    fn real_path(&self, path: &str) -> String {
        path.into()
    }

    fn glob(&self, _pattern: &str) -> Vec<String> {
        Vec::new()
    }

    fn environment(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self, _user: Option<&str>) -> Option<String> {
        None
    }

    fn warn(&self, _message: String, _mark: Option<&Mark>) {}

    fn deprecate(&self, _message: String, _mark: &Mark) {}
}
