//! The agent comes to life behind a real `sh`: found, placed, verified, and as another user.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay::agent::bootstrap::{
    Agents, Become, CommandLine, Errand, Launch, Method, Refusal, StartError, Streams,
};
use backstay::agent::client::{Agent, AgentError};
use backstay::agent::contents::Store;
use backstay::agent::protocol::Call;
use backstay::machine::{Algorithm, Machine, MachineOptions};
use backstay::transport::{ConnectContext, Endpoint, TransportError, connect};
use backstay::value::Value;
use tokio::io::AsyncReadExt;

type Started = Result<Agent, StartError<TransportError>>;

/// A user's home on a host that is really this machine.
struct Host {
    root: tempfile::TempDir,
    agents: Agents,
    /// What the login shell says and does before the command.
    login: String,
}

/// Makes a host whose agent is a few bytes that run the real one.
fn host() -> Host {
    let root = tempfile::tempdir().unwrap();
    let real = env!("CARGO_BIN_EXE_backstay");
    // Its own path makes its digest its own: places outside of the home are shared.
    let small = format!(
        "#!/bin/sh\n# {}\nexec '{real}' agent --marker \"$3\" --directory \"$7\"\n",
        root.path().display()
    );
    let agent = program(root.path(), "agent", &small);
    Host {
        agents: Agents::new(agent, &BTreeMap::new()),
        login: format!(
            "export HOME='{0}' TMPDIR='{0}' XDG_CACHE_HOME=; PATH='{0}':$PATH; ",
            root.path().display()
        ),
        root,
    }
}

fn program(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

fn sudo(password: Option<&str>) -> Become {
    Become {
        method: Method::Sudo,
        user: "deploy".into(),
        executable: None,
        flags: None,
        password: password.map(str::to_owned),
        directory: None,
        prompts: Vec::new(),
        patience: None,
    }
}

impl Host {
    async fn start(&self, wish: Option<&Become>) -> Started {
        self.start_with(&self.agents, wish).await
    }

    async fn start_with(&self, agents: &Agents, wish: Option<&Become>) -> Started {
        let launch = Launch {
            agents: agents.clone(),
            local: false,
            patience: Duration::from_mins(1),
        };
        launch.start(wish, |command| self.open(command)).await
    }

    async fn open(&self, command: CommandLine) -> Result<Streams, TransportError> {
        let context = ConnectContext::new("/nowhere", "me");
        let connection = connect(&Endpoint::local("here"), &context).await?;
        let channel = connection
            .exec(&format!("{}{}", self.login, command.text))
            .await?;
        Ok(Streams {
            stdin: channel.stdin,
            stdout: channel.stdout,
            stderr: channel.stderr,
        })
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join(".cache/backstay")
    }

    fn cached(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("backstay-run-"))
            .collect();
        names.sort();
        names
    }
}

async fn answers(started: Started) -> bool {
    let mut agent = started.unwrap();
    let call = Call {
        module: "ping".into(),
        ..Call::default()
    };
    let reply = agent.call(call, &Store::default(), &|_| {}).await.unwrap();
    agent.close().await;
    reply.result.get("ping") == Some(&Value::from("pong"))
}

#[tokio::test]
async fn an_agent_is_placed_once_in_a_private_directory_and_found_again() {
    let host = host();
    assert!(answers(host.start(None).await).await);
    let placed = host.cached();
    assert_eq!(placed.len(), 1);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.cache()), 0o700);
    let when = host.cache().join(&placed[0]).metadata().unwrap().modified();
    assert!(answers(host.start(None).await).await);
    let again = host.cache().join(&placed[0]).metadata().unwrap().modified();
    assert_eq!(when.unwrap(), again.unwrap());
}

#[tokio::test]
async fn the_real_executable_travels_compressed_and_verifies_itself() {
    let host = host();
    let real = Agents::new(env!("CARGO_BIN_EXE_backstay"), &BTreeMap::new());
    assert!(answers(host.start_with(&real, None).await).await);
    assert!(answers(host.start_with(&real, None).await).await);
    let mut cached = host.cached();
    cached.sort_unstable();
    let noted = format!("{}.verified", cached[0]);
    assert_eq!(cached, [cached[0].clone(), noted]);
}

#[tokio::test]
async fn tasks_find_the_login_directory_in_their_environment() {
    let host = host();
    let real = Agents::new(env!("CARGO_BIN_EXE_backstay"), &BTreeMap::new());
    let mut agent = host.start_with(&real, None).await.unwrap();
    let arguments = Value::map([("cmd", "env")]);
    let call = Call {
        module: "command".into(),
        arguments: arguments.as_map().unwrap().clone(),
        ..Call::default()
    };
    let reply = agent.call(call, &Store::default(), &|_| {}).await.unwrap();
    agent.close().await;
    let stdout = reply.result.get("stdout").unwrap().to_string();
    let found: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains("PWD="))
        .collect();
    let here = std::env::current_dir().unwrap();
    assert_eq!(found, [format!("PWD={}", here.display())]);
}

