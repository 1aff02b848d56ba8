//! What `docker compose` tells on standard error while it works: as JSON, or as text before 2.29.
//!
//! Neither is a promise of Compose's; a line that is not understood is a warning.

use crate::value::Value;

const WORKING: [&str; 9] = [
    "Creating",
    "Starting",
    "Restarting",
    "Stopping",
    "Killing",
    "Removing",
    "Recreate",
    "Pulling",
    "Building",
];
const DONE: [&str; 12] = [
    "Started",
    "Healthy",
    "Exited",
    "Restarted",
    "Running",
    "Created",
    "Stopped",
    "Killed",
    "Removed",
    "Recreated",
    "Pulled",
    "Built",
];
const LAYER_DONE: [&str; 3] = ["Already exists", "Download complete", "Pull complete"];
const LAYER_WORKING: [&str; 5] = [
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Verifying Checksum",
    "Extracting",
];
const DRY_RUN: &str = "DRY-RUN MODE -";

/// Something that happened to something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Event {
    /// `container`, `image-layer` …
    what: &'static str,
    id: Option<String>,
    status: Option<String>,
    msg: Option<String>,
}

/// The events of one run, and what to warn of.
#[derive(Debug, Default)]
pub(super) struct Events {
    all: Vec<Event>,
    pub(super) warnings: Vec<String>,
}

/// What of the events is no change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ignored {
    pub(super) pulls: bool,
    pub(super) builds: bool,
}

impl Event {
    fn new(what: &'static str, id: &str, status: &str) -> Self {
        Self {
            what,
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            msg: None,
        }
    }

    fn error(msg: &str) -> Self {
        Self {
            msg: Some(msg.to_owned()),
            ..Self::new("unknown", "", "Error")
        }
    }

    fn is(&self, statuses: &[&str]) -> bool {
        let status = self.status.as_deref();
        status.is_some_and(|status| statuses.contains(&status))
    }

    fn is_of_layer(&self) -> bool {
        self.what == "image-layer" && (self.is(&LAYER_WORKING) || self.is(&["Working"]))
    }

    fn append(&mut self, more: &str) {
        self.msg = Some(match self.msg.take() {
            Some(msg) => format!("{msg}\n{more}"),
            None => more.to_owned(),
        });
    }

    fn action(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        Value::map([
            ("what", Value::from(self.what)),
            ("id", text(&self.id)),
            ("status", text(&self.status)),
        ])
    }
}

impl Events {
    /// Tells whether something changed.
    pub(super) fn has_changes(&self, ignored: Ignored) -> bool {
        self.all.iter().any(|event| {
            let is_ignored = ignored.pulls && event.is(&["Pulling", "Pulled"])
                || ignored.builds && event.is(&["Building", "Built"]);
            event.is(&WORKING) && !is_ignored || event.is_of_layer()
        })
    }

    /// Returns what was done, as the result tells it.
    pub(super) fn actions(&self) -> Vec<Value> {
        let mut actions: Vec<Value> = Vec::new();
        for event in &self.all {
            let action = event.action();
            let is_told = event.is_of_layer() && !actions.contains(&action);
            if is_told || event.what != "image-layer" && event.is(&WORKING) {
                actions.push(action);
            }
        }
        actions
    }

    /// Returns what went wrong, of a run that ended with `status`.
    pub(super) fn errors(&self, status: i32) -> String {
        let errors: Vec<String> = self
            .all
            .iter()
            .filter(|event| event.is(&["Error"]))
            .map(|event| {
                let said = event.msg.as_deref().or(event.status.as_deref());
                let said = said.unwrap_or_default();
                match (event.what, event.id.as_deref()) {
                    (_, None) | ("unknown", Some("")) => format!("General error: {said}"),
                    ("unknown", Some(id)) => format!("Error when processing {id}: {said}"),
                    (what, Some(id)) => format!("Error when processing {what} {id}: {said}"),
                }
            })
            .collect();
        if errors.is_empty() {
            format!("Return code {status} is non-zero")
        } else {
            errors.join("\n")
        }
    }

