//! `slack`: a message sent to Slack, or one that was sent and is changed.

use crate::machine::{Effect, Machine};
use crate::value::{JsonStyle, Map, Value, repr, to_json};

use super::http::{self, Body, Request, urlencoded};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Send Slack notifications.
    pub(crate) struct SlackArgs for "community.general.slack" {
        /// `slack.com` or `slack-gov.com`; with an old token the team's own domain.
        domain: Option<String> {},
        /// The token of a webhook or of the Web API.
        token: String { required, no_log },
        msg: Option<String> {},
        /// Where it is shown, unless the token says so.
        channel: Option<String> {},
        /// The time stamp of the message that this one answers.
        thread_id: Option<String> {},
        /// The time stamp of the message to change.
        message_id: Option<String> {},
        username: Option<String> { default: "Ansible" },
        icon_url: Option<String> { default: "https://docs.ansible.com/favicon.ico" },
        /// Shown instead of the icon of `icon_url`.
        icon_emoji: Option<String> {},
        /// Make links of names of channels and users.
        link_names: i64 { default: "1", choices: ["0", "1"] },
        parse: Option<String> { choices: ["none", "full"] },
        /// Talk only to a server that proves who it is.
        validate_certs: bool { default: "true" },
        /// The colour of the bar beside the text, or `normal` for none.
        color: String { default: "normal" },
        /// Attachments, as Slack's API has them.
        attachments: Option<Vec<Map>> {},
        /// Blocks, as Slack's API has them.
        blocks: Option<Vec<Map>> {},
        /// Put a `#` before the channel.
        prepend_hash: Option<String> { choices: ["always", "never", "auto"] },
    }
}

const COLORS: [&str; 4] = ["normal", "good", "warning", "danger"];

/// Beginnings of channels that `prepend_hash: auto` leaves alone.
const KNOWN_CHANNELS: [&str; 6] = ["#", "@", "C0", "GF", "G0", "CP"];

/// Sends the message.
pub(crate) fn run(machine: &mut Machine, args: SlackArgs) -> ModuleResult {
    run_over("https", machine, &args)
}

fn run_over(scheme: &str, machine: &mut Machine, args: &SlackArgs) -> ModuleResult {
    let outcome = notified(scheme, machine, args)?;
    Ok(match args.prepend_hash {
        Some(_) => outcome,
        None => outcome.deprecate(
            "The default value 'auto' for 'prepend_hash' is deprecated and will change to \
             'never' in community.general 12.0.0. You can explicitly set 'prepend_hash' in your \
             task to avoid this deprecation warning",
        ),
    })
}

fn notified(scheme: &str, machine: &mut Machine, args: &SlackArgs) -> ModuleResult {
    if !COLORS.contains(&args.color.as_str()) && !is_hex_color(&args.color) {
        return Err(Failure::new(format!(
            "Color value specified should be either one of {} or any valid hex value with length \
             3 or 6.",
            repr(&Value::list(COLORS))
        )));
    }
    if let Some(id) = &args.message_id {
        let old = message(scheme, machine, args, id)?;
        let changed = differs(args, &old);
        if machine.is_check() || !changed {
            let field = |name: &str| old.get(name).cloned().unwrap_or_default();
            return Ok(Outcome::unchanged()
                .with_changed(changed)
                .with("ts", field("ts"))
                .with("channel", field("channel")));
        }
    }
    let payload = payload(args)?;
    let effect = Effect::Compensated {
        what: "send a message to Slack".into(),
        undo: Vec::new(),
    };
    if !machine.affect(effect)? {
        return Ok(Outcome::changed());
    }
    let text = to_json(&payload, JsonStyle::default());
    let Some(answer) = deliver(scheme, machine, args, &text)? else {
        return Ok(Outcome::unchanged().msg("OK"));
    };
    let field = |name: &str| answer.get(name).cloned().unwrap_or_default();
    if !field("ok").is_truthy() {
        return Err(Failure::new("Slack API error").with("error", field("error")));
    }
    Ok(Outcome::changed()
        .with("ts", field("ts"))
        .with("channel", field("channel"))
        .with("payload", text)
        .with("api", answer))
}

fn is_hex_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|digits| {
        matches!(digits.len(), 3 | 6) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// How a token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Webhook,
    WebApi,
    /// Of a webhook of the old kind, which has its team's domain.
    Old,
}

impl Token {
    fn of(token: &str) -> Self {
        let rest = ["xoxa-", "xoxb-", "xoxp-"]
            .iter()
            .find_map(|start| token.strip_prefix(start));
        if token.matches('/').count() >= 2 {
            Self::Webhook
        } else if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)) {
            Self::WebApi
        } else {
            Self::Old
        }
    }
}

