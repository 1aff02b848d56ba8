//! `reboot`: starts the target anew and waits until it is back.
//!
//! Works with commands of the target's shell: no agent outlives what it does.

use std::time::{Duration, Instant};

use super::context::nobody_undoes;
use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::executor::session::RawOutput;
use crate::transport::ConnectionKind;
use crate::value::{Map, Value};

arguments! {
    /// Reboot a machine.
    pub(super) struct RebootArgs for "reboot" {
        /// Seconds before the reboot; whole minutes, on Linux.
        pre_reboot_delay: i64 { default: "0", aliases: ["pre_reboot_delay_sec"] },
        /// Seconds after the reboot command before the first look.
        post_reboot_delay: i64 { default: "0", aliases: ["post_reboot_delay_sec"] },
        /// Seconds until the host must be back, and again until the test command must succeed.
        reboot_timeout: i64 { default: "600", aliases: ["reboot_timeout_sec"] },
        /// Seconds one attempt to connect may take.
        connect_timeout: Option<i64> { aliases: ["connect_timeout_sec"] },
        /// What proves that the host works again.
        test_command: String { default: "whoami" },
        /// What the users of the host are told.
        msg: String { default: "Reboot initiated by Ansible" },
        /// Where the reboot command is looked for.
        search_paths: Vec<String> { default: "/sbin,/bin,/usr/sbin,/usr/bin,/usr/local/sbin" },
        /// What tells one boot from another.
        boot_time_command: String { default: "cat /proc/sys/kernel/random/boot_id" },
        /// The command, with its arguments, where it is not shutdown.
        reboot_command: Option<String> {},
    }
}

/// Reboots, waits until the boot is another one, and tests.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        RebootArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let target = context.target()?;
    let told = |rebooted: bool| {
        Answer::new([
            ("changed", rebooted.into()),
            ("elapsed", 0.into()),
            ("rebooted", rebooted.into()),
        ])
    };
    if target.endpoint.kind == ConnectionKind::Local {
        let mut answer = told(false);
        answer.set("failed", true);
        answer.set(
            "msg",
            "Running ansible.builtin.reboot with local connection would reboot the control node.",
        );
        answer.failed = true;
        return Ok(answer);
    }
    if context.settings.check {
        return Ok(told(true));
    }
    if context.job.deploy.is_some() {
        return Err(Failure::new(
            "a reboot would end the transaction it is part of: the host undoes what is not \
             committed when it starts",
        )
        .help("reboot in a play with `vars: {backstay_transaction: false}`"));
    }
    let before = match boot_id(context, &args).await {
        Ok(id) => id,
        Err(why) => {
            let mut answer = Answer::failed(why);
            answer.set("reboot", false);
            return Ok(answer);
        }
    };
    let command = reboot_command(context, &args).await?;
    let steps = vec![nobody_undoes(format!("reboot: {command}"))];
    // A connection that ends here is what was asked for.
    let answered = context.raw(&command).await.ok();
    let started = Instant::now();
    if let Some(refused) = answered.filter(|output| output.status != 0 && !is_cut(output)) {
        let mut answer = Answer::failed(format!(
            "Reboot command failed. Error was: '{}, {}'",
            text(&refused.stdout),
            text(&refused.stderr)
        ));
        answer.set("rebooted", false);
        answer.set("elapsed", 0);
        return Ok(answer);
    }
    tokio::time::sleep(seconds(args.post_reboot_delay)).await;
    let back = wait(context, &args, Awaited::Boot(&before)).await;
    let tested = match back {
        Ok(()) => wait(context, &args, Awaited::Test).await,
        late => late,
    };
    let mut answer = Answer::new([("rebooted", Value::from(true))]);
    match tested {
        Ok(()) => answer.set("changed", true),
        Err(msg) => {
            answer = Answer::failed(msg);
            answer.set("rebooted", true);
        }
    }
    answer.set("elapsed", started.elapsed().as_secs());
    answer.steps = steps;
    Ok(answer)
}

/// What the waiting is for.
#[derive(Clone, Copy)]
enum Awaited<'a> {
    /// A boot other than this one.
    Boot(&'a str),
    Test,
}

impl Awaited<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Boot(_) => "last boot time check",
            Self::Test => "post-reboot test command",
        }
    }
}