    fn cannot_read(&mut self, line: &str) {
        self.warnings
            .push(format!("Cannot parse event from line: '{line}'"));
    }

    /// Adds what events themselves warn of.
    fn with_told_warnings(mut self) -> Self {
        for event in &self.all {
            let is_warning = event.is(&["Warning"]) || event.status.is_none();
            if let Some(msg) = event.msg.as_deref().filter(|_| is_warning) {
                let id = event.id.as_deref().unwrap_or("None");
                self.warnings
                    .push(format!("Docker compose: {} {id}: {msg}", event.what));
            }
        }
        self
    }
}

fn resource(word: &str) -> Option<&'static str> {
    Some(match word {
        "Network" => "network",
        "Image" => "image",
        "Volume" => "volume",
        "Container" => "container",
        "Service" => "service",
        _ => return None,
    })
}

fn is_status(word: &str) -> bool {
    WORKING.contains(&word)
        || DONE.contains(&word)
        || ["Error", "Warning", "Waiting"].contains(&word)
}

/// Reads events in JSON, one a line.
pub(super) fn from_json(stderr: &str) -> Events {
    let mut events = Events::default();
    for line in stderr.lines().map(str::trim).filter(|it| !it.is_empty()) {
        if let Some(msg) = line.strip_prefix("Warning: ") {
            events.all.push(Event {
                what: "unknown",
                id: None,
                status: Some("Warning".into()),
                msg: Some(msg.to_owned()),
            });
            continue;
        }
        match serde_json::from_str::<Value>(line) {
            Ok(told @ Value::Map(_)) => {
                events.all.extend(of_object(&told, &mut events.warnings));
            }
            _ => events.cannot_read(line),
        }
    }
    events.with_told_warnings()
}

fn of_object(told: &Value, warnings: &mut Vec<String>) -> Option<Event> {
    let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_owned);
    let is_set = |key: &str| told.get(key).is_some_and(Value::is_truthy);
    if is_set("tail") {
        let msg = text("text").unwrap_or_default();
        let is_warning = msg.to_lowercase().starts_with("warning:");
        return Some(Event {
            what: "unknown",
            id: None,
            status: Some(if is_warning { "Warning" } else { "Error" }.into()),
            msg: Some(if is_warning {
                msg["warning:".len()..].trim_start().to_owned()
            } else {
                msg
            }),
        });
    }
    if is_set("error") {
        return Some(Event {
            what: "unknown",
            id: text("id"),
            status: Some("Error".into()),
            msg: text("message"),
        });
    }
    let (mut id, mut status, mut msg) = (text("id"), text("status"), text("text"));
    if id.as_deref() == Some(" ")
        && let Some(service) = msg
            .as_deref()
            .and_then(|it| it.strip_prefix("build service "))
    {
        id = Some(format!("Service {service}"));
        msg = Some("Building".into());
    }
    let ends = |end: &str| id.as_deref().is_some_and(|id| id.ends_with(end));
    let starts = |start: &str| msg.as_deref().is_some_and(|msg| msg.starts_with(start));
    if ends("==>") && starts("==> writing image ") || ends("==> ==>") && starts("naming to ") {
        return None;
    }
    let mut what = "unknown";
    let image = text("parent_id");
    let image = image
        .as_deref()
        .and_then(|parent| parent.strip_prefix("Image "));
    let is = |text: &Option<String>, known: &[&str]| {
        text.as_deref().is_some_and(|text| known.contains(&text))
    };
    if let Some(image) = image.filter(|_| is(&status, &["Working", "Done"])) {
        what = "image-layer";
        id = Some(image.to_owned());
    } else if let Some((word, rest)) = id.as_deref().and_then(|id| id.split_once(' ')) {
        match resource(word) {
            Some(found) => what = found,
            None => warnings.push(format!("Unknown resource type '{word}'")),
        }
        id = Some(rest.to_owned());
    } else if is(&msg, &["Pulled", "Pulling"]) {
        what = "image";
        std::mem::swap(&mut status, &mut msg);
    } else if is(&msg, &LAYER_DONE) || is(&msg, &LAYER_WORKING) {
        what = "image-layer";
        std::mem::swap(&mut status, &mut msg);
    } else if status.is_none()
        && let Some(why) = msg.as_deref().and_then(|it| it.strip_prefix("Skipped - "))
    {
        status = Some("Skipped".into());
        msg = Some(why.to_owned());
    } else if let Some(level) = text("level")
        && let Some(said) = text("msg")
        && ["warning", "error"].contains(&level.as_str())
    {
        status = Some(if level == "error" { "Error" } else { "Warning" }.into());
        msg = Some(said);
    }
    let is_known = |text: &Option<String>| text.as_deref().is_some_and(is_status);
    if !is_known(&status) && is_known(&msg) {
        std::mem::swap(&mut status, &mut msg);
    }
    Some(Event {
        what,
        id,
        status,
        msg,
    })
}