fn domain(args: &SlackArgs) -> &str {
    match args.domain.as_deref() {
        Some(domain @ ("slack.com" | "slack-gov.com")) => domain,
        _ => "slack.com",
    }
}

/// Asks for the message that is to be changed.
fn message(
    scheme: &str,
    machine: &mut Machine,
    args: &SlackArgs,
    id: &str,
) -> Result<Value, Failure> {
    let failed = |why: String| Failure::new(format!("failed to get slack message{why}"));
    let query = Value::map([
        ("channel", args.channel.as_deref().unwrap_or("None")),
        ("ts", id),
        ("limit", "1"),
        ("inclusive", "true"),
    ]);
    let url = format!(
        "{scheme}://{}/api/conversations.history?{}",
        domain(args),
        urlencoded(&query)?
    );
    let request = Request {
        headers: headers(Some(&args.token)),
        ..Request::get(&url)
    };
    let response = http::send(machine, request, &options(args))?;
    if response.status != 200 {
        return Err(failed(String::new()));
    }
    let answer: Value = serde_json::from_reader(response.into_body())
        .map_err(|error| failed(format!(": {error}")))?;
    if answer.get("ok").and_then(Value::as_bool) == Some(false) {
        return Err(failed(format!(": {}", repr(&answer))));
    }
    match answer.get("messages").and_then(Value::as_list) {
        Some([message]) => Ok(message.clone()),
        Some([_, ..]) => Err(Failure::new(format!(
            "more than 1 message matching ts: {id}"
        ))),
        _ => Err(Failure::new(format!("no messages matching ts: {id}"))),
    }
}

/// Tells whether a message is other than it should be. Slack's answer has no colour, so one that
/// is asked for always differs, as in Ansible.
fn differs(args: &SlackArgs, old: &Value) -> bool {
    let text = |text: Option<&String>| text.map_or(Value::Null, |text| text.as_str().into());
    let maps = |maps: Option<&Vec<Map>>| {
        maps.map_or(Value::Null, |maps| Value::list(maps.iter().cloned()))
    };
    [
        ("icon_url", text(args.icon_url.as_ref())),
        ("icon_emoji", text(args.icon_emoji.as_ref())),
        ("link_names", args.link_names.into()),
        ("color", args.color.as_str().into()),
        ("attachments", maps(args.attachments.as_ref())),
        ("blocks", maps(args.blocks.as_ref())),
    ]
    .into_iter()
    .any(|(name, wanted)| old.get(name).cloned().unwrap_or_default() != wanted)
}

/// Makes what is sent, in Ansible's order.
fn payload(args: &SlackArgs) -> Result<Value, Failure> {
    let mut payload = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            payload.insert(name.into(), value);
        }
    };
    let text = |text: Option<&String>| text.map(|text| Value::from(text.as_str()));
    let mut attachments: Vec<Value> = Vec::new();
    match &args.msg {
        Some(msg) if args.color == "normal" => put("text", Some(msg.as_str().into())),
        // With a colour it is an attachment, whose Markdown must be asked for.
        Some(msg) => attachments.push(Value::map([
            ("text", Value::from(msg.as_str())),
            ("color", args.color.as_str().into()),
            ("mrkdwn_in", Value::list(["text"])),
        ])),
        None => {}
    }
    let is_colored = !attachments.is_empty();
    for given in args.attachments.iter().flatten() {
        let mut attachment = given.clone();
        if !attachment.contains_key("fallback") {
            let text = attachment.get("text").cloned().ok_or_else(|| {
                Failure::new("an attachment must have `text`, or `fallback` beside its other keys")
            })?;
            attachment.insert("fallback".into(), text);
        }
        attachments.push(attachment.into());
    }
    let attached = (is_colored || args.attachments.is_some()).then(|| Value::list(attachments));
    let last = if is_colored {
        put("attachments", attached);
        None
    } else {
        attached
    };
    put(
        "channel",
        args.channel.as_deref().map(|it| channel(args, it)),
    );
    put("thread_ts", text(args.thread_id.as_ref()));
    put("username", text(args.username.as_ref()));
    match &args.icon_emoji {
        Some(emoji) => put("icon_emoji", Some(emoji.as_str().into())),
        None => put("icon_url", text(args.icon_url.as_ref())),
    }
    put("link_names", Some(args.link_names.into()));
    put("parse", text(args.parse.as_ref()));
    put("ts", text(args.message_id.as_ref()));
    put("attachments", last);
    let blocks = args.blocks.as_ref();
    put(
        "blocks",
        blocks.map(|blocks| Value::list(blocks.iter().cloned())),
    );
    Ok(payload.into())
}

fn channel(args: &SlackArgs, channel: &str) -> Value {
    let is_known = KNOWN_CHANNELS
        .iter()
        .any(|start| channel.starts_with(start));
    match args.prepend_hash.as_deref() {
        Some("never") => channel.into(),
        None | Some("auto") if is_known => channel.into(),
        _ => format!("#{channel}").into(),
    }
}