/// Tries until it succeeds, with growing pauses; the error says that the time is over.
async fn wait(
    context: &ActionContext<'_>,
    args: &RebootArgs,
    awaited: Awaited<'_>,
) -> Result<(), String> {
    let started = Instant::now();
    let mut pause = 1.0_f64;
    while started.elapsed() < seconds(args.reboot_timeout) {
        if attempt(context, args, awaited).await {
            return Ok(());
        }
        let jitter = f64::from(rand::random_range(0..1000_u32)) / 1000.0;
        tokio::time::sleep(Duration::from_secs_f64(pause.min(12.0) + jitter)).await;
        pause *= 2.0;
    }
    Err(format!(
        "Timed out waiting for {} (timeout={})",
        awaited.name(),
        args.reboot_timeout
    ))
}

async fn attempt(context: &ActionContext<'_>, args: &RebootArgs, awaited: Awaited<'_>) -> bool {
    let Ok(target) = context.target() else {
        return false;
    };
    // What is left of the old connection would keep the attempt waiting.
    context.job.world.sessions.reset(&target).await;
    let limit = match args.connect_timeout {
        Some(limit) if limit > 0 => seconds(limit),
        _ => target.endpoint.timeout.max(Duration::from_secs(1)) * 2,
    };
    let trying = async {
        match awaited {
            Awaited::Boot(before) => boot_id(context, args)
                .await
                .is_ok_and(|id| !id.is_empty() && id != before),
            Awaited::Test => context
                .raw(&args.test_command)
                .await
                .is_ok_and(|output| output.status == 0),
        }
    };
    tokio::time::timeout(limit, trying).await.unwrap_or(false)
}

async fn boot_id(context: &ActionContext<'_>, args: &RebootArgs) -> Result<String, String> {
    let output = context
        .raw(&args.boot_time_command)
        .await
        .map_err(|failure| failure.brief())?;
    if output.status != 0 {
        return Err(format!(
            "ansible.builtin.reboot: failed to get host boot time info, rc: {}, stdout: {}, \
             stderr: {}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(text(&output.stdout))
}

async fn reboot_command(
    context: &mut ActionContext<'_>,
    args: &RebootArgs,
) -> Result<String, Failure> {
    let delay = args.pre_reboot_delay.max(0) / 60;
    let (program, words) = match &args.reboot_command {
        Some(command) => match command.split_once(' ') {
            Some((program, words)) => (program.to_owned(), words.to_owned()),
            None => (command.clone(), String::new()),
        },
        None => match distribution(context).await?.as_str() {
            "alpine" => ("reboot".to_owned(), String::new()),
            "void" => (
                "shutdown".to_owned(),
                format!("-r +{delay} \"{}\"", args.msg),
            ),
            _ => (
                "shutdown".to_owned(),
                format!("-r {delay} \"{}\"", args.msg),
            ),
        },
    };
    if program.starts_with('/') {
        return Ok(format!("{program} {words}"));
    }
    let mut find = Map::new();
    find.insert("paths".into(), Value::list(args.search_paths.clone()));
    find.insert("patterns".into(), Value::list([program.as_str()]));
    find.insert("file_type".into(), "any".into());
    let found = context.module_in("find", find, false).await?;
    let first = found
        .result
        .get("files")
        .and_then(Value::as_list)
        .and_then(|files| files.first()?.get("path").map(Value::to_string));
    match first {
        Some(path) => Ok(format!("{path} {words}")),
        None => Err(Failure::new(format!(
            "Unable to find command \"{program}\" in search paths: {}",
            crate::value::repr(&Value::list(args.search_paths.clone()))
        ))),
    }
}

async fn distribution(context: &mut ActionContext<'_>) -> Result<String, Failure> {
    let mut subset = Map::new();
    subset.insert("gather_subset".into(), "min".into());
    let facts = context.module_in("setup", subset, false).await?;
    Ok(facts
        .result
        .get("ansible_facts")
        .and_then(|facts| facts.get("ansible_distribution"))
        .map(Value::to_string)
        .unwrap_or_default()
        .to_lowercase())
}

/// Tells whether a signal ended the command: the host was going down already.
fn is_cut(output: &RawOutput) -> bool {
    output.status < 0 || output.status == 255
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}
