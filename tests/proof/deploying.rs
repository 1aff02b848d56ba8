//! A transaction of modules by a real agent under a real guardian, for the sweep to break.
//!
//! It knows nothing of what is broken: where a task fails it goes on to the end, as a controller
//! would, and what stands afterwards is not its affair.

use std::io::BufRead;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use backstay::agent::client::Agent;
use backstay::agent::contents::Store;
use backstay::agent::protocol::{Call, Open};
use backstay::transaction::lock;
use backstay::transaction::state::RunInfo;
use backstay::value::Value;
use tokio::io::AsyncReadExt;

use super::{Done, say};

/// Runs the modules with the agent that `command` starts, says `standing PID`, the guardian's
/// number, waits for a line on stdin, and aborts.
pub(super) fn deploy(state: &Path, tree: &Path, command: &[&str]) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let patience = Duration::from_secs(50);
    runtime
        .block_on(async { tokio::time::timeout(patience, deploying(state, tree, command)).await? })
}

async fn deploying(state: &Path, tree: &Path, command: &[&str]) -> Done {
    let (program, arguments) = command.split_first().ok_or("no agent")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("BACKSTAY_STATE_DIRECTORY", state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = child.stdout.take().ok_or("no output")?;
    let input = child.stdin.take().ok_or("no input")?;
    let mut ready = [0; 9];
    output.read_exact(&mut ready).await?;
    let mut agent = Agent::start(Box::new(output), Box::new(input), None, &[]).await?;
    agent
        .open(open())
        .await
        .map_err(|error| format!("{error:?}"))?;
    for (seq, call) in (1..).zip(calls(tree)) {
        let call = Call {
            transaction_seq: Some(seq),
            ..call
        };
        let module = call.module.clone();
        let reply = agent.call(call, &Store::default(), &|_| {}).await?;
        if reply.result.get("failed") == Some(&Value::Bool(true)) {
            say(&format!("failed {module}: {:?}", reply.result.get("msg")));
            break;
        }
    }
    let holder = lock::holder(state, "proof")?.ok_or("nobody holds the lock")?;
    say(&format!("standing {}", holder.pid.unwrap_or_default()));
    std::io::stdin().lock().read_line(&mut String::new())?;
    let report = agent.abort("the proof").await?;
    say(if report.is_rolled_back() {
        "rolled back"
    } else {
        "stuck"
    });
    Ok(())
}

fn open() -> Open {
    Open {
        id: format!("{:032x}", 1),
        token: format!("{:032x}", 2),
        application: "proof".into(),
        run: RunInfo::default(),
        lease: 40.0,
        grace: Some(0.05),
        keep: 5,
    }
}

/// What a release is made of, module by module.
fn calls(tree: &Path) -> Vec<Call> {
    let at = |name: &str| Value::from(tree.join(name).display().to_string());
    let text = |text: &str| Value::from(text);
    let yes = Value::from(true);
    let call = |module: &str, arguments: Vec<(&str, Value)>| Call {
        module: module.to_owned(),
        arguments: arguments
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect(),
        ..Call::default()
    };
    let release = "app/releases/2";
    vec![
        call(
            "file",
            vec![
                ("path", at(release)),
                ("state", text("directory")),
                ("mode", text("0755")),
            ],
        ),
        call(
            "unarchive",
            vec![
                ("src", at("../source/app.tar")),
                ("dest", at(release)),
                ("remote_src", yes.clone()),
            ],
        ),
        call(
            "copy",
            vec![
                ("src", at("../source/conf")),
                ("dest", at("etc/app.conf")),
                ("remote_src", yes.clone()),
                ("mode", text("0600")),
            ],
        ),
        call(
            "lineinfile",
            vec![("path", at("etc/other.conf")), ("line", text("added"))],
        ),
        call(
            "blockinfile",
            vec![("path", at("etc/other.conf")), ("block", text("one\ntwo"))],
        ),
        call(
            "replace",
            vec![
                ("path", at("etc/other.conf")),
                ("regexp", text("old")),
                ("replace", text("new")),
            ],
        ),
        call(
            "file",
            vec![("path", at("etc/touched")), ("state", text("touch"))],
        ),
        call(
            "file",
            vec![
                ("path", at("app/current")),
                ("src", text("releases/2")),
                ("state", text("link")),
            ],
        ),
        call(
            "file",
            vec![("path", at("app/releases/0")), ("state", text("absent"))],
        ),
        call(
            "file",
            vec![("path", at("app/shared")), ("state", text("absent"))],
        ),
        call(
            "copy",
            vec![
                ("src", at("../source/conf")),
                ("dest", at("app/shared")),
                ("remote_src", yes.clone()),
            ],
        ),
        call(
            "file",
            vec![
                ("path", at("app/again")),
                ("src", at("app/shared")),
                ("state", text("hard")),
            ],
        ),
        call(
            "file",
            vec![
                ("path", at("app/releases/1")),
                ("recurse", yes),
                ("owner", text("7")),
                ("state", text("directory")),
            ],
        ),
        Call {
            undo: Some(format!("rm -f {}", tree.join("etc/declared").display())),
            ..call(
                "shell",
                vec![(
                    "cmd",
                    Value::from(format!("echo x >{}", tree.join("etc/declared").display())),
                )],
            )
        },
        Call {
            protect: vec![tree.join("etc/app.conf").display().to_string()],
            ..call(
                "shell",
                vec![(
                    "cmd",
                    Value::from(format!(
                        "echo more >>{}",
                        tree.join("etc/app.conf").display()
                    )),
                )],
            )
        },
    ]
}
