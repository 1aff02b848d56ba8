//! Playbooks whose output under ansible-core stands beside them: `cases/play/NAME.yml` and
//! `NAME.txt`, whose first line says which version printed the rest, and how it was called.
//!
//! A case is run in order (`-f 1`) over local connections, with the agent of this build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backstay::config::{Config, Surroundings};
use backstay::error::Error;
use backstay::executor::{self, Cancellation, Executable, Run, RunOptions, Unattended};
use backstay::inventory::{Inventory, InventoryOptions};
use backstay::lookups;
use backstay::playbook::{self, Context, FileKind, Files, TaskIds, Vars, VarsFiles};
use backstay::redactor::Redactor;
use backstay::report::default::{DefaultOptions, DefaultReporter};
use backstay::report::{Painter, Reporter, Streams};
use backstay::source::SourceFile;
use backstay::template::Engine;
use backstay::transport::ConnectContext;
use backstay::vars::{Constants, HostFiles, Settings, StaticNames, Variables};
use backstay::yaml::ReadOptions;

/// The disk as it is.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::content(format!("{}: {error}", path.display())))?;
        Ok(SourceFile::new(path.to_string_lossy(), text))
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(if metadata.is_dir() {
            FileKind::Directory
        } else {
            FileKind::File
        })
    }

    fn list(&self, directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/play")
}

/// Runs a playbook and returns what the default output shows of it, and the exit status.
async fn played(name: &str, hosts: &str, home: &Path) -> (String, u8) {
    let directory = cases();
    let options = InventoryOptions::new(&directory);
    let (inventory, _) = Inventory::load(&[hosts.to_owned()], &options).unwrap();
    let inventory = Arc::new(inventory);
    let engine = Engine::new(Arc::new(lookups::World::new(&directory)));
    let extra: Arc<Vars> = Arc::default();
    let templates = StaticNames::new(engine.clone(), Arc::clone(&extra));
    let files: Arc<dyn Files + Send> = Arc::new(Disk);
    let variables = Variables::new(
        Settings {
            constants: Constants {
                playbook_dir: directory.to_string_lossy().into_owned(),
                ..Constants::default()
            },
            extra: Arc::clone(&extra),
            engine: engine.clone(),
            vars_files: VarsFiles::new(Arc::clone(&files), ReadOptions::default()),
            merge: false,
            inject_facts: true,
        },
        Arc::clone(&inventory),
        HostFiles::new(&inventory, options),
    );
    let context = Context {
        files: &*files,
        templates: &templates,
        catalog: &Executable,
        roles_path: vec![directory.join("roles")],
        collections_path: Vec::new(),
        module_path: Vec::new(),
        working_directory: directory.clone(),
        home: None,
        yaml: ReadOptions::default(),
        private_role_vars: None,
        unknown_keyword_fails: true,
        ids: TaskIds::default(),
    };
    let playbook = playbook::load(&directory.join(format!("{name}.yml")), &context)
        .unwrap_or_else(|errors| panic!("{errors:#?}"));
    let mut run_options = RunOptions::new(env!("CARGO_BIN_EXE_backstay"), home);
    run_options.connection.connection = "local".into();
    run_options.working_directory.clone_from(&directory);
    run_options.forks = Some(1);
    let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (_trigger, cancel) = Cancellation::new();
    let run = Run {
        options: run_options,
        context: &context,
        files: Arc::clone(&files),
        engine,
        lookups: lookups::World::new(&directory),
        inventory,
        limit: None,
        variables,
        extra,
        reload: None,
        decrypt: Arc::new(|_| Err("no secrets".into())),
        connect: ConnectContext::new(home, "me"),
        prompter: Arc::new(Unattended),
        events,
        cancel,
    };
    let outcome = executor::run(run, &[playbook]).await;
    let status = match (outcome.unreachable.is_empty(), outcome.failed.is_empty()) {
        _ if outcome.error.is_some() => 1,
        (false, _) => 4,
        (_, false) => 2,
        _ => 0,
    };
    let config = Config::load(&Surroundings {
        working_directory: directory.clone(),
        home: home.to_owned(),
        environment: BTreeMap::new(),
    })
    .unwrap();
    let mut reporter = DefaultReporter::new(DefaultOptions::from_config(
        &config,
        0,
        79,
        Painter::new(false),
    ));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let redactor = Redactor::default();
    while let Ok(event) = told.try_recv() {
        let mut streams = Streams::new(&mut out, &mut err, &redactor);
        reporter.report(&event, &mut streams).unwrap();
    }
    let text = String::from_utf8(out).unwrap();
    (
        text.replace(&*directory.to_string_lossy(), "$CASES"),
        status,
    )
}

fn check(name: &str) {
    if let Some(difference) = differs(name) {
        panic!("{difference}");
    }
}

/// Replaces moments and durations, which are never the same.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, key)) = ["\"delta\": \"", "\"end\": \"", "\"start\": \""]
        .iter()
        .filter_map(|key| rest.find(key).map(|at| (at, *key)))
        .min()
    {
        let from = before + key.len();
        let length = rest[from..].find('"').unwrap_or(0);
        out += &rest[..from];
        rest = &rest[from + length..];
    }
    out + rest
}

