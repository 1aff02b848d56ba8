//! Lookup plugins: what templates read from the controller, and the lists behind `with_*` loops.
//!
//! [`World`] is what one task sees of the controller: where it searches files, the environment
//! and the vault secrets, as they were handed over. It is the template room's `Services`. Knows
//! nothing of plays, tasks or hosts beyond that.

mod collections;
mod controller;
mod files;
mod password;
mod search;
mod sequence;
mod tables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use search::{expand_home, template_variables};

use crate::source::{Mark, SourceFile};
use crate::template::{LookupCall, LookupError, PathState, Services};
use crate::value::{Map, Value};
use crate::vault::{self, Secrets};

/// The names of all lookups.
pub const NAMES: &[&str] = &[
    "cartesian",
    "community.general.cartesian",
    "community.general.flattened",
    "config",
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "lines",
    "list",
    "nested",
    "password",
    "pipe",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "unvault",
    "url",
    "varnames",
    "vars",
];

/// The inventory, as `inventory_hostnames` asks it.
pub trait Hosts: Send + Sync {
    /// Returns the hosts a pattern matches, or nothing when the pattern is wrong.
    fn matching(&self, pattern: &str) -> Vec<String>;
}

/// Returns a setting of ansible.cfg by its name, or an option of a plugin by the plugin's type and
/// name and its own; `None` when there is none of that name.
pub type Setting = Arc<dyn Fn(Option<(&str, &str)>, &str) -> Option<KnownSetting> + Send + Sync>;

/// A setting and where it is from.
#[derive(Clone, Debug)]
pub struct KnownSetting {
    pub value: Value,
    pub origin: String,
    /// The variables that set it where nothing else does, weakest first.
    pub variables: &'static [&'static str],
}

/// The controller as one task sees it.
#[derive(Clone)]
pub struct World {
    /// The directory of the playbook.
    pub base_dir: PathBuf,
    /// Where relative files are searched, nearest first: the role, its parents, the playbook.
    pub search_paths: Vec<PathBuf>,
    pub environment: Arc<HashMap<String, String>>,
    pub secrets: Arc<Secrets>,
    /// The task's action; `with_first_found` searches `templates`, `vars` or `files` by it.
    pub action: Option<String>,
    pub hosts: Option<Arc<dyn Hosts>>,
    pub setting: Option<Setting>,
    pub warnings: Arc<dyn Fn(String, Option<Mark>) + Send + Sync>,
    /// Hears what will stop working, and where it is written.
    pub deprecations: Arc<dyn Fn(String, Mark) + Send + Sync>,
}

impl World {
    /// Makes a world that searches in `base_dir` and knows nothing else.
    pub fn new(base_dir: impl Into<PathBuf>) -> Self {
        let base_dir = base_dir.into();
        Self {
            search_paths: vec![base_dir.clone()],
            base_dir,
            environment: Arc::default(),
            secrets: Arc::default(),
            action: None,
            hosts: None,
            setting: None,
            warnings: Arc::new(|_, _| {}),
            deprecations: Arc::new(|_, _| {}),
        }
    }
}

type Found = Result<Vec<Value>, LookupError>;

/// Options of a lookup, checked against what the plugin takes.
struct Options<'a> {
    plugin: &'a str,
    given: &'a Map,
}

impl<'a> Options<'a> {
    fn new(call: &'a LookupCall<'_>, known: &[&str]) -> Result<Self, LookupError> {
        for name in call.options.keys() {
            let name = name.as_str().unwrap_or_default();
            if !known.contains(&name) {
                let near = crate::error::nearest(name, known.iter().copied())
                    .map(|near| format!(" (did you mean '{near}'?)"))
                    .unwrap_or_default();
                return Err(LookupError::Failed(format!(
                    "'{name}' is not a known option of the lookup{near}"
                )));
            }
        }
        Ok(Self {
            plugin: call.name,
            given: &call.options,
        })
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.given
            .get(name)
            .filter(|value| !matches!(value, Value::Null))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(ToString::to_string)
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, LookupError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.to_soft_bool().ok_or_else(|| {
                LookupError::Failed(format!(
                    "option '{name}' of lookup '{}' must be a boolean, not '{value}'",
                    self.plugin
                ))
            }),
        }
    }

    fn int(&self, name: &str) -> Result<Option<i128>, LookupError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.to_string().trim().parse().map(Some).map_err(|_| {
                LookupError::Failed(format!(
                    "option '{name}' of lookup '{}' must be an integer, not '{value}'",
                    self.plugin
                ))
            }),
        }
    }
}

