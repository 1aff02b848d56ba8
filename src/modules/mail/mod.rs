//! `mail`: a message sent through a mail server.

mod message;
mod smtp;

use std::path::PathBuf;

use crate::machine::{Effect, Machine};
use crate::value::{Map, Value};

use super::foresight::skipped_in_check_mode;
use super::{Failure, ModuleResult, Outcome};
use message::Message;
use smtp::{Secure, Server, Session};

crate::arguments! {
    /// Send an email.
    pub(crate) struct MailArgs for "community.general.mail" {
        /// Who sends it.
        sender: String { default: "root", aliases: ["from"] },
        /// Who gets it.
        to: Vec<String> { default: "root", aliases: ["recipients"] },
        /// Who gets a copy.
        cc: Vec<String> { default: "" },
        /// Who gets a copy without being named.
        bcc: Vec<String> { default: "" },
        subject: String { required, aliases: ["msg"] },
        /// What it says; the subject, unless it is given.
        body: Option<String> {},
        /// Who logs in to the server.
        username: Option<String> {},
        password: Option<String> { no_log },
        /// The server.
        host: String { default: "localhost" },
        port: i64 { default: "25" },
        /// The name to greet the server with.
        ehlohost: Option<String> {},
        /// Files of the target to attach.
        attach: Vec<PathBuf> { default: "" },
        /// Further headers, as `name=value`.
        headers: Vec<String> { default: "" },
        /// How the text is encoded.
        charset: String { default: "utf-8" },
        subtype: String { default: "plain", choices: ["html", "plain"] },
        /// Whether the session is encrypted.
        secure: String { default: "try", choices: ["always", "never", "starttls", "try"] },
        /// Seconds the server may take to answer.
        timeout: i64 { default: "20" },
        /// The domain in the message's id.
        message_id_domain: String { default: "ansible" },
    }
    required_together [["password", "username"]]
}

