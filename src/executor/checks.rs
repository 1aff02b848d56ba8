//! Whole runs in one process: real playbooks, real modules behind agents on threads of this
//! process, and what was told on the way.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::connection::AgentSession;
use super::failure::Failure;
use super::session::{Connector, Pending, RawOutput, Session, Target};
use super::{Cancellation, Executable, Run, RunOptions, RunOutcome, Unattended, run_with};
use crate::agent::client::Agent;
use crate::agent::serve;
use crate::error::Error;
use crate::event::{Event, TaskResult};
use crate::inventory::{Inventory, InventoryOptions};
use crate::playbook::{Context, FileKind, Files, TaskIds, Vars, VarsFiles};
use crate::source::SourceFile;
use crate::template::{Engine, Isolated};
use crate::transport::ConnectContext;
use crate::value::{JsonStyle, Value, to_json};
use crate::vars::{Constants, HostFiles, Settings, StaticNames, Variables};
use crate::yaml::ReadOptions;

/// Files of the disk, as they are.
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

/// Agents on threads of this process; a host called `down` does not answer.
struct InProcess;

impl Connector for InProcess {
    fn open<'a>(&'a self, target: &'a Target) -> Pending<'a, Result<Box<dyn Session>, Failure>> {
        Box::pin(async move {
            if target.endpoint.name.starts_with("down") {
                return Err(Failure::unreachable("no answer"));
            }
            let (near, far) = UnixStream::pair().unwrap();
            std::thread::spawn(move || serve::serve(far.try_clone().unwrap(), far));
            near.set_nonblocking(true).unwrap();
            let near = tokio::net::UnixStream::from_std(near).unwrap();
            let (input, output) = near.into_split();
            let agent = Agent::start(Box::new(input), Box::new(output), None, &[]).await;
            let agent = agent.map_err(Failure::from)?;
            Ok(Box::new(AgentSession { agent }) as Box<dyn Session>)
        })
    }

    fn open_afresh<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pending<'a, Result<Box<dyn Session>, Failure>> {
        self.open(target)
    }

    fn raw<'a>(
        &'a self,
        _target: &'a Target,
        command: &'a str,
    ) -> Pending<'a, Result<RawOutput, Failure>> {
        Box::pin(async move {
            Ok(RawOutput {
                stdout: format!("ran {command}\n").into_bytes(),
                ..RawOutput::default()
            })
        })
    }

    fn disconnect<'a>(&'a self, _target: &'a Target) -> Pending<'a, ()> {
        Box::pin(async {})
    }
}

/// A run to be made.
#[must_use = "nothing runs before `run`"]
pub(super) struct Case {
    root: TempDir,
    inventory: String,
    pub(super) options: RunOptions,
}

/// What came of a run.
pub(super) struct Ran {
    pub(super) told: Vec<String>,
    pub(super) outcome: RunOutcome,
}

impl Case {
    /// Makes a case of a playbook.
    pub(super) fn new(playbook: &str) -> Self {
        let root = TempDir::new().unwrap();
        let mut options = RunOptions::new("/nowhere", root.path());
        options.working_directory = root.path().to_owned();
        Self {
            root,
            inventory: "a,".into(),
            options,
        }
        .file("site.yml", playbook)
    }

    /// Adds a file beside the playbook.
    #[expect(clippy::disallowed_methods, reason = "lays out a case's own files")]
    pub(super) fn file(self, path: &str, text: &str) -> Self {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Names the hosts, with commas.
    pub(super) fn hosts(mut self, hosts: &str) -> Self {
        self.inventory = format!("{hosts},");
        self
    }

    /// Runs the playbook.
    pub(super) fn run(&self) -> Ran {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.run_here())
    }

