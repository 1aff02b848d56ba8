//! `expect`: a program that asks questions, and the answers to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::{Command, Conversation, Effect, Machine, Reply, split_words};
use crate::pyregex::{Flags, Pattern};
use crate::value::{Map, Value};

use super::command::{local_time, python_timedelta};
use super::foresight::skipped_in_check_mode;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Executes a command and responds to prompts.
    pub(crate) struct ExpectArgs for "expect" {
        /// The program and its arguments; no shell reads them.
        command: String { required },
        /// The directory to run it in.
        chdir: Option<PathBuf> {},
        /// A file; when it is there the program is not run.
        creates: Option<PathBuf> {},
        /// A file; when it is not there the program is not run.
        removes: Option<PathBuf> {},
        /// For each pattern the answer, or the answers one after the other.
        responses: Map { required },
        /// Seconds between two questions; none waits for ever.
        timeout: Option<Value> { default: "30" },
        /// Have the answers in the output too.
        echo: bool { default: "false" },
    }
}

/// Runs the program and answers it.
pub(crate) fn run(machine: &mut Machine, args: ExpectArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, "expect") {
        return Ok(skipped);
    }
    let limit = limit(args.timeout.as_ref())?;
    let mut questions = questions(&args.responses)?;
    if args.command.trim().is_empty() {
        return Err(Failure::new("no command given").with("rc", 256));
    }
    let directory = args.chdir.as_deref().map(|path| machine.expand(path));
    let place = |machine: &mut Machine, path: &Path| match &directory {
        Some(directory) if path.is_relative() && !path.starts_with("~") => directory.join(path),
        _ => machine.expand(path),
    };
    for (given, must_exist) in [(&args.creates, false), (&args.removes, true)] {
        let Some(given) = given else { continue };
        let path = place(machine, given);
        if machine.exists(&path)? != must_exist {
            let why = if must_exist {
                "does not exist"
            } else {
                "exists"
            };
            return Ok(Outcome::unchanged()
                .with("cmd", args.command.as_str())
                .with(
                    "stdout",
                    format!("skipped, since {} {why}", given.display()),
                )
                .with("rc", 0));
        }
    }
    let command = command(machine, &args.command, directory.as_deref())?;
    let mut unanswered = None;
    let mut reply = |said: &[u8]| match ask(&mut questions, said) {
        Ok(reply) => reply,
        Err(msg) => {
            unanswered = Some(msg);
            Reply::HangUp
        }
    };
    let what = format!("command `{}`", args.command);
    let effect = match &args.creates {
        Some(creates) => Effect::creating(what, &place(machine, creates)),
        None => Effect::opaque(what),
    };
    let conversation = machine.converse(&command, effect, args.echo, limit, &mut reply)?;
    if let Some(msg) = unanswered {
        return Err(Failure::new(msg));
    }
    match conversation {
        Some(conversation) => finished(&args.command, &conversation),
        None => Ok(Outcome::unchanged()),
    }
}

fn limit(timeout: Option<&Value>) -> Result<Option<Duration>, Failure> {
    let Some(value) = timeout else {
        return Ok(None);
    };
    let seconds = match value {
        Value::Int(seconds) => u64::try_from(*seconds).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(Failure::new(format!(
            "argument 'timeout' is of type <class '{}'> and we were unable to convert to int: \
             \"{value}\" cannot be converted to an int",
            value.python_type()
        ))),
    }
}

/// A pattern and what is typed when the program writes it.
struct Question {
    text: String,
    pattern: Pattern,
    /// The answers left; one that stands alone is never used up.
    answers: Vec<Vec<u8>>,
    is_list: bool,
}

fn questions(responses: &Map) -> Result<Vec<Question>, Failure> {
    let flags = Flags {
        dot_all: true,
        ..Flags::default()
    };
    let line = |value: &Value| {
        let text = value.to_string();
        format!("{}\n", text.trim_end_matches('\n')).into_bytes()
    };
    let mut questions = Vec::new();
    for (key, value) in responses {
        let text = key.to_string();
        let pattern = Pattern::bytes(&text, flags)
            .map_err(|error| Failure::new(format!("the pattern `{text}` is not valid: {error}")))?;
        let answers = match value {
            Value::List(answers) => answers.iter().rev().map(line).collect(),
            answer => vec![line(answer)],
        };
        questions.push(Question {
            text,
            pattern,
            answers,
            is_list: matches!(value, Value::List(_)),
        });
    }
    Ok(questions)
}

/// Finds what is asked first; the error says that nothing is left to answer.
fn ask(questions: &mut [Question], said: &[u8]) -> Result<Reply, String> {
    let mut first: Option<(usize, usize, usize)> = None;
    for (index, question) in questions.iter().enumerate() {
        let found = question
            .pattern
            .search(said)
            .map_err(|error| error.to_string())?;
        if let Some(found) = found
            && first.is_none_or(|(start, ..)| found.start() < start)
        {
            first = Some((found.start(), found.end(), index));
        }
    }
    let Some((_, end, index)) = first else {
        return Ok(Reply::Wait);
    };
    let question = &mut questions[index];
    let answer = if question.is_list {
        question.answers.pop()
    } else {
        question.answers.first().cloned()
    };
    match answer {
        Some(answer) => Ok(Reply::Type { read: end, answer }),
        None => Err(format!(
            "No remaining responses for '{}', output was '{}'",
            question.text,
            crate::value::repr(&String::from_utf8_lossy(&said[..end]).as_ref().into())
                .replacen('\'', "b'", 1)
        )),
    }
}

