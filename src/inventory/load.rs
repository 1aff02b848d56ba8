//! Reads inventory sources: files, directories, executables and lists of hosts.
//!
//! Which reader a source gets is Ansible's order of plugins; a source is taken whole or not at
//! all. What stands in a source is the readers' matter.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::graph::push_once;
use super::{
    Inventory, InventoryOptions, VariableFiles, Warning, address, constructed, generator, ini,
    plugin, script, structure, toml,
};
use crate::error::{Error, nearest};
use crate::node::Node;
use crate::pyregex::{Flags, Pattern};
use crate::source::SourceFile;
use crate::vault;
use crate::yaml;

/// The readers there are, by the names of Ansible's plugins.
const READERS: [&str; 9] = [
    "advanced_host_list",
    "auto",
    "constructed",
    "generator",
    "host_list",
    "ini",
    "script",
    "toml",
    "yaml",
];

/// The file that is read when nothing names an inventory; it may be absent.
const DEFAULT_SOURCE: &str = "/etc/ansible/hosts";

impl Inventory {
    /// Reads all sources, and the variable files beside them for every host and group.
    pub fn load(
        sources: &[String],
        options: &InventoryOptions,
    ) -> Result<(Self, Vec<Warning>), Vec<Error>> {
        let mut loader = Loader::new(options).map_err(|error| vec![error])?;
        let mut any_parsed = false;
        for source in sources.iter().filter(|source| !source.is_empty()) {
            any_parsed |= loader.source(source);
        }
        loader.conclude(any_parsed);
        let errors = loader.errors;
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut inventory = loader.inventory;
        inventory.read_variable_files();
        let warnings = inventory.take_warnings();
        Ok((inventory, warnings))
    }
}

/// How a text spells an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Ini,
    Toml,
    Yaml,
}

impl Inventory {
    /// Reads one text as an inventory of its own, without the files beside it.
    pub fn read(
        file: &Arc<SourceFile>,
        format: Format,
    ) -> Result<(Self, Vec<Warning>), Vec<Error>> {
        let mut inventory = Self::default();
        match format {
            Format::Ini => ini::read(file, &mut inventory),
            Format::Toml => toml::read(file, &mut inventory),
            Format::Yaml => structure::read(&yaml::parse(file)?.root, &mut inventory),
        }
        .map_err(|error| vec![error])?;
        inventory.reconcile();
        let warnings = inventory.take_warnings();
        Ok((inventory, warnings))
    }
}

struct Loader<'a> {
    options: &'a InventoryOptions,
    ignored: Vec<Pattern>,
    inventory: Inventory,
    /// Why sources were left out.
    refusals: Vec<Error>,
    errors: Vec<Error>,
}

/// Why a reader did not take a source.
struct Refusal {
    plugin: &'static str,
    error: Error,
}