/// Puts a damaged copy of the real executable where its agent is; returns the path.
#[expect(
    clippy::disallowed_methods,
    reason = "a test damages what it has itself put there"
)]
fn damage(host: &Host) -> PathBuf {
    let mut bytes = std::fs::read(env!("CARGO_BIN_EXE_backstay")).unwrap();
    let copy = host.cache().join(Algorithm::Sha256.of(&bytes));
    bytes.extend(b"damage");
    let damaged = host.cache().join("damaged");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(&damaged)
        .unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);
    // The whole one may be running.
    std::fs::rename(damaged, &copy).unwrap();
    copy
}

#[tokio::test]
async fn a_damaged_copy_is_replaced() {
    let host = host();
    let real = Path::new(env!("CARGO_BIN_EXE_backstay"));
    // The small agent makes the private directory.
    assert!(answers(host.start(None).await).await);
    let agents = Agents::new(real, &BTreeMap::new());
    // The second time it was found whole before.
    for _ in 0..2 {
        let copy = damage(&host);
        assert!(answers(host.start_with(&agents, None).await).await);
        let found = copy.metadata().unwrap();
        assert_eq!(found.len(), real.metadata().unwrap().len());
    }
}

#[tokio::test]
async fn a_noisy_login_shell_is_skipped() {
    let mut host = host();
    host.login += "echo 'Welcome to web1!'; echo 'last login: never' >&2; printf '\\0\\377 half'; ";
    assert!(answers(host.start(None).await).await);
}

#[tokio::test]
async fn endless_noise_is_given_up() {
    let mut host = host();
    host.login += "yes | head -c 1000000; ";
    let error = host.start(None).await.unwrap_err();
    assert!(matches!(error, StartError::Noise), "{error}");
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_not_trusted() {
    let host = host();
    assert!(answers(host.start(None).await).await);
    let planted = host.cache().join(&host.cached()[0]);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&planted)
        .unwrap();
    file.write_all(b"#!/bin/sh\necho planted >&2\n").unwrap();
    drop(file);
    let open = std::fs::Permissions::from_mode(0o770);
    std::fs::File::open(host.cache())
        .unwrap()
        .set_permissions(open)
        .unwrap();
    // The home's cache is passed over; the next place is fine.
    assert!(answers(host.start(None).await).await);
    let uid = std::os::unix::fs::MetadataExt::uid(&planted.metadata().unwrap());
    let other = PathBuf::from(format!("/var/tmp/backstay-{uid}"));
    let placed = other.join(planted.file_name().unwrap());
    let text = std::fs::read_to_string(&placed).unwrap();
    // Nobody else's place is left with the tests' agent.
    let mut machine = Machine::new(MachineOptions::default());
    assert!(machine.remove(&placed).unwrap());
    assert!(text.contains("agent --marker"));
}

#[tokio::test]
async fn another_cpu_is_named_with_what_to_do() {
    let host = host();
    program(host.root.path(), "uname", "#!/bin/sh\necho Linux riscv64\n");
    let error = host.start(None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the host is `Linux riscv64`, and there is no agent for that"
    );
    assert_eq!(
        error.help().unwrap(),
        "name a build for it with `--agent riscv64=PATH`"
    );
}

#[tokio::test]
async fn a_shell_that_ends_early_says_why() {
    let mut host = host();
    host.login = "echo 'This account is closed.' >&2; exit 1; ".into();
    let error = host.start(None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the command on the host ended before the agent answered: This account is closed."
    );
}

#[tokio::test]
async fn a_silent_host_is_given_up() {
    let mut host = host();
    host.login = "exec sleep 600; ".into();
    let launch = Launch {
        agents: host.agents.clone(),
        local: false,
        patience: Duration::from_millis(50),
    };
    let error = launch.start(None, |command| host.open(command)).await;
    assert!(matches!(error, Err(StartError::Silence { .. })));
}

#[tokio::test]
async fn this_machine_runs_its_own_executable_without_a_copy() {
    let host = host();
    let launch = Launch {
        agents: Agents::new(env!("CARGO_BIN_EXE_backstay"), &BTreeMap::new()),
        local: true,
        patience: Duration::from_mins(1),
    };
    assert!(answers(launch.start(None, |command| host.open(command)).await).await);
    assert!(!host.cache().exists());
}

#[tokio::test]
async fn another_user_of_this_machine_gets_a_copy() {
    let host = host();
    program(host.root.path(), "sudo", SUDO);
    let launch = Launch {
        agents: host.agents.clone(),
        local: true,
        patience: Duration::from_mins(1),
    };
    let wish = sudo(Some("geheim"));
    let started = launch
        .start(Some(&wish), |command| host.open(command))
        .await;
    assert!(answers(started).await);
    assert_eq!(host.cached().len(), 1);
}