    async fn run_here(&self) -> Ran {
        let root = self.root.path();
        let options = InventoryOptions::new(root);
        let (inventory, _) =
            Inventory::load(std::slice::from_ref(&self.inventory), &options).unwrap();
        let engine = Engine::new(Arc::new(Isolated));
        let extra: Arc<Vars> = Arc::default();
        let templates = StaticNames::new(engine.clone(), Arc::clone(&extra));
        let files: Arc<dyn Files + Send> = Arc::new(Disk);
        let host_files = HostFiles::new(&inventory, options);
        let inventory = Arc::new(inventory);
        let variables = Variables::new(
            Settings {
                constants: Constants {
                    playbook_dir: root.to_string_lossy().into_owned(),
                    ..Constants::default()
                },
                extra: Arc::clone(&extra),
                engine: engine.clone(),
                vars_files: VarsFiles::new(Arc::clone(&files), ReadOptions::default()),
                merge: false,
                inject_facts: true,
            },
            Arc::clone(&inventory),
            host_files,
        );
        let context = Context {
            files: &*files,
            templates: &templates,
            catalog: &Executable,
            roles_path: vec![root.join("roles")],
            collections_path: Vec::new(),
            working_directory: root.to_owned(),
            home: None,
            yaml: ReadOptions::default(),
            private_role_vars: None,
            module_path: Vec::new(),
            unknown_keyword_fails: true,
            ids: TaskIds::default(),
        };
        let playbook = crate::playbook::load(&root.join("site.yml"), &context)
            .unwrap_or_else(|errors| panic!("{errors:#?}"));
        let (events, mut told) = mpsc::unbounded_channel();
        let (_trigger, cancel) = Cancellation::new();
        let run = Run {
            options: self.options.clone(),
            context: &context,
            files: Arc::clone(&files),
            engine,
            lookups: crate::lookups::World::new(root),
            inventory,
            limit: None,
            variables,
            extra,
            reload: None,
            decrypt: Arc::new(|_| Err("no secrets".into())),
            connect: ConnectContext::new(root, "me"),
            prompter: Arc::new(Unattended),
            events,
            cancel,
        };
        let outcome = run_with(run, Arc::new(InProcess), &[playbook]).await;
        let mut lines = Vec::new();
        while let Ok(event) = told.try_recv() {
            lines.extend(line(&event, root));
        }
        Ran {
            told: lines,
            outcome,
        }
    }
}