fn command(
    machine: &mut Machine,
    text: &str,
    directory: Option<&Path>,
) -> Result<Command, Failure> {
    let words = split_words(text).ok_or_else(|| Failure::new("No closing quotation"))?;
    let program = words.first().cloned().unwrap_or_default();
    let is_there = if program.contains('/') {
        let path = directory.unwrap_or(Path::new("/")).join(&program);
        machine.may(&path, rustix::fs::Access::EXEC_OK)
    } else {
        machine.find_program(&program).is_some()
    };
    if !is_there {
        return Err(Failure::new(format!(
            "The command was not found or was not executable: {program}."
        )));
    }
    let command = Command::new(words);
    Ok(match directory {
        Some(directory) => command.directory(directory),
        None => command,
    })
}

fn finished(command: &str, conversation: &Conversation) -> ModuleResult {
    let took = conversation.end.duration_since(conversation.start);
    // Ansible cannot take such a result in, and playbooks are told so in these words.
    let text = str::from_utf8(&conversation.output)
        .map_err(|_| Failure::new("Refusing to deserialize an invalid UTF8 string value."))?;
    let outcome = Outcome::changed()
        .with("cmd", command)
        .with("stdout", text.trim_end_matches(['\r', '\n']))
        .with("rc", conversation.status.map_or(Value::Null, Value::from))
        .with("start", local_time(conversation.start))
        .with("end", local_time(conversation.end))
        .with("delta", python_timedelta(took.unwrap_or_default()));
    let msg = match conversation.status {
        Some(0) => return Ok(outcome),
        Some(_) => "non-zero return code",
        None => "command exceeded timeout",
    };
    Err(Failure::new(msg).with_changed(true).with_all(outcome.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const ASK: &str = r#"
printf 'Username: '; read name
printf 'Password: '; read word
printf 'Password again: '; read again
echo "$name $word $again"
"#;

    fn shown(result: &str) -> String {
        let result: Value = serde_json::from_str(result).unwrap();
        let text = |key: &str| result.get(key).map(Value::to_string).unwrap_or_default();
        format!("{} {} {:?}", text("changed"), text("rc"), text("stdout"))
    }

    #[test]
    fn each_question_gets_its_answer() {
        let programs = Programs::new([("ask", ASK)]);
        let options =
            r#"{"command": "ask", "responses": {"Username": "me", "Password": ["one", "two\n"]}}"#;
        assert_eq!(
            shown(&programs.run("expect", options)),
            r#"True 0 "Username: Password: Password again: me one two""#
        );
        let echoed = options.replace('{', r#"{"echo": true, "#).replacen(
            r#"{"echo": true, "Username"#,
            r#"{"Username"#,
            1,
        );
        assert_eq!(
            shown(&programs.run("expect", &echoed)),
            r#"True 0 "Username: me\r\nPassword: one\r\nPassword again: two\r\nme one two""#
        );
    }

    #[test]
    fn answers_can_run_out() {
        let programs = Programs::new([("ask", ASK)]);
        let options = r#"{"command": "ask", "responses": {"Username": "me", "Password": ["one"]}}"#;
        assert_eq!(
            programs.run("expect", options),
            r#"{"failed":true,"changed":false,"msg":"No remaining responses for 'Password', output was 'b': Password''"}"#
        );
    }

    #[test]
    fn creates_removes_and_check_mode_run_nothing() {
        let programs = Programs::new([("ask", ASK)]);
        let options = r#"{"command": "ask", "responses": {}, "creates": "$BIN/ask"}"#;
        assert_eq!(
            programs.run("expect", options),
            r#"{"changed":false,"cmd":"ask","stdout":"skipped, since $BIN/ask exists","rc":0,"stdout_lines":["skipped, since $BIN/ask exists"]}"#
        );
        let options = r#"{"command": "ask", "responses": {}, "removes": "$BIN/none"}"#;
        assert!(
            programs
                .run("expect", options)
                .contains("skipped, since $BIN/none does not exist")
        );
        assert!(
            programs
                .predict("expect", r#"{"command": "ask", "responses": {}}"#)
                .contains(r#""skipped":true"#)
        );
        assert_eq!(programs.calls(), Vec::<String>::new());
    }

    #[test]
    fn a_program_that_fails_or_is_missing_says_so() {
        let programs = Programs::new([("wrong", "exit 3")]);
        assert!(
            programs
                .run("expect", r#"{"command": "wrong", "responses": {}}"#)
                .contains("non-zero return code")
        );
        assert!(
            programs
                .run(
                    "expect",
                    r#"{"command": "backstay-none x", "responses": {}}"#
                )
                .contains("The command was not found or was not executable: backstay-none.")
        );
        assert!(
            programs
                .run(
                    "expect",
                    r#"{"command": "wrong", "responses": {}, "timeout": "soon"}"#
                )
                .contains("\\\"soon\\\" cannot be converted to an int")
        );
    }
}