/// Sends the payload; the answer of the Web API, none of a webhook.
fn deliver(
    scheme: &str,
    machine: &mut Machine,
    args: &SlackArgs,
    text: &str,
) -> Result<Option<Value>, Failure> {
    let (token, kind) = (&args.token, Token::of(&args.token));
    let url = match (kind, args.domain.as_deref()) {
        (Token::Webhook, _) => format!("{scheme}://hooks.{}/services/{token}", domain(args)),
        (Token::WebApi, _) => {
            let method = match args.message_id {
                Some(_) => "chat.update",
                None => "chat.postMessage",
            };
            format!("{scheme}://{}/api/{method}", domain(args))
        }
        (Token::Old, Some(domain)) if !domain.is_empty() => {
            format!("{scheme}://{domain}/services/hooks/incoming-webhook?token={token}")
        }
        (Token::Old, _) => {
            return Err(Failure::new(
                "Slack has updated its webhook API.  You need to specify a token of the form \
                 XXXX/YYYY/ZZZZ in your playbook",
            ));
        }
    };
    let request = Request {
        method: "POST".into(),
        headers: headers((kind == Token::WebApi).then_some(token)),
        body: Body::Bytes(text.as_bytes().to_vec()),
        ..Request::get(&url)
    };
    let response = http::send(machine, request, &options(args))?;
    if response.status != 200 {
        let shown = match (kind, &args.domain) {
            (Token::WebApi, _) => url,
            (Token::Old, Some(domain)) => format!("{scheme}://hooks.{domain}/services/[obscured]"),
            _ => format!("{scheme}://hooks.{}/services/[obscured]", domain(args)),
        };
        let msg = format!(" failed to send {text} to {shown}: {}", response.msg);
        return Err(Failure::new(msg));
    }
    if kind != Token::WebApi {
        return Ok(None);
    }
    let answer = serde_json::from_reader(response.into_body())
        .map_err(|error| Failure::new(format!("Slack's answer cannot be read: {error}")))?;
    Ok(Some(answer))
}

fn headers(token: Option<&String>) -> Vec<(String, String)> {
    let mut headers = vec![
        (
            "Content-Type".to_owned(),
            "application/json; charset=UTF-8".to_owned(),
        ),
        ("Accept".into(), "application/json".into()),
    ];
    headers.extend(token.map(|token| ("Authorization".into(), format!("Bearer {token}"))));
    headers
}

