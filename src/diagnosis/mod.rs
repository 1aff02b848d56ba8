//! What kind of thing went wrong, by which words, what to do, and the page that tells more.
//!
//! Pure: reads the result of a task, an error or a reason as text, and asks nobody. A class is a
//! guess by evidence, so the evidence is always told with it.

mod rules;

use crate::error::{Error, ErrorKind};
use crate::event::{Status, TaskResult};
use crate::value::Value;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Network,
    HostKey,
    Credentials,
    Privilege,
    Disk,
    PackageManager,
    Service,
    Health,
    Checksum,
    Lock,
    Runner,
    Clock,
    Degraded,
    Playbook,
    Interrupted,
    Partial,
    Task,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 17] = [
        Self::Network,
        Self::HostKey,
        Self::Credentials,
        Self::Privilege,
        Self::Disk,
        Self::PackageManager,
        Self::Service,
        Self::Health,
        Self::Checksum,
        Self::Lock,
        Self::Runner,
        Self::Clock,
        Self::Degraded,
        Self::Playbook,
        Self::Interrupted,
        Self::Partial,
        Self::Task,
    ];

    /// Returns the words users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::HostKey => "host key",
            Self::Credentials => "credentials",
            Self::Privilege => "privilege",
            Self::Disk => "disk",
            Self::PackageManager => "package manager",
            Self::Service => "service",
            Self::Health => "health",
            Self::Checksum => "checksum",
            Self::Lock => "lock",
            Self::Runner => "runner",
            Self::Clock => "clock",
            Self::Degraded => "degraded",
            Self::Playbook => "playbook",
            Self::Interrupted => "interrupted",
            Self::Partial => "partial state",
            Self::Task => "task",
        }
    }

    /// Returns the word that programs see: `host_key`, `package_manager` …
    pub fn word(self) -> String {
        self.name().replace(' ', "_")
    }

    /// Returns what to do, for one line.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Network => "check the address, the route and firewalls with `backstay doctor`",
            Self::HostKey => "compare the fingerprint with the host's own before you accept it",
            Self::Credentials => "renew the key or password; `backstay secrets check` tells which",
            Self::Privilege => "let the login user become the other one, or give its password",
            Self::Disk => "free space or mount it writable, then deploy again",
            Self::PackageManager => {
                "run the package manager on the host by hand and read its answer"
            }
            Self::Service => "read the unit's journal on the host: `journalctl -u UNIT -n 50`",
            Self::Health => "read the application's log on the host; the old version is back",
            Self::Checksum => "build and publish the artifact again, then compare its sha256",
            Self::Lock => "see who holds it with `backstay lock list`, and wait",
            Self::Runner => "look at the runner's service; deploy from the secondary meanwhile",
            Self::Clock => "set the clock right: `timedatectl` tells whether it is kept",
            Self::Degraded => "end what keeps it busy, or deploy from the secondary meanwhile",
            Self::Playbook => "correct the playbook or variable at the place that is named",
            Self::Interrupted => "deploy again; `backstay status` tells what stands",
            Self::Partial => "settle it with `backstay recover`, then look at `backstay status`",
            Self::Task => "read the task's output above and repeat its command on the host",
        }
    }

    /// Returns the runbook and its section.
    pub fn page(self) -> &'static str {
        match self {
            Self::Network => "docs/runbooks/network-unreachable.md#network",
            Self::HostKey => "docs/runbooks/network-unreachable.md#host-key",
            Self::Credentials => "docs/runbooks/secrets-expired.md#credentials",
            Self::Privilege => "docs/runbooks/deploy-failed.md#privilege",
            Self::Disk => "docs/runbooks/deploy-failed.md#disk",
            Self::PackageManager => "docs/runbooks/deploy-failed.md#package-manager",
            Self::Service => "docs/runbooks/deploy-failed.md#service",
            Self::Health => "docs/runbooks/deploy-failed.md#health",
            Self::Checksum => "docs/runbooks/deploy-failed.md#checksum",
            Self::Lock => "docs/runbooks/deploy-failed.md#lock",
            Self::Runner => "docs/runbooks/runner-offline.md#runner",
            Self::Clock => "docs/runbooks/degraded.md#clock",
            Self::Degraded => "docs/runbooks/degraded.md#degraded",
            Self::Playbook => "docs/runbooks/deploy-failed.md#playbook",
            Self::Interrupted => "docs/runbooks/rollback.md#interrupted",
            Self::Partial => "docs/runbooks/rollback.md#partial-state",
            Self::Task => "docs/runbooks/deploy-failed.md#task",
        }
    }
}

/// One failure, named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub class: Class,
    /// The words it is known by, one line.
    pub evidence: String,
    /// What to do, one line.
    pub remedy: String,
}

impl Diagnosis {
    /// Makes a diagnosis with the remedy of its class.
    pub fn new(class: Class, evidence: &str) -> Self {
        Self {
            class,
            evidence: one_line(evidence),
            remedy: class.remedy().to_owned(),
        }
    }

