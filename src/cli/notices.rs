//! What is told of a deploy, in the shape each receiver takes. Pure.

use std::collections::BTreeMap;

use super::aftermath::Told;
use super::http::Message;
use crate::diagnosis::Diagnosis;
use crate::error::{EXIT_OK, Error, Result};
use crate::redactor::Redactor;
use crate::value::Value;

/// A receiver.
#[derive(Debug, PartialEq)]
pub(super) enum Channel {
    /// An address that takes JSON of ours.
    Webhook(String),
    /// The address of an incoming webhook of Slack.
    Slack(String),
    /// Events of `PagerDuty`: where to, and the routing key.
    Pagerduty { url: String, key: String },
    /// Issues of a repository: where to, and the token.
    Github { url: String, token: String },
}

const KINDS: [&str; 4] = ["webhook", "slack", "pagerduty", "github"];

impl Channel {
    /// Makes a receiver of a kind; `value` is its address, key or token.
    pub(super) fn new<'e>(
        kind: &str,
        value: String,
        environment: impl IntoIterator<Item = (&'e String, &'e String)>,
    ) -> Result<Self> {
        let known: BTreeMap<&str, &str> = environment
            .into_iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let or =
            |name: &str, default: &'static str| (*known.get(name).unwrap_or(&default)).to_owned();
        match kind {
            "webhook" => Ok(Self::Webhook(value)),
            "slack" => Ok(Self::Slack(value)),
            "pagerduty" => Ok(Self::Pagerduty {
                url: or("PAGERDUTY_URL", "https://events.pagerduty.com/v2/enqueue"),
                key: value,
            }),
            "github" => {
                let repository = known.get("GITHUB_REPOSITORY").ok_or_else(|| {
                    Error::usage("the environment has no variable `GITHUB_REPOSITORY`")
                        .help("it names the repository of the issue: OWNER/NAME")
                })?;
                let api = or("GITHUB_API_URL", "https://api.github.com");
                Ok(Self::Github {
                    url: format!("{api}/repos/{repository}/issues"),
                    token: value,
                })
            }
            other => Err(
                Error::usage(format!("there is no notice of kind `{other}`"))
                    .suggest(other, KINDS)
                    .help(format!("the kinds are {}", KINDS.join(", "))),
            ),
        }
    }
}

/// Returns what a receiver is sent, a webhook the event as it is given; incidents are for deploys
/// that failed.
pub(super) fn message(
    channel: &Channel,
    told: &Told<'_>,
    to_webhook: &Value,
    redactor: &Redactor,
) -> Option<Message> {
    let is_failed = told.code != EXIT_OK;
    let json = |url: &str, body: Value| Message {
        url: url.to_owned(),
        headers: vec![
            ("Content-Type", "application/json".into()),
            ("User-Agent", "backstay".into()),
        ],
        body: serde_json::to_string(&redactor.redact_value(&body)).unwrap_or_default(),
    };
    let title = title(told);
    match channel {
        Channel::Webhook(url) => Some(json(url, to_webhook.clone())),
        Channel::Slack(url) => {
            let text = format!("{title}\n{}", details(told));
            // What Slack takes for markup.
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            Some(json(url, Value::map([("text", Value::from(text))])))
        }
        Channel::Pagerduty { url, key } => is_failed.then(|| {
            let payload = Value::map([
                ("summary", Value::from(title)),
                ("source", told.labels.runner.as_str().into()),
                ("severity", "critical".into()),
                ("custom_details", event(told)),
            ]);
            let key_of_incident = format!("backstay-{}", told.labels.application);
            let mut message = json(
                url,
                Value::map([
                    ("event_action", Value::from("trigger")),
                    ("dedup_key", key_of_incident.into()),
                    ("payload", payload),
                ]),
            );
            // The key is a secret, and it belongs to this receiver: nobody masks it here.
            message.body = format!(
                "{{\"routing_key\":{},{}",
                serde_json::Value::from(key.as_str()),
                &message.body[1..]
            );
            message
        }),
        Channel::Github { url, token } => is_failed.then(|| {
            let labels = ["incident", "deploy"].map(Value::from);
            let run = told.labels.run_url.as_deref().unwrap_or("no page");
            let body = format!("{}\nRun: {run}\n", told.record.markdown(&title));
            let mut message = json(
                url,
                Value::map([
                    ("title", Value::from(title)),
                    ("body", body.into()),
                    ("labels", Value::list(labels)),
                ]),
            );
            message
                .headers
                .push(("Authorization", format!("Bearer {token}")));
            message
        }),
    }
}