/// A `sudo` that asks as the real one does; the command comes after `-u deploy`.
const SUDO: &str = r#"#!/bin/sh
while [ "$1" != -u ]; do
  case "$1" in -p) prompt=$2; shift;; -n) quiet=1;; esac
  shift
done
shift 2
ask() { printf '%s' "$prompt" >&2; read -r answer; [ "$answer" = geheim ]; }
if [ -n "$quiet" ]; then echo 'sudo: a password is required' >&2; exit 1; fi
ask || { echo 'Sorry, try again.' >&2; ask; } || exit 1
exec "$@"
"#;

#[tokio::test]
async fn sudo_gets_its_password_at_its_prompt() {
    let host = host();
    program(host.root.path(), "sudo", SUDO);
    assert!(answers(host.start(Some(&sudo(Some("geheim")))).await).await);
}

#[tokio::test]
async fn a_wrong_and_a_missing_password_are_told_apart() {
    let host = host();
    program(host.root.path(), "sudo", SUDO);
    for (password, text, wanted) in [
        (
            Some("falsch"),
            "Incorrect sudo password: Sorry, try again.",
            Refusal::PasswordWrong,
        ),
        (
            None,
            "Missing sudo password: sudo: a password is required",
            Refusal::PasswordMissing,
        ),
    ] {
        let error = host.start(Some(&sudo(password))).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, StartError::Become { refusal, .. } if refusal == wanted));
    }
}

#[tokio::test]
async fn a_password_is_in_no_argument_and_no_variable() {
    let host = host();
    let spy = "#!/bin/sh\nenv >\"$HOME/seen\"; echo \"$@\" >>\"$HOME/seen\"\n";
    let text = SUDO.replacen("#!/bin/sh\n", spy, 1);
    program(host.root.path(), "sudo", &text);
    assert!(answers(host.start(Some(&sudo(Some("geheim")))).await).await);
    let seen = std::fs::read_to_string(host.root.path().join("seen")).unwrap();
    assert!(seen.contains("password:") && !seen.contains("geheim"));
}

#[tokio::test]
async fn su_gets_its_password_in_any_language() {
    let host = host();
    let text = r#"#!/bin/sh
printf 'Passwort: ' >&2; read -r answer
[ "$answer" = geheim ] || { echo 'su: Authentication failure' >&2; exit 1; }
exec /bin/sh -c "$3"
"#;
    program(host.root.path(), "su", text);
    let su = |password: &str| Become {
        method: Method::Su,
        ..sudo(Some(password))
    };
    assert!(answers(host.start(Some(&su("geheim"))).await).await);
    let error = host.start(Some(&su("falsch"))).await.unwrap_err();
    assert!(matches!(
        error,
        StartError::Become {
            refusal: Refusal::PasswordWrong,
            ..
        }
    ));
}

#[tokio::test]
async fn a_raw_command_runs_as_another_user_and_only_its_own_output_is_told() {
    let host = host();
    let text = r#"#!/bin/sh
echo welcome; printf 'Password: ' >&2; read -r answer
[ "$answer" = geheim ] || { echo 'su: Authentication failure' >&2; exit 1; }
exec /bin/sh -c "$3"
"#;
    program(host.root.path(), "su", text);
    let su = |password: &str| Become {
        method: Method::Su,
        ..sudo(Some(password))
    };
    let run = async |wish: &Become, command: &str| {
        let open = |command| async { host.open(command).await.map(|streams| (streams, ())) };
        Errand::run(wish, command, Duration::from_mins(1), open).await
    };
    let (errand, ()) = run(&su("geheim"), "echo out; echo err >&2").await.unwrap();
    let (mut stdout, mut stderr) = (errand.stdout, errand.stderr);
    let mut streams = errand.streams;
    streams.stdout.read_to_end(&mut stdout).await.unwrap();
    streams.stderr.read_to_end(&mut stderr).await.unwrap();
    assert_eq!((&*stdout, &*stderr), (&b"out\n"[..], &b"err\n"[..]));
    let refused = run(&su("falsch"), "echo out").await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "Incorrect su password: welcome; Password: su: Authentication failure"
    );
    let elsewhere = Become {
        directory: Some("/nonexistent".into()),
        ..su("geheim")
    };
    let refused = run(&elsewhere, "echo out").await.err().unwrap();
    assert!(refused.is_become(), "{refused}");
}

#[tokio::test]
async fn an_agent_that_is_killed_is_lost() {
    let host = host();
    let mut agent = host.start(None).await.unwrap();
    let call = Call {
        module: "command".into(),
        arguments: Value::map([("cmd", "sh -c 'kill -9 $PPID'")])
            .as_map()
            .unwrap()
            .clone(),
        ..Call::default()
    };
    let error = agent.call(call, &Store::default(), &|_| {}).await;
    assert!(matches!(error, Err(AgentError::Lost { .. })), "{error:?}");
}
