//! `set_stats`: numbers and texts for the end of the run.

use super::facts::variable_name;
use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

arguments! {
    /// Define and display stats for the current run.
    pub(super) struct SetStatsArgs for "set_stats" {
        /// The stats.
        data: Value { default: "" },
        /// One set of stats for each host.
        per_host: Value { default: "false" },
        /// Add to a stat of the same name instead of replacing it.
        aggregate: Value { default: "true" },
    }
}

/// Records the stats.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        SetStatsArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let given = match &args.data {
        Value::Map(map) => (**map).clone(),
        Value::String(text) if text.is_empty() => Map::new(),
        _ => {
            return Ok(Answer::failed(
                "The 'data' option needs to be a dictionary/hash",
            ));
        }
    };
    let mut data = Map::new();
    for (key, value) in given {
        data.insert(variable_name(context, &key.to_string())?.into(), value);
    }
    // As in Ansible, what is no boolean is false.
    let [per_host, aggregate] =
        [&args.per_host, &args.aggregate].map(|flag| flag.to_soft_bool().unwrap_or(false));
    let told = Value::map([
        ("data", Value::from(data.clone())),
        ("per_host", per_host.into()),
        ("aggregate", aggregate.into()),
    ]);
    let answer = Answer::new([("changed", false.into()), ("ansible_stats", told)]);
    Ok(answer.effect(Effect::Stats {
        data,
        per_host,
        aggregate,
    }))
}