fn status(told: &Told<'_>) -> &'static str {
    match told.code {
        EXIT_OK => "committed",
        crate::error::EXIT_ROLLED_BACK => "rolled back",
        crate::error::EXIT_STUCK => "STUCK",
        crate::error::EXIT_IN_DOUBT => "IN DOUBT",
        _ => "failed",
    }
}

fn title(told: &Told<'_>) -> String {
    format!(
        "deploy of {} from {}: {}",
        told.labels.application,
        told.labels.runner,
        status(told)
    )
}

/// Returns verdict, cause and page of the run, a line each.
fn details(told: &Told<'_>) -> String {
    let verdict = told.record.verdict();
    let cause = told.record.cause().map(|cause| cause.line());
    let parts = [verdict, cause, told.labels.run_url.clone()];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("\n")
}

/// Returns what is told of a deploy, as programs read it.
pub(super) fn event(told: &Told<'_>) -> Value {
    let text = |text: Option<String>| text.map_or(Value::Null, Value::from);
    let cause = told.record.cause();
    Value::map([
        ("application", Value::from(told.labels.application.as_str())),
        ("runner", told.labels.runner.as_str().into()),
        (
            "status",
            status(told).to_lowercase().replace(' ', "_").into(),
        ),
        ("exit_code", u64::from(told.code).into()),
        ("attempts", u64::from(told.attempts).into()),
        ("verdict", text(told.record.verdict())),
        (
            "diagnosis",
            cause.as_ref().map_or(Value::Null, Diagnosis::to_value),
        ),
        ("seconds", told.record.duration.as_secs().into()),
        (
            "hosts",
            Value::list(told.record.hosts.keys().map(|name| Value::from(&**name))),
        ),
        ("run_url", text(told.labels.run_url.clone())),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::aftermath::Labels;
    use super::*;
    use crate::report::record::Record;

    fn sent(channel: &Channel, code: u8) -> Option<Message> {
        let labels = Labels {
            application: "shop".into(),
            runner: "one".into(),
            run_url: Some("https://ci/1".into()),
        };
        let record = Record::default();
        let told = Told {
            record: &record,
            labels: &labels,
            code,
            attempts: 1,
        };
        message(channel, &told, &event(&told), &Redactor::default())
    }

    #[test]
    fn incidents_are_opened_for_failures_only() {
        let key = "k".to_owned();
        let environment = [("GITHUB_REPOSITORY".to_owned(), "a/b".to_owned())];
        let environment = || environment.iter().map(|(name, value)| (name, value));
        for kind in ["pagerduty", "github"] {
            let channel = Channel::new(kind, key.clone(), environment()).unwrap();
            assert!(
                sent(&channel, 0).is_none() && sent(&channel, 20).is_some(),
                "{kind}"
            );
        }
        let pager = Channel::new("pagerduty", key, environment()).unwrap();
        let body = sent(&pager, 20).unwrap().body;
        assert!(
            body.starts_with(r#"{"routing_key":"k","event_action":"trigger","dedup_key":"backstay-shop","payload":{"summary":"deploy of shop from one: rolled back""#),
            "{body}"
        );
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }

    #[test]
    fn slack_reads_no_markup_out_of_foreign_text() {
        let body = sent(&Channel::Slack("http://x".into()), 0).unwrap().body;
        assert_eq!(
            body,
            r#"{"text":"deploy of shop from one: committed\nhttps://ci/1"}"#
        );
    }

    #[test]
    fn an_unknown_kind_is_told_with_the_nearest() {
        let error = Channel::new("slak", String::new(), []).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `slack`?"));
    }
}