/// Reads events of text, of a run that ended with `status`.
pub(super) fn from_text(stderr: &str, status: i32) -> Events {
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let mut events = Events::default();
    let mut in_error = false;
    for (index, line) in lines.iter().enumerate() {
        let line = line.strip_prefix(DRY_RUN).map_or(*line, str::trim_start);
        if let Some(event) = of_line(line) {
            in_error = event.is(&["Error"]);
            events.all.push(event);
        } else if line.starts_with("==>") {
            // What BuildKit does, step by step.
        } else if let Some(warning) = warning(line) {
            events.warnings.push(warning);
        } else if let Some((event, more)) = continued(&mut events.all, line) {
            event.append(more);
        } else if in_error && let Some(last) = events.all.last_mut() {
            last.append(line);
        } else if line.starts_with("Error ")
            || lines.len() == 1
            || status != 0 && index + 1 == lines.len()
        {
            events.all.push(Event::error(line));
            in_error = true;
        } else {
            events.cannot_read(line);
        }
    }
    events.with_told_warnings()
}

fn of_line(line: &str) -> Option<Event> {
    if let Some(service) = line.strip_prefix("build service ") {
        return (!service.contains(' ')).then(|| Event::new("service", service, "Building"));
    }
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim();
    if let Some(what) = resource(first).filter(|what| *what != "service")
        && let Some((id, status)) = rest.split_once(char::is_whitespace)
    {
        let status = status.trim();
        return Some(if is_status(status) {
            Event::new(what, id, status)
        } else {
            Event {
                what,
                id: Some(id.to_owned()),
                status: None,
                msg: Some(status.to_owned()),
            }
        });
    }
    if ["Pulled", "Pulling"].contains(&rest) {
        return Some(Event::new("service", first, rest));
    }
    if let Some(msg) = after_word(rest, "Error") {
        return Some(Event {
            msg: (!msg.is_empty()).then(|| msg.to_owned()),
            ..Event::new("unknown", first, "Error")
        });
    }
    let mut layers = LAYER_DONE.iter().chain(&LAYER_WORKING);
    let layer = layers.find(|status| {
        let more = rest.strip_prefix(**status);
        more.is_some_and(|more| more.is_empty() || more.starts_with(' '))
    });
    if let Some(status) = layer {
        return Some(Event::new("image-layer", first, status));
    }
    let why = after_word(rest, "Skipped")?;
    Some(Event {
        msg: why.strip_prefix("- ").map(|why| why.trim().to_owned()),
        ..Event::new("unknown", first, "Skipped")
    })
}

fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
}

/// Reads `NAME Warning TEXT`, and a warning in the form of Compose's log.
fn warning(line: &str) -> Option<String> {
    if line.starts_with("time=") && line.contains(" level=warning ") {
        let (_, msg) = line.split_once(" msg=")?;
        let quoted: Option<String> = serde_json::from_str(msg).ok();
        return Some(quoted.unwrap_or_else(|| msg.to_owned()));
    }
    let (id, rest) = line.split_once(char::is_whitespace)?;
    let msg = after_word(rest.trim(), "Warning")?;
    Some(if msg.is_empty() {
        format!("Unspecified warning for {id}")
    } else {
        format!("{id}: {msg}")
    })
}