fn options(args: &SlackArgs) -> http::Options {
    http::Options {
        validate_certs: args.validate_certs,
        ..http::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::http::testing::Server;
    use crate::modules::testing::Target;

    /// Sends through a server that stands for Slack; what came back, and what was asked.
    fn sent(options: &str) -> (String, Vec<String>) {
        let server = Server::new(|wanted| {
            match wanted.rsplit('/').next().unwrap_or_default() {
            method if method.starts_with("conversations.history") => {
                "200 OK\n\n{\"ok\": true, \"messages\": [{\"ts\": \"1.1\", \"channel\": \"C024\"}]}"
            }
            "chat.postMessage" | "chat.update" => {
                "200 OK\n\n{\"ok\": true, \"channel\": \"C024\", \"ts\": \"1.2\"}"
            }
            "no" => "404 Not Found\n\n",
            _ => "200 OK\n\nok",
        }
        .into()
        });
        let target = Target::new().env("http_proxy", &server.address);
        let options: Value = serde_json::from_str(options).unwrap();
        let args = SlackArgs::parse(options.as_map().unwrap()).unwrap();
        let result = match run_over("http", &mut target.machine(), &args) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        let seen = server.seen().into_iter().map(|request| {
            let authorization = request
                .lines()
                .find(|line| line.starts_with("authorization"));
            let first = request.split(" HTTP/").next().unwrap_or_default();
            let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
            [first, authorization.unwrap_or_default(), body].join("|")
        });
        let result = serde_json::to_string(&Value::from(result)).unwrap();
        (result, seen.collect())
    }

    /// Recorded from community.general 11 with a server in Slack's place.
    #[test]
    fn a_webhook_says_no_more_than_that_it_was_heard() {
        let (result, seen) = sent(
            r#"{"token": "A/B/C", "msg": "it's \"done\"", "channel": "dev", "prepend_hash": "auto"}"#,
        );
        assert_eq!(result, r#"{"changed":false,"msg":"OK"}"#);
        assert_eq!(
            seen,
            [
                r##"POST http://hooks.slack.com/services/A/B/C||{"text": "it's \"done\"", "channel": "#dev", "username": "Ansible", "icon_url": "https://docs.ansible.com/favicon.ico", "link_names": 1}"##
            ]
        );
        let (_, seen) = sent(
            r#"{"token": "A/B/C", "msg": "hi", "color": "good", "channel": "C0x", "attachments": [{"text": "a", "title": "t"}], "username": "", "link_names": 0, "parse": "full", "prepend_hash": "auto"}"#,
        );
        assert_eq!(
            seen,
            [
                r#"POST http://hooks.slack.com/services/A/B/C||{"attachments": [{"text": "hi", "color": "good", "mrkdwn_in": ["text"]}, {"text": "a", "title": "t", "fallback": "a"}], "channel": "C0x", "username": "", "icon_url": "https://docs.ansible.com/favicon.ico", "link_names": 0, "parse": "full"}"#
            ]
        );
        let (result, seen) = sent(
            r#"{"token": "old", "domain": "team.slack.com", "msg": "hi", "prepend_hash": "never"}"#,
        );
        assert_eq!(result, r#"{"changed":false,"msg":"OK"}"#);
        assert!(
            seen[0].starts_with(
                "POST http://team.slack.com/services/hooks/incoming-webhook?token=old|"
            )
        );
    }

    #[test]
    fn the_web_api_tells_where_the_message_is() {
        let (result, seen) = sent(
            r##"{"token": "xoxb-1", "msg": "hi", "channel": "#dev", "thread_id": "1.0", "icon_emoji": ":x:", "prepend_hash": "never", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*a*"}}]}"##,
        );
        let payload = r##"{"text": "hi", "channel": "#dev", "thread_ts": "1.0", "username": "Ansible", "icon_emoji": ":x:", "link_names": 1, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*a*"}}]}"##;
        assert_eq!(
            result,
            format!(
                r#"{{"changed":true,"ts":"1.2","channel":"C024","payload":"{}","api":{{"ok":true,"channel":"C024","ts":"1.2"}}}}"#,
                payload.replace('"', "\\\"")
            )
        );
        assert_eq!(
            seen,
            [format!(
                "POST http://slack.com/api/chat.postMessage|authorization: Bearer xoxb-1|{payload}"
            )]
        );
    }

    #[test]
    fn a_message_is_changed_when_it_is_another() {
        let (result, seen) = sent(
            r#"{"token": "xoxb-1", "msg": "hi", "channel": "C024", "message_id": "1.1", "prepend_hash": "never"}"#,
        );
        assert!(
            result.starts_with(r#"{"changed":true,"ts":"1.2","channel":"C024""#),
            "{result}"
        );
        assert_eq!(
            seen[0],
            "GET http://slack.com/api/conversations.history?channel=C024&ts=1.1&limit=1&inclusive=true|authorization: Bearer xoxb-1|"
        );
        assert!(seen[1].contains(r#""ts": "1.1"}"#), "{seen:?}");
    }

    #[test]
    fn what_slack_refuses_is_told_without_the_token() {
        let (result, _) = sent(r#"{"token": "no/no/no", "msg": "hi", "prepend_hash": "never"}"#);
        assert_eq!(
            result,
            r#"{"failed":true,"changed":false,"msg":" failed to send {\"text\": \"hi\", \"username\": \"Ansible\", \"icon_url\": \"https://docs.ansible.com/favicon.ico\", \"link_names\": 1} to http://hooks.slack.com/services/[obscured]: HTTP Error 404: Not Found"}"#
        );
        for (options, why) in [
            (
                r#"{"token": "old", "msg": "hi", "prepend_hash": "never"}"#,
                "Slack has updated its webhook API.  You need to specify a token of the form \
                 XXXX/YYYY/ZZZZ in your playbook",
            ),
            (
                r#"{"token": "a/b/c", "color": "blue", "prepend_hash": "never"}"#,
                "Color value specified should be either one of ['normal', 'good', 'warning', \
                 'danger'] or any valid hex value with length 3 or 6.",
            ),
            (
                r#"{"token": "a/b/c", "attachments": [{"title": "x"}], "prepend_hash": "never"}"#,
                "an attachment must have `text`, or `fallback` beside its other keys",
            ),
        ] {
            let (result, seen) = sent(options);
            assert_eq!(
                result,
                format!(r#"{{"failed":true,"changed":false,"msg":"{why}"}}"#)
            );
            assert_eq!(seen, [""; 0]);
        }
    }

    #[test]
    fn check_mode_sends_nothing() {
        let options = r#"{"token": "a/b/c", "msg": "hi"}"#;
        let options: Value = serde_json::from_str(options).unwrap();
        let args = SlackArgs::parse(options.as_map().unwrap()).unwrap();
        let outcome = run(&mut crate::modules::testing::predicting(), args).unwrap();
        assert!(outcome.changed && outcome.deprecations.len() == 1);
    }
}