/// Sends the message.
pub(crate) fn run(machine: &mut Machine, args: MailArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, MailArgs::SPEC.module) {
        return Ok(skipped);
    }
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    for path in &args.attach {
        let path = machine.expand(path);
        let bytes = machine.read(&path).map_err(|error| {
            let msg = format!(
                "Failed to send community.general.mail: can't attach file {}: {error}",
                path.display()
            );
            Failure::new(msg).with("rc", 1)
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push((name.into_owned(), bytes));
    }
    let message = Message { args: &args, files };
    let text = message.text(&mut warnings)?;
    let (sender, recipients) = (message::address(&args.sender), message.recipients());
    let effect = Effect::Compensated {
        what: format!("send a mail to {}", recipients.join(", ")),
        undo: Vec::new(),
    };
    if !machine.affect(effect)? {
        return Ok(Outcome::unchanged());
    }
    let mut session = open(&args)?;
    if let (Some(user), Some(password)) =
        (given(args.username.as_ref()), given(args.password.as_ref()))
    {
        session.log_in(user, password)?;
        if !session.is_secure() {
            warnings.push("Username and Password was sent without encryption".into());
        }
    }
    let refused = session.send(&sender, &recipients, &text).map_err(|why| {
        let msg = format!("Failed to send mail to '{}': {why}", recipients.join(", "));
        Failure::new(msg).with("rc", 1)
    })?;
    session.quit();
    let mut result = Map::new();
    for (address, (code, why)) in &refused {
        warnings.push(format!("Failed to send mail to '{address}': {code} {why}"));
        let answer = Value::list([Value::from(i64::from(*code)), why.as_str().into()]);
        result.insert(address.as_str().into(), answer);
    }
    let msg = if refused.is_empty() {
        "Mail sent successfully"
    } else {
        "Failed to send mail to at least one recipient"
    };
    let outcome = Outcome::unchanged().msg(msg).with("result", result);
    Ok(warnings.into_iter().fold(outcome, Outcome::warn))
}

fn open(args: &MailArgs) -> Result<Session, Failure> {
    let server = Server {
        host: &args.host,
        port: u16::try_from(args.port)
            .map_err(|_| Failure::new(format!("there is no port {}", args.port)))?,
        timeout: args.timeout.unsigned_abs().max(1),
        greeting: given(args.ehlohost.as_ref()),
    };
    let secure = match args.secure.as_str() {
        "always" => Secure::Always,
        "never" => Secure::Never,
        "starttls" => Secure::StartTls,
        _ => Secure::Try,
    };
    Session::open(&server, secure)
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use crate::modules::testing::Target;

    const NAME: &str = "community.general.mail";

    /// Serves one session, and returns what it was told.
    fn server() -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut answers = stream.try_clone().unwrap();
            let mut told = String::new();
            let mut say = |text: &str| answers.write_all(text.as_bytes()).unwrap();
            say("220 mail.example\r\n");
            let mut in_data = false;
            for line in BufReader::new(stream).lines() {
                let line = line.unwrap();
                told += &format!("{line}\n");
                if in_data {
                    if line == "." {
                        in_data = false;
                        say("250 queued\r\n");
                    }
                    continue;
                }
                match line.split([' ', ':']).next().unwrap_or_default() {
                    "EHLO" => say("250-mail.example\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n"),
                    "AUTH" => say("235 welcome\r\n"),
                    "RCPT" if line.contains("nobody") => say("550 5.1.1 no such user\r\n"),
                    "DATA" => {
                        in_data = true;
                        say("354 go on\r\n");
                    }
                    "QUIT" => {
                        say("221 bye\r\n");
                        break;
                    }
                    _ => say("250 ok\r\n"),
                }
            }
            told
        });
        (port, served)
    }

    fn send(port: u16, more: &str) -> String {
        let options = format!(
            r#"{{"host": "127.0.0.1", "port": {port}, "secure": "never", "ehlohost": "me.example", {more}}}"#
        );
        let target = Target::new().file("report.txt", ".first\nsecond");
        target.run(NAME, &options)
    }

    #[test]
    fn a_message_is_sent_to_all_who_are_to_get_it() {
        let (port, served) = server();
        let result = send(
            port,
            r#""from": "Ops <ops@example>", "to": ["a@example", "B <b@example>"],
            "bcc": "c@example", "subject": "done", "body": "all is well", "username": "me",
            "password": "geheim", "attach": "$ROOT/report.txt", "headers": ["X-Kind=test"]"#,
        );
        assert_eq!(
            result,
            r#"{"changed":false,"msg":"Mail sent successfully","result":{},"warnings":["Username and Password was sent without encryption"]}"#
        );
        let told = served.join().unwrap();
        let session: Vec<&str> = told.lines().take(7).collect();
        assert_eq!(
            session,
            [
                "EHLO me.example",
                "AUTH PLAIN AG1lAGdlaGVpbQ==",
                "MAIL FROM:<ops@example>",
                "RCPT TO:<c@example>",
                "RCPT TO:<a@example>",
                "RCPT TO:<b@example>",
                "DATA",
            ]
        );
        for line in [
            "From: Ops <ops@example>",
            "Subject: done",
            "X-Kind: test",
            "X-Mailer: Ansible mail module",
            "To: a@example, B <b@example>",
            "YWxsIGlzIHdlbGwKCg==",
            "Content-disposition: attachment; filename=\"report.txt\"",
            "LmZpcnN0CnNlY29uZA==",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}\n{told}");
        }
        assert!(!told.contains("c@example\n"), "{told}");
    }

    #[test]
    fn who_is_refused_is_told() {
        let (port, served) = server();
        let result = send(
            port,
            r#""to": "a@example,nobody@example", "subject": "Grüße""#,
        );
        assert_eq!(
            result,
            r#"{"changed":false,"msg":"Failed to send mail to at least one recipient","result":{"nobody@example":[550,"5.1.1 no such user"]},"warnings":["Failed to send mail to 'nobody@example': 550 5.1.1 no such user"]}"#
        );
        let told = served.join().unwrap();
        assert!(
            told.contains("\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\n"),
            "{told}"
        );
        let (port, served) = server();
        let result = send(port, r#""to": "nobody@example", "subject": "x""#);
        assert!(
            result.starts_with(
                r#"{"failed":true,"changed":false,"msg":"Failed to send mail to 'nobody@example': "#
            ),
            "{result}"
        );
        drop(served);
    }

    #[test]
    fn what_the_server_does_not_offer_is_told() {
        let (port, served) = server();
        let options = format!(
            r#"{{"host": "127.0.0.1", "port": {port}, "secure": "never", "subject": "x", "charset": "koi8-r"}}"#
        );
        let result = Target::new().run(NAME, &options);
        assert!(result.contains("charset `koi8-r` is not known"), "{result}");
        drop(served);
    }
}