/// Finds the event that `NAME - TEXT` says more of.
fn continued<'e, 't>(events: &'e mut [Event], line: &'t str) -> Option<(&'e mut Event, &'t str)> {
    let (id, rest) = line.split_once(char::is_whitespace)?;
    let more = rest.trim_start().strip_prefix("- ")?.trim();
    let mut found = events.iter_mut().rev();
    let event = found.find(|event| event.id.as_deref() == Some(id))?;
    Some((event, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IGNORED: Ignored = Ignored {
        pulls: true,
        builds: true,
    };

    fn told(events: &Events) -> Vec<String> {
        let actions = events.actions().into_iter();
        let line = |action: Value| {
            ["what", "id", "status"]
                .map(|key| action.get(key).map(Value::to_string).unwrap_or_default())
                .join(" ")
        };
        actions.map(line).collect()
    }

    #[test]
    fn what_compose_does_is_read_from_json() {
        let text = r#"{"id":"Network app_default","text":"Creating"}
{"id":"Network app_default","text":"Created"}
{"id":"Container app-web-1","status":"Working","text":"Starting"}
{"id":"web","text":"Pulling"}
{"id":"a2abf6c4d29d","parent_id":"web","text":"Downloading","status":"[==>  ] 1MB/3MB"}
{"id":"a2abf6c4d29d","parent_id":"web","text":"Downloading","status":"[====>] 3MB/3MB"}
{"level":"warning","msg":"the attribute `version` is obsolete","time":"2026"}"#;
        let events = from_json(text);
        assert_eq!(
            told(&events),
            [
                "network app_default Creating",
                "container app-web-1 Starting",
                "image web Pulling",
                "image-layer a2abf6c4d29d Downloading"
            ]
        );
        assert!(events.has_changes(IGNORED));
        assert_eq!(
            events.warnings,
            ["Docker compose: unknown None: the attribute `version` is obsolete"]
        );
        let idle = from_json(r#"{"id":"Container app-web-1","text":"Running"}"#);
        assert!(!idle.has_changes(Ignored::default()));
    }

    #[test]
    fn what_goes_wrong_is_told_by_what_it_happened_to() {
        let text = r#"{"id":"web","error":true,"message":"no such image"}
{"tail":true,"text":"pull access denied"}"#;
        let events = from_json(text);
        assert_eq!(
            events.errors(1),
            "Error when processing web: no such image\nGeneral error: pull access denied"
        );
        assert_eq!(from_json("").errors(17), "Return code 17 is non-zero");
        let noise = from_json("what?\n");
        assert_eq!(noise.warnings, ["Cannot parse event from line: 'what?'"]);
    }

    #[test]
    fn what_older_versions_say_is_read_from_text() {
        let text = " Network app_default  Creating
DRY-RUN MODE -  Container app-web-1  Created
 web Pulling
 a2abf6c4d29d Pulling fs layer
 a2abf6c4d29d Downloading [=>  ]  1MB/3MB
 build service worker
 ==> writing image x
time=\"2026\" level=warning msg=\"it is \\\"old\\\"\"
 db Error no such image
 and that is why
";
        let events = from_text(text, 1);
        assert_eq!(
            told(&events),
            [
                "network app_default Creating",
                "service web Pulling",
                "image-layer a2abf6c4d29d Pulling fs layer",
                "image-layer a2abf6c4d29d Downloading",
                "service worker Building"
            ]
        );
        assert_eq!(events.warnings, ["it is \"old\""]);
        assert_eq!(
            events.errors(1),
            "Error when processing db: no such image\nand that is why"
        );
        let alone = from_text("no configuration file provided: not found\n", 14);
        assert_eq!(
            alone.errors(14),
            "General error: no configuration file provided: not found"
        );
    }
}