impl<'a> Loader<'a> {
    fn new(options: &'a InventoryOptions) -> Result<Self, Error> {
        let compile = |pattern: &String| {
            Pattern::text(pattern, Flags::default()).map_err(|_| {
                Error::content(format!("`{pattern}` is no regular expression"))
                    .help("correct the setting `inventory_ignore_patterns`")
            })
        };
        let mut inventory = Inventory::default();
        inventory.group_names = options.group_names;
        inventory.pattern_mismatch = options.pattern_mismatch;
        let is_unknown = |name: &&String| !READERS.contains(&short_name(name));
        for name in options.enabled.iter().filter(is_unknown) {
            let mut told =
                Warning::new(format!("Failed to load inventory plugin, skipping {name}"));
            told.help = nearest(name, READERS).map(|near| format!("did you mean `{near}`?"));
            inventory.warnings.push(told);
        }
        Ok(Self {
            options,
            ignored: options
                .ignored_patterns
                .iter()
                .map(compile)
                .collect::<Result<_, _>>()?,
            inventory,
            refusals: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Reads one source as the user named it; tells whether anything in it could be read.
    fn source(&mut self, source: &str) -> bool {
        let path = clean(&self.options.working_directory.join(source));
        if source.contains(',') && !path.exists() {
            return match self.host_list(source) {
                Ok(()) => true,
                Err(error) => {
                    let plugin = "advanced_host_list";
                    self.refuse(Path::new(source), vec![Refusal { plugin, error }]);
                    false
                }
            };
        }
        let directory = if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent()
        };
        if let Some(directory) = directory {
            let directory = directory
                .canonicalize()
                .unwrap_or_else(|_| directory.to_path_buf());
            self.inventory
                .add_variable_files(VariableFiles::beside(&directory, self.options));
        }
        self.inventory.sources.push(path.clone().into());
        self.path(&path, source)
    }

    fn path(&mut self, path: &Path, shown: &str) -> bool {
        if path.is_dir() {
            return self.directory(path, shown);
        }
        self.inventory.current_source = Some(path.into());
        let parsed = match self.file(path, shown) {
            Ok(()) => true,
            Err(refusals) => {
                self.refuse(path, refusals);
                false
            }
        };
        self.inventory.current_source = None;
        parsed
    }

    fn directory(&mut self, path: &Path, shown: &str) -> bool {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names.retain(|name| !self.is_ignored(name));
        let mut parsed = false;
        for name in names {
            let shown = format!("{}/{name}", shown.trim_end_matches('/'));
            parsed |= self.path(&path.join(&name), &shown);
        }
        if !parsed {
            self.refuse(path, Vec::new());
        }
        parsed
    }

    fn is_ignored(&self, name: &str) -> bool {
        name.starts_with('.')
            || ["host_vars", "group_vars", "vars_plugins"].contains(&name)
            || self
                .options
                .ignored_extensions
                .iter()
                .any(|ending| name.ends_with(ending.as_str()))
            || self
                .ignored
                .iter()
                .any(|pattern| pattern.search(name).is_ok_and(|found| found.is_some()))
    }

    /// Gives a file to the readers that want it, in their order, until one takes it.
    fn file(&mut self, path: &Path, shown: &str) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        if !path.exists() {
            return Err(refusals);
        }
        let extension = path
            .extension()
            .map(|extension| format!(".{}", extension.to_string_lossy()))
            .unwrap_or_default();
        for plugin in &self.options.enabled {
            let before = self.inventory.clone();
            let (plugin, read) = match short_name(plugin) {
                "script" if is_executable(path) => ("script", self.script(path)),
                "auto" if [".yml", ".yaml"].contains(&extension.as_str()) => {
                    match self.plugin(path, shown, None) {
                        Some(read) => ("auto", read),
                        None => continue,
                    }
                }
                plugin @ ("constructed" | "generator")
                    if ["", ".config", ".yml", ".yaml", ".json"].contains(&extension.as_str()) =>
                {
                    match self.plugin(path, shown, Some(plugin)) {
                        Some(read) => ("auto", read),
                        None => continue,
                    }
                }
                "yaml" if ["", ".yml", ".yaml", ".json"].contains(&extension.as_str()) => {
                    ("yaml", self.yaml(path, shown))
                }
                "ini" if extension != ".toml" => ("ini", self.ini(path, shown)),
                "toml" if extension == ".toml" => ("toml", self.toml(path, shown)),
                _ => continue,
            };
            match read {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let told = std::mem::replace(&mut self.inventory, before).warnings;
                    // What a script said explains its failure.
                    if plugin == "script" {
                        self.inventory.warnings = told;
                    }
                    refusals.push(Refusal { plugin, error });
                }
            }
        }
        Err(refusals)
    }

    fn script(&mut self, path: &Path) -> Result<(), Error> {
        let Some(runner) = &self.options.scripts else {
            return Err(Error::content("executable inventories cannot be run here"));
        };
        let runner = Arc::clone(runner);
        let tells_all = self.options.shows_script_errors;
        script::read(path, runner.as_ref(), tells_all, &mut self.inventory)
    }

