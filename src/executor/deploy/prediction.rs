//! The plan's steps: what a task would change in check mode, as far as its module tells.
//!
//! In check mode nothing is written and so nothing is recorded; what would be is known from the
//! module, its arguments, and whether it predicts a change.

use crate::event::{Reversibility, Step};
use crate::executor::session::ModuleCall;
use crate::modules::{self, Module, Reversal};
use crate::value::{Map, Value};

/// Returns the step of a call that predicts a change.
pub(in crate::executor) fn predicted(call: &ModuleCall, result: &Map) -> Option<Step> {
    let changes = result.get("changed").is_some_and(Value::is_truthy);
    changes.then(|| step(call))
}

fn step(call: &ModuleCall) -> Step {
    let module = call.module.as_str();
    let reversal = modules::find(module).map_or(Reversal::Asked(""), Module::reversal);
    let (class, mut undo) = match reversal {
        Reversal::Asked(_) => command(call),
        Reversal::Compensated(_) => (
            Reversibility::Compensated,
            "apply the recorded state again".to_owned(),
        ),
        Reversal::Exact(_) | Reversal::Nothing => {
            (Reversibility::Exact, "put back what was there".to_owned())
        }
    };
    let mut about = subject(&call.args);
    if call.no_log {
        "(hidden by no_log)".clone_into(&mut about);
        undo.clear();
    }
    Step {
        class,
        what: format!("{module} {about}").trim_end().to_owned(),
        undo,
    }
}

fn command(call: &ModuleCall) -> (Reversibility, String) {
    if let Some(undo) = &call.undo {
        (Reversibility::Declared, undo.clone())
    } else if !call.protect.is_empty() {
        let paths = call.protect.join(", ");
        (Reversibility::Declared, format!("put back {paths}"))
    } else if let Some(path) = call
        .args
        .get("creates")
        .filter(|it| !matches!(it, Value::Null))
    {
        (Reversibility::Declared, format!("remove {path}"))
    } else {
        (Reversibility::Opaque, String::new())
    }
}

/// Returns what the call is about: its path, its name, or its command.
fn subject(args: &Map) -> String {
    const NAMES: [&str; 6] = ["dest", "path", "name", "cmd", "_raw_params", "argv"];
    let given = NAMES.iter().find_map(|name| {
        let value = args.get(*name)?;
        (!matches!(value, Value::Null)).then_some(value)
    });
    match given {
        Some(Value::List(items)) => {
            let words: Vec<String> = items.iter().map(ToString::to_string).collect();
            words.join(" ")
        }
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