    /// Names the failure of a host's task; nothing where it did not fail.
    pub fn of_result(result: &TaskResult) -> Option<Self> {
        let lost = match result.status {
            Status::Failed => false,
            Status::Unreachable => true,
            _ => return None,
        };
        let said = said(&result.result);
        let class = if lost {
            rules::of_connection(&said).unwrap_or(Class::Network)
        } else {
            rules::of_task(&result.task.action, &said)
        };
        let diagnosis = Self::new(class, &evidence(&result.result));
        let help = result.error.as_ref().and_then(|error| error.help.clone());
        Some(diagnosis.helped(help))
    }

    /// Names an error that ended a run.
    pub fn of_error(error: &Error) -> Self {
        let class = match error.kind {
            ErrorKind::Locked => Class::Lock,
            ErrorKind::Unreachable => {
                rules::of_connection(&error.message).unwrap_or(Class::Network)
            }
            ErrorKind::TaskFailed => rules::of_words(&error.message).unwrap_or(Class::Task),
            ErrorKind::Usage | ErrorKind::Content | ErrorKind::Refused | ErrorKind::Missing => {
                rules::of_words(&error.message).unwrap_or(Class::Playbook)
            }
            ErrorKind::Internal => Class::Runner,
        };
        Self::new(class, &error.to_string()).helped(error.help.clone())
    }

    /// Names the reason a transaction tells for not being committed.
    pub fn of_reason(reason: &str) -> Self {
        let class = if rules::is_interruption(reason) {
            Class::Interrupted
        } else {
            rules::of_connection(reason)
                .or_else(|| rules::of_words(reason))
                .unwrap_or(Class::Task)
        };
        Self::new(class, reason)
    }

    /// Returns it as one line: class, evidence, remedy, page.
    pub fn line(&self) -> String {
        format!(
            "{}: {}; {}; see {}",
            self.class.name(),
            self.evidence,
            self.remedy,
            self.class.page()
        )
    }

    /// Returns it as programs read it.
    pub fn to_value(&self) -> Value {
        Value::map([
            ("class", Value::from(self.class.word())),
            ("evidence", self.evidence.as_str().into()),
            ("remedy", self.remedy.as_str().into()),
            ("page", self.class.page().into()),
        ])
    }

    fn helped(self, help: Option<String>) -> Self {
        match help {
            Some(remedy) => Self { remedy, ..self },
            None => self,
        }
    }
}

/// The texts of a result that tell why it failed, the plainest first.
const TELLING: [&str; 4] = ["msg", "stderr", "reason", "stdout"];

/// Returns all that a result says of its failure, its items' words included.
fn said(result: &Value) -> String {
    let mut all: Vec<&str> = texts(result).collect();
    let items = result.get("results").and_then(Value::as_list);
    for item in items.into_iter().flatten().filter(|item| is_failed(item)) {
        all.extend(texts(item));
    }
    all.join("\n")
}

/// Returns the words that are shown: of the first failed item where the result is a loop's.
fn evidence(result: &Value) -> String {
    let items = result.get("results").and_then(Value::as_list);
    let mut failed = items.into_iter().flatten().filter(|item| is_failed(item));
    let told = failed.next().unwrap_or(result);
    let message = texts(told).next().unwrap_or("no message");
    let stderr = told.get("stderr").and_then(Value::as_str);
    match stderr.and_then(|text| text.lines().rev().find(|line| !line.trim().is_empty())) {
        // `command` says no more than this itself.
        Some(last) if message == "non-zero return code" => format!("{message}: {last}"),
        _ => message.to_owned(),
    }
}

fn is_failed(item: &Value) -> bool {
    ["failed", "unreachable"]
        .iter()
        .any(|key| item.get(key).is_some_and(Value::is_truthy))
}

fn texts(result: &Value) -> impl Iterator<Item = &str> {
    TELLING
        .iter()
        .filter_map(|key| result.get(key).and_then(Value::as_str))
        .filter(|text| !text.trim().is_empty())
}

/// The longest evidence, in characters: a line that is read at three in the morning.
const LONGEST: usize = 240;

fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or("no message");
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TaskInfo;
    use crate::source::{Mark, SourceFile};
    use std::path::Path;
    use std::sync::Arc;

    fn failed(action: &str, status: Status, json: &str) -> Diagnosis {
        let file = SourceFile::new("site.yml", "x");
        let task = TaskInfo {
            id: 1,
            name: String::new(),
            role: None,
            action: action.into(),
            mark: Mark::new(&file, 1, 1),
            arguments: None,
            no_log: false,
            check_mode: false,
            handler: false,
            looped: false,
        };
        let result = TaskResult {
            host: "web1".into(),
            delegate: None,
            task: Arc::new(task),
            status,
            result: serde_json::from_str(json).unwrap(),
            item: None,
            error: None,
            diff: false,
            steps: Vec::new(),
        };
        Diagnosis::of_result(&result).unwrap()
    }

    #[test]
    fn a_failure_is_named_by_what_the_module_said_before_what_the_module_is() {
        let class = |action: &str, json: &str| failed(action, Status::Failed, json).class;
        let cases = [
            (
                "apt",
                r#"{"msg":"No package matching 'x' is available"}"#,
                Class::PackageManager,
            ),
            (
                "apt",
                r#"{"msg":"E: write: No space left on device"}"#,
                Class::Disk,
            ),
            (
                "ansible.builtin.copy",
                r#"{"msg":"[Errno 28] No space left on device"}"#,
                Class::Disk,
            ),
            (
                "copy",
                r#"{"msg":"[Errno 30] Read-only file system"}"#,
                Class::Disk,
            ),
            (
                "systemd",
                r#"{"msg":"Unable to start service app: failed"}"#,
                Class::Service,
            ),
            (
                "uri",
                r#"{"msg":"Status code was 503 and not [200]"}"#,
                Class::Health,
            ),
            ("uri", r#"{"msg":"Connection refused"}"#, Class::Health),
            (
                "get_url",
                r#"{"msg":"The checksum for /a did not match"}"#,
                Class::Checksum,
            ),
            (
                "get_url",
                r#"{"msg":"Request failed: Connection refused"}"#,
                Class::Network,
            ),
            (
                "assert",
                r#"{"msg":"a.tar.gz is not what a.tar.gz.sha256 says"}"#,
                Class::Checksum,
            ),
            ("assert", r#"{"msg":"Assertion failed"}"#, Class::Playbook),
            (
                "debug",
                r#"{"msg":"Task failed: 'x' is undefined"}"#,
                Class::Playbook,
            ),
            (
                "ping",
                r#"{"msg":"Task failed: Missing sudo password"}"#,
                Class::Privilege,
            ),
            (
                "command",
                r#"{"msg":"non-zero return code","stderr":"boom"}"#,
                Class::Task,
            ),
            (
                "command",
                r#"{"msg":"non-zero return code","stderr":"Permission denied"}"#,
                Class::Privilege,
            ),
        ];
        for (action, json, wanted) in cases {
            assert_eq!(class(action, json), wanted, "{action} {json}");
        }
    }

    #[test]
    fn a_host_that_is_lost_is_a_network_failure_unless_it_says_what_it_refuses() {
        let class = |msg: &str| {
            let json = format!(r#"{{"msg":"{msg}","unreachable":true}}"#);
            failed("ping", Status::Unreachable, &json).class
        };
        assert_eq!(
            class("`10.0.0.1:22` cannot be reached: no route"),
            Class::Network
        );
        assert_eq!(
            class("`a:22` did not answer within 10 s while logging in"),
            Class::Network
        );
        assert_eq!(
            class("the host key of `a:22` has changed: it shows"),
            Class::HostKey
        );
        assert_eq!(
            class("`a:22` refused the login of `me`: tried nothing"),
            Class::Credentials
        );
        assert_eq!(
            class("the private key `/k` is encrypted"),
            Class::Credentials
        );
        assert_eq!(
            class("no private directory on the host takes a program of 9 bytes and runs it"),
            Class::Disk
        );
    }

    #[test]
    fn the_line_tells_class_evidence_remedy_and_page() {
        let json = r#"{"msg":"non-zero return code","stderr":"first\nlast\n","rc":1}"#;
        assert_eq!(
            failed("command", Status::Failed, json).line(),
            "task: non-zero return code: last; read the task's output above and repeat its \
             command on the host; see docs/runbooks/deploy-failed.md#task"
        );
    }

    #[test]
    fn a_loop_is_named_by_its_item_that_failed() {
        let json = r#"{"msg":"One or more items failed","results":[{"msg":"fine"},
            {"failed":true,"msg":"No space left on device"}]}"#;
        let diagnosis = failed("copy", Status::Failed, json);
        assert_eq!(diagnosis.class, Class::Disk);
        assert_eq!(diagnosis.evidence, "No space left on device");
    }

    #[test]
    fn an_error_keeps_its_own_help_and_a_reason_is_named_by_its_words() {
        let error = Error::new(ErrorKind::Locked, "the lock of web1 is held by a").help("wait");
        let diagnosis = Diagnosis::of_error(&error);
        assert_eq!((diagnosis.class, &*diagnosis.remedy), (Class::Lock, "wait"));
        let class = |reason| Diagnosis::of_reason(reason).class;
        assert_eq!(class("the run was interrupted"), Class::Interrupted);
        assert_eq!(class("web2: No space left on device"), Class::Disk);
        assert_eq!(class("web2: broken"), Class::Task);
    }

    #[test]
    fn every_class_leads_to_a_section_of_a_runbook() {
        for class in Class::ALL {
            let (page, anchor) = class.page().split_once('#').unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let has_heading = text
                .lines()
                .filter_map(|line| line.strip_prefix("## "))
                .any(|heading| heading.to_lowercase().replace(' ', "-") == anchor);
            assert!(has_heading, "{}", class.page());
        }
    }
}