    /// Runs the plugin that a file configures, or nothing where it configures none, or another
    /// than the `wanted` one.
    fn plugin(
        &mut self,
        path: &Path,
        shown: &str,
        wanted: Option<&str>,
    ) -> Option<Result<(), Error>> {
        let document = self.document(path, shown).ok()?;
        let (mark, name) = plugin::named(&document.root)?;
        let short = short_name(&name);
        if wanted.is_some_and(|wanted| wanted != short) {
            return None;
        }
        let run: fn(&Node, &dyn super::Expressions, &mut Inventory) -> Result<(), Error> =
            match short {
                "constructed" => constructed::read,
                "generator" => generator::read,
                _ => {
                    return Some(Err(Error::content(format!(
                        "there is no inventory plugin `{name}`"
                    ))
                    .at(&mark.mark)
                    .suggest(short, ["constructed", "generator"])
                    .help("write its hosts into a file with `ansible-inventory --list`")));
                }
            };
        let Some(expressions) = self.options.expressions.clone() else {
            return Some(Err(Error::content("inventory plugins cannot be run here")));
        };
        Some(run(&document.root, &*expressions, &mut self.inventory))
    }

    fn document(&self, path: &Path, shown: &str) -> Result<yaml::Document, Error> {
        let file = read_text(path, shown, self.options)?;
        yaml::parse_with(&file, self.options.yaml).map_err(|mut errors| errors.swap_remove(0))
    }

    fn toml(&mut self, path: &Path, shown: &str) -> Result<(), Error> {
        let file = read_text(path, shown, self.options)?;
        toml::read(&file, &mut self.inventory)
    }

    fn yaml(&mut self, path: &Path, shown: &str) -> Result<(), Error> {
        let document = self.document(path, shown)?;
        if document.root.is_null() {
            return Err(Error::content(format!("`{shown}` is empty"))
                .help("name at least one group or host in it"));
        }
        structure::read(&document.root, &mut self.inventory)?;
        for (text, mark) in document.warnings {
            let help = Some("Using last defined value only.".to_string());
            push_once(
                &mut self.inventory.warnings,
                Warning {
                    mark: Some(mark),
                    help,
                    ..Warning::new(text)
                },
            );
        }
        Ok(())
    }

    fn ini(&mut self, path: &Path, shown: &str) -> Result<(), Error> {
        let file = read_text(path, shown, self.options)?;
        ini::read(&file, &mut self.inventory)
    }

    /// Tells why no reader took a source: as warnings, or as an error where that is asked for.
    fn refuse(&mut self, path: &Path, mut refusals: Vec<Refusal>) {
        if path == Path::new(DEFAULT_SOURCE) && !path.exists() {
            return;
        }
        let told = most_telling(&mut refusals);
        let shown = path.display();
        if self.options.any_unparsed_is_failed {
            let whole = Error::usage(format!(
                "completely failed to parse inventory source `{shown}`"
            ));
            self.errors.push(match told {
                Some(refusal) => because(whole, refusal.error),
                None => whole.help("check the path given with `-i`"),
            });
            return;
        }
        let warnings = &mut self.inventory.warnings;
        if let Some(refusal) = told {
            self.refusals.push(refusal.error.clone());
            let mut warning = Warning::from(refusal.error);
            warning.text = format!(
                "Failed to parse inventory with '{}' plugin: {}",
                refusal.plugin, warning.text
            );
            push_once(warnings, warning);
        }
        let text = format!("Unable to parse {shown} as an inventory source");
        push_once(warnings, Warning::new(text));
    }