impl Services for World {
    fn lookup(&self, mut call: LookupCall<'_>) -> Found {
        // Those that moved to a collection go by both names.
        call.name = call.name.trim_start_matches("community.general.");
        match call.name {
            "items" | "list" | "dict" | "nested" | "cartesian" | "together" | "subelements"
            | "indexed_items" | "flattened" | "random_choice" => collections::lookup(&call),
            "sequence" => sequence::lookup(&call),
            "file" | "unvault" | "template" | "fileglob" | "first_found" => {
                files::lookup(self, &call)
            }
            "csvfile" => tables::csvfile(self, &call),
            "ini" => tables::ini(self, &call),
            // Files of others that are locked, programs and servers may take their time.
            "password" => aside(|| password::lookup(self, &call)),
            "pipe" | "url" | "lines" => aside(|| controller::lookup(self, &call)),
            _ => controller::lookup(self, &call),
        }
    }

    fn lookup_names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, String> {
        plaintext(ciphertext, &self.secrets)
    }

    fn encrypt(
        &self,
        text: &str,
        secret: &str,
        id: Option<&str>,
        salt: Option<&str>,
    ) -> Result<String, String> {
        let (text, secret) = (text.as_bytes(), secret.as_bytes());
        Ok(match salt {
            Some(salt) => vault::encrypt_with_salt(text, secret, id, salt.as_bytes()),
            None => vault::encrypt(text, secret, id),
        })
    }

    fn decrypt_with(&self, ciphertext: &str, secret: &str) -> Result<String, String> {
        let mut secrets = Secrets::default();
        secrets.add("filter_default", secret.as_bytes());
        plaintext(ciphertext, &secrets)
    }

    fn load_template(&self, name: &str, from: Option<&str>) -> Result<Arc<SourceFile>, String> {
        let path = self.find_template(name, from).ok_or(name)?;
        let text = self.read_text(&path)?;
        Ok(SourceFile::new(path.display().to_string(), text))
    }

    fn path_state(&self, path: &str, follow: bool) -> Option<PathState> {
        search::path_state(Path::new(path), follow)
    }

    fn is_vaulted_file(&self, path: &str) -> Result<bool, String> {
        let bytes = std::fs::read(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return format!("[Errno 2] No such file or directory: b'{path}'");
            }
            error.to_string()
        })?;
        Ok(vault::is_vaulted(&bytes))
    }

    fn real_path(&self, path: &str) -> String {
        search::real_path(Path::new(path))
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        search::glob(pattern)
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn home(&self, user: Option<&str>) -> Option<String> {
        match user {
            None => self.environment.get("HOME").cloned(),
            Some(user) => search::home_of(user),
        }
    }

    fn warn(&self, message: String, mark: Option<&Mark>) {
        (self.warnings)(message, mark.cloned());
    }

    fn deprecate(&self, message: String, mark: &Mark) {
        (self.deprecations)(message, mark.clone());
    }
}

/// Does what may take long without holding up the other tasks of a runtime's thread.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

