//! `async_status`: what a job in the background has left, and removing it.

use std::path::PathBuf;

use crate::machine::Machine;
use crate::value::{Map, Value};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Obtain status of asynchronous task.
    pub(crate) struct AsyncStatusArgs for "async_status" {
        /// The job.
        jid: String { required },
        /// Ask about it, or remove what it left.
        mode: String { default: "status", choices: ["status", "cleanup"] },
        /// Where jobs leave their results.
        _async_dir: PathBuf { default: "~/.ansible_async", internal },
    }
}

/// Reads or removes the job's file.
pub(crate) fn run(machine: &mut Machine, args: AsyncStatusArgs) -> ModuleResult {
    let file = machine.expand(&args._async_dir).join(&args.jid);
    let shown = file.display().to_string();
    if !machine.exists(&file)? {
        let mut failure = Failure::new("could not find job")
            .with("ansible_job_id", args.jid)
            .with("started", true)
            .with("finished", true);
        if args.mode == "status" {
            failure = failure.with("results_file", shown);
        }
        return Err(failure);
    }
    if args.mode == "cleanup" {
        machine.remove(&file)?;
        return Ok(Outcome::unchanged()
            .with("ansible_job_id", args.jid)
            .with("erased", shown));
    }
    // A file that is not whole yet is one that is being written.
    let left = match serde_json::from_slice(&machine.read(&file)?) {
        Ok(Value::Map(left)) => left.as_ref().clone(),
        _ => Map::new(),
    };
    let running = left.contains_key("started");
    let outcome = Outcome::unchanged()
        .with("results_file", shown)
        .with("ansible_job_id", args.jid)
        .with("started", true)
        .with("finished", !running && !left.is_empty());
    Ok(outcome.with_all(left))
}