    /// Reads `a,b,` as names of hosts.
    fn host_list(&mut self, list: &str) -> Result<(), Error> {
        let takes_ranges = self
            .options
            .enabled
            .iter()
            .map(|name| short_name(name))
            .find(|name| ["host_list", "advanced_host_list"].contains(name))
            == Some("advanced_host_list");
        let mut hosts = Vec::new();
        for entry in list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            hosts.push(if takes_ranges {
                self.listed_range(entry)?
            } else {
                let parsed = address::parse(entry).filter(|(host, _)| !host.contains('['));
                let (host, port) = parsed.unwrap_or((entry, None));
                (vec![host.to_string()], port)
            });
        }
        for (names, port) in hosts {
            for name in names {
                self.inventory.add_listed_host(&name, port, list);
            }
        }
        Ok(())
    }

    /// Returns the hosts of a range; one of a strange shape is a name, as in Ansible.
    fn listed_range(&mut self, entry: &str) -> Result<(Vec<String>, Option<u16>), Error> {
        match address::expand(entry) {
            Err(why) if address::is_no_number(why) => {
                Err(Error::content(why).help("ranges are `[1:9]`, `[01:50:2]` or `[a:f]`"))
            }
            Err(why) => {
                let told =
                    format!("Unable to parse address from hostname, leaving unchanged: {why}");
                self.inventory.warnings.push(Warning {
                    verbosity: 3,
                    ..Warning::new(told)
                });
                Ok((vec![entry.to_string()], None))
            }
            Ok(expanded) => Ok(expanded),
        }
    }

    fn conclude(&mut self, any_parsed: bool) {
        self.inventory.reconcile();
        if any_parsed {
            return;
        }
        if self.options.unparsed_is_failed {
            let whole = Error::usage("no inventory was parsed");
            let refusals = std::mem::take(&mut self.refusals);
            let told = refusals.into_iter().fold(whole, because);
            self.errors
                .push(told.help("check the configuration and the paths given with `-i`"));
        } else if self.options.unparsed_warning {
            let text = "No inventory was parsed, only implicit localhost is available";
            push_once(&mut self.inventory.warnings, Warning::new(text));
        }
    }
}

/// Removes `.` and `..` from a path without following links.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// Adds a reader's error to the error about a source.
fn because(whole: Error, reason: Error) -> Error {
    let mut told = match &reason.mark {
        Some(mark) => whole.caused_by_at(&reason.message, mark),
        None => whole.caused_by(&reason.message),
    };
    told.causes.extend(reason.causes);
    match reason.help {
        Some(help) => told.help(help),
        None => told,
    }
}

/// Reads a text file, decrypting it when it is vaulted.
pub(super) fn read_text(
    path: &Path,
    shown: &str,
    options: &InventoryOptions,
) -> Result<Arc<SourceFile>, Error> {
    let mut bytes = std::fs::read(path)
        .map_err(|error| Error::content(format!("cannot read `{shown}`: {}", reason(&error))))?;
    if vault::is_vaulted(&bytes) {
        bytes = vault::decrypt(&bytes, &options.secrets).map_err(|error| {
            let file = SourceFile::new(shown, String::from_utf8_lossy(&bytes));
            Error::from(error).at(&crate::source::Mark::start_of(&file))
        })?;
    }
    let text = String::from_utf8(bytes).or_else(|error| without_comments(error.as_bytes()));
    text.map(|text| SourceFile::new(shown, text)).map_err(|_| {
        Error::content(format!("`{shown}` is not UTF-8 text")).help("save it as UTF-8")
    })
}

/// Returns a text whose comment lines hold other encodings, these lines emptied.
fn without_comments(bytes: &[u8]) -> Result<String, std::str::Utf8Error> {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| match line.first() {
            Some(b'#' | b';') => Ok(""),
            _ => std::str::from_utf8(line),
        });
    lines
        .collect::<Result<Vec<_>, _>>()
        .map(|lines| lines.join("\n"))
}

/// Picks the refusal of the reader the file was surely written for.
fn most_telling(refusals: &mut Vec<Refusal>) -> Option<Refusal> {
    let is_yaml = |refusal: &Refusal| {
        refusal.plugin == "yaml"
            && refusal.error.mark.as_ref().is_some_and(|mark| {
                let name = &mark.file.name;
                [".yml", ".yaml", ".json"]
                    .iter()
                    .any(|ending| name.ends_with(ending))
                    || mark.file.text.trim_start().starts_with(['{', '-'])
            })
    };
    let chosen = refusals
        .iter()
        .position(|refusal| {
            matches!(refusal.plugin, "script" | "auto" | "toml") || is_yaml(refusal)
        })
        .or_else(|| refusals.len().checked_sub(1))?;
    Some(refusals.swap_remove(chosen))
}

fn short_name(plugin: &str) -> &str {
    plugin.strip_prefix("ansible.builtin.").unwrap_or(plugin)
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Returns why the system refused, without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