impl Ran {
    /// Returns what was told but the recap, in order.
    pub(super) fn story(&self) -> String {
        let lines = self.told.iter().filter(|line| !line.starts_with("RECAP"));
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    /// Returns the recap's lines.
    pub(super) fn recap(&self) -> Vec<&str> {
        let lines = self
            .told
            .iter()
            .filter_map(|line| line.strip_prefix("RECAP "));
        lines.collect()
    }
}

fn line(event: &Event, root: &Path) -> Vec<String> {
    let result = |word: &str, result: &TaskResult| {
        let to = result
            .delegate
            .as_ref()
            .map(|to| format!(" -> {to}"))
            .unwrap_or_default();
        let item = result
            .item
            .as_ref()
            .map(|item| format!(" ({item})"))
            .unwrap_or_default();
        let error = result
            .error
            .as_ref()
            .map(|error| format!(" error: {}", chain(error)))
            .unwrap_or_default();
        format!(
            "{word}{:?}: {}{to}{item} {}{error}",
            result.status,
            result.host,
            shown(&result.result)
        )
    };
    let lines = match event {
        Event::PlayStarted { name, hosts, .. } => vec![format!("PLAY {name} {}", hosts.join(","))],
        Event::TaskStarted { task } if task.handler => vec![format!("HANDLER {}", task.title())],
        Event::TaskStarted { task } => vec![format!("TASK {}", task.title())],
        Event::ItemFinished(told) => vec![result("item ", told)],
        Event::HostFinished(told) => vec![result("", told)],
        Event::Retried { retries_left, .. } => vec![format!("RETRY {retries_left}")],
        Event::Included { what, hosts, item } => {
            let item = item.as_ref().map(|item| format!(" ({item})"));
            vec![format!(
                "included {what} for {}{}",
                hosts.join(","),
                item.unwrap_or_default()
            )]
        }
        Event::NoHostsMatched => vec!["NO HOSTS MATCHED".into()],
        Event::NoHostsRemaining => vec!["NO HOSTS LEFT".into()],
        Event::HandlerNotified { handler, host } => vec![format!("notified {handler} for {host}")],
        Event::Meta { text, .. } => vec![format!("META {text}")],
        Event::Warning { message, .. } => vec![format!("WARNING {message}")],
        Event::Failed(error) => vec![format!("ERROR {}", chain(error))],
        Event::Finished { stats, .. } => stats
            .iter()
            .map(|(host, line)| {
                format!(
                    "RECAP {host} ok={} changed={} unreachable={} failed={} skipped={} \
                     rescued={} ignored={}",
                    line.ok,
                    line.changed,
                    line.unreachable,
                    line.failed,
                    line.skipped,
                    line.rescued,
                    line.ignored
                )
            })
            .collect(),
        _ => Vec::new(),
    };
    let root = root.to_string_lossy();
    lines
        .into_iter()
        .map(|line| line.replace(&*root, "$ROOT"))
        .collect()
}

fn chain(error: &Error) -> String {
    let causes = error.causes.iter().map(|cause| cause.message.as_str());
    std::iter::once(error.message.as_str())
        .chain(causes)
        .collect::<Vec<_>>()
        .join(": ")
}

fn shown(result: &Value) -> String {
    let mut map = result.as_map().cloned().unwrap_or_default();
    for volatile in [
        "start",
        "end",
        "delta",
        "exception",
        "invocation",
        "_ansible_item_label",
    ] {
        map.shift_remove(volatile);
    }
    let style = JsonStyle {
        sort_keys: true,
        ..JsonStyle::default()
    };
    to_json(&map.into(), style)
}

#[test]
fn a_failed_task_is_rescued_and_notified_handlers_run_at_each_flush() {
    let ran = Case::new(
        "- hosts: all\n  gather_facts: false\n  tasks:\n\
         \x20   - {debug: {msg: 1}, changed_when: true, notify: h1}\n\
         \x20   - meta: flush_handlers\n\
         \x20   - block:\n        - fail:\n        - debug: {msg: never}\n\
         \x20     rescue:\n        - debug: {msg: \"{{ ansible_failed_task.action }}\"}\n\
         \x20 handlers:\n    - {name: h1, debug: {msg: h1}}\n",
    )
    .run();
    assert_eq!(
        ran.story(),
        "PLAY all a\n\
         TASK debug\n\
         Changed: a {\"_ansible_verbose_always\": true, \"changed\": true, \"msg\": 1}\n\
         TASK meta\n\
         notified h1 for a\n\
         META triggered running handlers for a\n\
         HANDLER h1\n\
         Ok: a {\"_ansible_verbose_always\": true, \"changed\": false, \"msg\": \"h1\"}\n\
         TASK fail\n\
         Failed: a {\"changed\": false, \"msg\": \"Failed as requested from task\"} \
         error: Task failed: Action failed: Failed as requested from task\n\
         TASK debug\n\
         Ok: a {\"_ansible_verbose_always\": true, \"changed\": false, \"msg\": \"fail\"}\n"
    );
    assert_eq!(
        ran.recap(),
        ["a ok=3 changed=1 unreachable=0 failed=0 skipped=0 rescued=1 ignored=0"]
    );
    assert!(ran.outcome.failed.is_empty());
}

#[test]
fn an_unreachable_host_ends_for_itself_and_the_others_go_on() {
    let ran =
        Case::new("- hosts: all\n  gather_facts: false\n  tasks:\n    - ping:\n    - ping:\n")
            .hosts("down1,up")
            .run();
    assert_eq!(
        ran.recap(),
        [
            "down1 ok=0 changed=0 unreachable=1 failed=0 skipped=0 rescued=0 ignored=0",
            "up ok=2 changed=0 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0"
        ]
    );
    assert_eq!(ran.outcome.unreachable, ["down1".into()]);
}

#[test]
fn a_failed_batch_ends_the_play_before_the_next_batch() {
    let ran = Case::new(
        "- hosts: all\n  gather_facts: false\n  serial: 1\n  tasks:\n    - fail:\n- hosts: all\n  \
         gather_facts: false\n  tasks:\n    - debug:\n",
    )
    .hosts("a,b")
    .run();
    assert_eq!(
        ran.recap(),
        ["a ok=0 changed=0 unreachable=0 failed=1 skipped=0 rescued=0 ignored=0"]
    );
    assert_eq!(ran.outcome.failed, ["a".into()]);
}

#[test]
fn files_of_the_controller_are_copied_once_and_templates_see_the_hosts_variables() {
    let playbook = "- hosts: all\n  gather_facts: false\n  vars: {who: world}\n  tasks:\n\
                    \x20   - {copy: {src: tree, dest: \"{{ playbook_dir }}/out/\"}}\n\
                    \x20   - {copy: {src: tree, dest: \"{{ playbook_dir }}/out/\"}}\n\
                    \x20   - {template: {src: t.j2, dest: \"{{ playbook_dir }}/out/t\"}, register: r}\n\
                    \x20   - {template: {src: t.j2, dest: \"{{ playbook_dir }}/out/t\"}}\n\
                    \x20   - {command: \"cat {{ r.dest }} {{ playbook_dir }}/out/tree/x/y\", register: c}\n\
                    \x20   - {assert: {that: [\"c.stdout_lines == ['hello world', 'yy']\"]}}\n";
    let ran = Case::new(playbook)
        .file("files/tree/x/y", "yy")
        .file("templates/t.j2", "hello {{ who }}\n")
        .run();
    assert_eq!(
        ran.recap(),
        ["a ok=6 changed=3 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0"],
        "{}",
        ran.story()
    );
}

#[test]
fn a_loop_registers_every_item_and_a_failed_one_fails_the_task() {
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n\
                    \x20   - {command: \"{{ item }}\", loop: ['true', 'false'], register: r, \
                    ignore_errors: true}\n\
                    \x20   - assert:\n        that:\n\
                    \x20         - r is failed\n\
                    \x20         - r.results | map(attribute='rc') == [0, 1]\n\
                    \x20         - r.results[1].exception == '(traceback unavailable)'\n\
                    \x20         - r.results[1].stdout_lines == []\n\
                    \x20         - r.msg == 'One or more items failed'\n";
    let ran = Case::new(playbook).run();
    assert_eq!(
        ran.recap(),
        ["a ok=2 changed=1 unreachable=0 failed=0 skipped=0 rescued=0 ignored=1"],
        "{}",
        ran.story()
    );
}

#[test]
fn an_include_that_fails_is_rescued_once_and_is_fatal_to_all_where_that_is_said() {
    let rescued = "- hosts: all\n  gather_facts: false\n  tasks:\n    - block:\n\
                   \x20       - {include_tasks: \"{{ item }}\", loop: [a, b]}\n\
                   \x20     rescue:\n        - debug:\n";
    let ran = Case::new(rescued).run();
    assert!(ran.outcome.failed.is_empty(), "{}", ran.story());
    let fatal = "- hosts: all\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n\
                 \x20   - {include_tasks: no.yml, when: inventory_hostname == 'a'}\n\
                 \x20   - debug:\n";
    let ran = Case::new(fatal).hosts("a,b").run();
    assert_eq!(
        ran.recap(),
        [
            "a ok=0 changed=0 unreachable=0 failed=1 skipped=0 rescued=0 ignored=0",
            "b ok=0 changed=0 unreachable=0 failed=0 skipped=1 rescued=0 ignored=0"
        ],
        "{}",
        ran.story()
    );
}

#[test]
fn a_template_that_is_wrong_fails_only_its_task_where_failures_are_met() {
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n\
                    \x20   - {debug: {msg: '{{ 1 + }}'}, ignore_errors: true}\n\
                    \x20   - debug:\n";
    let ran = Case::new(playbook).run();
    assert_eq!(
        ran.recap(),
        ["a ok=2 changed=0 unreachable=0 failed=0 skipped=0 rescued=0 ignored=1"],
        "{}",
        ran.story()
    );
}

#[test]
fn any_errors_fatal_ends_all_hosts_and_run_once_runs_on_one() {
    let playbook = "- hosts: all\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n\
                    \x20   - {set_fact: {x: 1}, run_once: true}\n\
                    \x20   - {assert: {that: x == 1}}\n\
                    \x20   - {fail: {msg: no}, when: inventory_hostname == 'a'}\n\
                    \x20   - debug:\n";
    let ran = Case::new(playbook).hosts("a,b").run();
    assert_eq!(
        ran.recap(),
        [
            "a ok=2 changed=0 unreachable=0 failed=1 skipped=0 rescued=0 ignored=0",
            "b ok=1 changed=0 unreachable=0 failed=0 skipped=1 rescued=0 ignored=0"
        ],
        "{}",
        ran.story()
    );
}