/// Leaves out where the check of a role's arguments stands: ansible-core knows no place of the
/// task that it makes itself, and here it is the specification's.
fn without_places_of_specifications(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\nOrigin: ") {
        let told = after.starts_with("<unknown>") || {
            let place = after.lines().next().unwrap_or_default();
            place.contains("/meta/argument_specs.yml:")
        };
        out += before;
        rest = match after.find("\nfatal: ").filter(|_| told) {
            Some(end) => &after[end..],
            None => {
                out += "\nOrigin: ";
                after
            }
        };
    }
    out + rest
}

/// Returns what a case says at its head: `# key: value`, as often as it stands there.
fn said(name: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(cases().join(format!("{name}.yml"))).unwrap();
    let key = format!("# {key}:");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&key));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Has the command play a case that says how it is to be called.
#[expect(
    clippy::disallowed_methods,
    reason = "the process under test, and what is typed to it"
)]
fn commanded(name: &str, hosts: &str, home: &Path) -> (String, u8) {
    let place = home.to_string_lossy();
    let words = |key| said(name, key).concat().replace("$HOME", &place);
    let environment = words("environment");
    let environment = environment
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap());
    let input = words("input").replace('|', "\n");
    let mut options = said(name, "options");
    options.resize(options.len().max(1), String::new());
    let runs = said(name, "runs").concat().parse().unwrap_or(1);
    let (mut text, mut status) = (String::new(), 0);
    for words in std::iter::repeat_n(&options, runs).flatten() {
        let typed = home.join("input");
        std::fs::write(&typed, &input).unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(["play", "-i", hosts, "-f", "1", "-c", "local"])
            .arg(format!("{name}.yml"))
            .args(words.replace("$HOME", &place).split_whitespace())
            .current_dir(cases())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", &*place), ("TZ", "UTC")])
            .envs([("LC_ALL", "C.UTF-8")])
            .envs(environment.clone())
            .stdin(std::fs::File::open(typed).unwrap())
            .output()
            .unwrap();
        status = u8::try_from(done.status.code().unwrap()).unwrap();
        if options.len() > 1 {
            text += &format!("$ {words}, exit {status}\n");
        }
        text += &String::from_utf8(done.stdout).unwrap();
        if said(name, "stderr") == ["shown"] {
            text += "--- stderr\n";
            text += &String::from_utf8(done.stderr).unwrap();
        }
    }
    let text = text.replace(&*cases().to_string_lossy(), "$CASES");
    (text.replace(&*place, "$HOME"), status)
}

/// Plays a case and tells how it differs from what was recorded.
fn differs(name: &str) -> Option<String> {
    let recorded = std::fs::read_to_string(cases().join(format!("{name}.txt"))).unwrap();
    let (head, expected) = recorded.split_once('\n').unwrap();
    let hosts = head.split_whitespace().nth(3).unwrap();
    let status: u8 = head.rsplit(' ').next().unwrap().parse().unwrap();
    let home = tempfile::tempdir().unwrap();
    let by_command = ["options", "environment", "runs", "stderr"];
    let (text, ended) = if by_command.iter().any(|key| !said(name, key).is_empty()) {
        commanded(name, hosts, home.path())
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(played(name, hosts, home.path()))
    };
    let [expected, text] =
        [expected, &text].map(|text| without_places_of_specifications(&timeless(text)));
    let difference = similar::TextDiff::from_lines(expected.trim(), text.trim());
    if expected.trim() != text.trim() {
        let difference = difference.unified_diff().context_radius(4).to_string();
        return Some(format!(
            "{name}: ansible (-) and backstay (+) differ\n{difference}"
        ));
    }
    (ended != status).then(|| format!("{name}: exit {ended} instead of {status}"))
}

#[test]
fn every_playbook_that_names_its_hosts_prints_what_ansible_core_prints() {
    let entries = std::fs::read_dir(cases()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yml"))
        .filter(|path| {
            std::fs::read_to_string(path)
                .unwrap()
                .starts_with("# hosts: ")
        })
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    let failures: Vec<String> = names.iter().filter_map(|name| differs(name)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn failures_are_told_with_their_places() {
    check("failures");
}

#[test]
fn registered_results_have_the_shapes_of_ansible() {
    check("results");
}

#[test]
fn blocks_handlers_includes_and_batches_go_in_ansibles_order() {
    check("flow");
}

#[test]
fn any_errors_fatal_rescues_and_fails_every_host() {
    check("fatal");
}

#[test]
fn too_many_failed_hosts_end_the_run() {
    check("percentage");
}

#[test]
fn forced_handlers_run_on_failed_hosts() {
    check("forced");
}

#[test]
fn hosts_and_groups_that_appear_during_the_run_are_there_for_the_next_play() {
    check("groups");
}

#[test]
fn a_job_survives_its_session_until_its_time_is_over() {
    check("background");
}