fn plaintext(ciphertext: &str, secrets: &Secrets) -> Result<String, String> {
    let bytes =
        vault::decrypt(ciphertext.trim().as_bytes(), secrets).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "the decrypted text is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slow_lookup_leaves_its_thread_to_the_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let heard = runtime.block_on(async {
            let lookup = tokio::spawn(async {
                let (tell, told) = std::sync::mpsc::channel();
                tokio::spawn(async move { tell.send("other").unwrap() });
                super::aside(|| told.recv().unwrap())
            });
            lookup.await.unwrap()
        });
        assert_eq!(heard, "other");
    }

    use indexmap::IndexMap;

    use super::*;
    use crate::node::Node;
    use crate::source::Mark;
    use crate::template::{Binding, Engine, TemplateOptions};

    struct Fixture {
        directory: tempfile::TempDir,
    }

    impl Fixture {
        #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = directory.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self { directory }
        }

        fn world(&self) -> World {
            let mut world = World::new(self.directory.path());
            world
                .search_paths
                .insert(0, self.directory.path().join("roles/web"));
            world.environment = Arc::new(
                [
                    ("PORT".into(), "80".into()),
                    ("PATH".into(), "/bin:/usr/bin".into()),
                ]
                .into(),
            );
            world
        }

        fn scope() -> IndexMap<Arc<str>, Binding> {
            [
                ("name".into(), Binding::from("app")),
                ("name_two".into(), Binding::from(2)),
            ]
            .into_iter()
            .collect()
        }

        fn render(&self, text: &str) -> String {
            let file = SourceFile::new("play.yml", text);
            let node = Node::text(Mark::start_of(&file), text);
            let engine = Engine::new(Arc::new(self.world()));
            let shown = match engine.render(&node, &Self::scope()) {
                Ok(rendered) => crate::value::repr(&rendered.into_value().unwrap_or_default()),
                Err(error) => format!("! {error}"),
            };
            shown.replace(&self.directory.path().display().to_string(), "$ROOT")
        }

        fn file(&self, name: &str) -> String {
            let path = self.directory.path().join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            let file = SourceFile::new(path.display().to_string(), text);
            Engine::new(Arc::new(self.world()))
                .template_text(&file, &TemplateOptions::default(), &Self::scope())
                .unwrap_or_else(|error| format!("! {error}"))
        }
    }

    #[test]
    fn files_are_searched_in_the_role_first_and_then_beside_the_playbook() {
        let fixture = Fixture::new(&[
            ("roles/web/files/a.txt", "role\n"),
            ("files/a.txt", "play\n"),
            ("b.txt", " beside \n"),
        ]);
        assert_eq!(fixture.render("{{ lookup('file', 'a.txt') }}"), "'role'");
        assert_eq!(
            fixture.render("{{ lookup('file', 'b.txt', lstrip=true) }}"),
            "'beside'"
        );
        assert_eq!(
            fixture.render("{{ lookup('file', 'a.txt', 'b.txt') }}"),
            "'role, beside'"
        );
        assert_eq!(fixture.render("{{ query('file', 'a.txt') }}"), "['role']");
        assert_eq!(
            fixture.render("{{ lookup('file', 'gone') }}"),
            "! The lookup plugin 'file' failed: Unable to access the file 'gone': File not found. Use -vvvvv to see paths searched."
        );
        assert_eq!(
            fixture.render("{{ lookup('file', 'gone', errors='ignore') }}"),
            "None"
        );
        assert_eq!(
            fixture.render("{{ lookup('file', '{{ 'a' }}.txt') }}"),
            "! Syntax error in template: expected token ',', got 'a'"
        );
        assert_eq!(
            fixture
                .render("{{ lookup('file', '{{ name }}.txt', errors='ignore', wantlist=true) }}"),
            "[]"
        );
    }

    // As ansible-core 2.19.14 says it.
    #[test]
    fn an_undefined_default_counts_only_where_the_variable_is_not_set() {
        let fixture = Fixture::new(&[]);
        let render = |text: &str| fixture.render(text);
        assert_eq!(
            render("{{ lookup('env', 'PORT', default=undef()) }}"),
            "'80'"
        );
        assert_eq!(
            render("{{ lookup('env', 'NOPE', default=undef()) }}"),
            "! The environment variable 'NOPE' is not set."
        );
        assert_eq!(
            render("{{ lookup('env', 'NOPE', default=undef('give it')) }}"),
            "! give it"
        );
        assert_eq!(
            render("{{ lookup('env', 'NOPE', default=gone) }}"),
            "! 'gone' is undefined"
        );
        assert_eq!(
            render("{{ lookup('env', 'PORT') | ansible._protomatter.origin }}"),
            "\"<environment variable 'PORT'>\""
        );
    }

    #[test]
    fn lookups_that_moved_to_a_collection_go_by_both_names() {
        let fixture = Fixture::new(&[]);
        for name in ["flattened", "community.general.flattened"] {
            let text = format!("{{{{ query('{name}', [[1, [2]], 3]) }}}}");
            assert_eq!(fixture.render(&text), "[1, 2, 3]");
        }
        for name in ["cartesian", "community.general.cartesian"] {
            let text = format!("{{{{ query('{name}', [1], [2]) }}}}");
            assert_eq!(fixture.render(&text), "[[1, 2]]");
        }
    }

    #[test]
    fn first_found_and_fileglob_name_the_files_they_find() {
        let fixture = Fixture::new(&[
            ("files/one.conf", ""),
            ("files/two.conf", ""),
            ("vars/x.yml", ""),
        ]);
        assert_eq!(
            fixture.render("{{ lookup('fileglob', '*.conf') }}"),
            "'$ROOT/files/one.conf,$ROOT/files/two.conf'"
        );
        assert_eq!(
            fixture.render(
                "{{ lookup('first_found', {'files': ['no.yml', 'x.yml'], 'paths': ['vars']}) }}"
            ),
            "'$ROOT/vars/x.yml'"
        );
        assert_eq!(
            fixture.render("{{ query('first_found', 'gone', skip=true) }}"),
            "[]"
        );
    }

    #[test]
    fn a_template_includes_and_imports_what_stands_beside_it() {
        let fixture = Fixture::new(&[
            (
                "templates/main.j2",
                "{% from 'macros.j2' import hi %}{% import 'macros.j2' as m %}{{ hi(name) }} {{ m.hi('x') }}\n{% include 'part.j2' %}",
            ),
            (
                "templates/macros.j2",
                "{% macro hi(who) %}hi {{ who }}{% endmacro %}",
            ),
            ("templates/part.j2", "part of {{ name }}\n"),
            (
                "templates/base.j2",
                "<{% block a %}base{% endblock %}|{% block b %}b{% endblock %}>\n",
            ),
            (
                "templates/child.j2",
                "{% extends 'base.j2' %}{% block a %}{{ super() }}+child{% endblock %}",
            ),
        ]);
        assert_eq!(
            fixture.file("templates/main.j2"),
            "hi app hi x\npart of app"
        );
        assert_eq!(fixture.file("templates/child.j2"), "<base+child|b>");
        assert_eq!(
            fixture.render("{{ lookup('template', 'part.j2', template_vars={'name': 'other'}) }}"),
            "'part of other\\n'"
        );
    }

    #[test]
    fn the_controller_answers_for_its_environment_commands_and_variables() {
        let fixture = Fixture::new(&[]);
        assert_eq!(
            fixture.render("{{ lookup('env', 'PORT') }}{{ lookup('env', 'GONE', default='-') }}"),
            "'80-'"
        );
        assert_eq!(
            fixture.render("{{ lookup('pipe', 'echo a; echo b') }}"),
            "'a\\nb'"
        );
        assert_eq!(
            fixture.render("{{ query('lines', 'echo a; echo b') }}"),
            "['a', 'b']"
        );
        assert_eq!(
            fixture.render("{{ lookup('pipe', 'exit 3') }}"),
            "! The lookup plugin 'pipe' failed: lookup_plugin.pipe(exit 3) returned 3"
        );
        assert_eq!(
            fixture.render("{{ lookup('vars', 'name') }}{{ lookup('vars', 'gone', default='d') }}"),
            "'appd'"
        );
        assert_eq!(
            fixture.render("{{ lookup('vars', 'gone') }}"),
            "! No variable named 'gone' was found."
        );
        assert_eq!(
            fixture.render("{{ query('varnames', '^name') }}"),
            "['name', 'name_two']"
        );
        assert_eq!(
            fixture.render("{{ lookup('fiel', 'x') }}"),
            "! The lookup plugin 'fiel' was not found."
        );
    }

    #[test]
    fn a_password_is_made_once_and_found_again() {
        let fixture = Fixture::new(&[]);
        let first =
            fixture.render("{{ lookup('password', 'credentials/db length=12 chars=digits') }}");
        assert_eq!(first.len(), 14);
        assert_eq!(
            fixture.render("{{ lookup('password', 'credentials/db') }}"),
            first
        );
        let hashed = "{{ lookup('password', 'credentials/db encrypt=sha256_crypt') }}";
        assert_eq!(fixture.render(hashed), fixture.render(hashed));
    }

    #[test]
    fn tables_are_searched_by_key() {
        let fixture = Fixture::new(&[
            ("files/t.csv", "k,v,w\na,1,2\n"),
            ("files/t.ini", "[web]\nport=8080\n"),
        ]);
        assert_eq!(
            fixture.render("{{ lookup('csvfile', 'a', file='t.csv', delimiter=',', col=2) }}"),
            "'2'"
        );
        assert_eq!(
            fixture.render("{{ lookup('csvfile', 'a file=t.csv delimiter=,') }}"),
            "'1'"
        );
        assert_eq!(
            fixture.render("{{ lookup('ini', 'port', section='web', file='t.ini') }}"),
            "'8080'"
        );
        assert_eq!(
            fixture.render("{{ lookup('ini', 'gone', section='web', file='t.ini', default='d') }}"),
            "'d'"
        );
    }

    #[test]
    fn vaulted_text_round_trips_through_the_filters() {
        let fixture = Fixture::new(&[]);
        assert_eq!(
            fixture.render("{{ 'secret' | vault('pw') | unvault('pw') }}"),
            "'secret'"
        );
        assert_eq!(
            fixture.render("{{ 'secret' | vault('pw') is vault_encrypted }}"),
            "False"
        );
    }
}
