//! `set_fact`, `setup` and `gather_facts`: variables that belong to a host.

use std::sync::Arc;

use super::{ActionContext, Answer};
use crate::arguments::{ArgumentSpec, OptionType, Parameter};
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

/// The options of `set_fact`: any variable beside its one own.
pub(super) const SET_FACT: ArgumentSpec = ArgumentSpec::new(
    "set_fact",
    &["Set host variable(s) and fact(s)."],
    &[Parameter::new(
        "cacheable",
        OptionType::Boolean,
        &["Make the variables facts as well."],
    )
    .default("false")],
    &[],
);

/// The options of `gather_facts`: those of `setup`, and how its collectors run, of which there
/// is one here.
pub(super) const GATHER_FACTS: ArgumentSpec = ArgumentSpec::new(
    "gather_facts",
    &["Gathers facts about remote hosts."],
    &[
        Parameter::new("gather_subset", OptionType::Raw, &["Which facts."]),
        Parameter::new(
            "gather_timeout",
            OptionType::Raw,
            &["Seconds one collector may take."],
        ),
        Parameter::new("filter", OptionType::Raw, &["Only facts that match."]),
        Parameter::new("fact_path", OptionType::Raw, &["Where local facts are."]),
        Parameter::new(
            "parallel",
            OptionType::Raw,
            &["Accepted; there is one collector."],
        ),
    ],
    &[],
);

/// Sets variables of the host.
pub(super) async fn set_fact(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let cacheable = context.flag("cacheable", false);
    context.args.shift_remove("cacheable");
    if context.args.is_empty() {
        return Err(Failure::action(
            "No key/value pairs provided, at least one is required for this action to succeed",
        ));
    }
    let mut facts = Map::new();
    for (key, value) in &context.args {
        let name = variable_name(context, &key.to_string())?;
        facts.insert(name.into(), value.clone());
    }
    let facts = Arc::new(facts);
    let answer = Answer::new([("ansible_facts", Value::Map(Arc::clone(&facts)))]);
    Ok(answer.effect(Effect::SetFacts { facts, cacheable }))
}

/// Renders and checks the name of a variable that is set.
pub(super) fn variable_name(context: &ActionContext<'_>, name: &str) -> Result<String, Failure> {
    let key = context.written_key(name);
    let rendered = match key {
        Some(node) if crate::playbook::may_be_template(node) => {
            context.renderer.text(Some(node))?.unwrap_or_default()
        }
        _ => name.to_owned(),
    };
    if crate::playbook::is_variable_name(&rendered) {
        return Ok(rendered);
    }
    let failure = Failure::new(format!("Invalid variable name '{rendered}'.")).help(
        "Variable names must be strings starting with a letter or underscore character, and \
         contain only letters, numbers and underscores.",
    );
    Err(match key {
        Some(node) => failure.at(&node.mark),
        None => failure,
    })
}

/// Gathers facts as a task of its own does.
pub(super) async fn setup(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = std::mem::take(&mut context.args);
    gather(context, args).await
}

/// Gathers facts as a play does before its tasks.
pub(super) async fn gather_facts(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let mut args = std::mem::take(&mut context.args);
    args.retain(|_, value| !matches!(value, Value::Null));
    args.shift_remove("parallel");
    let mut answer = gather(context, args).await?;
    // What smart gathering looks for.
    for effect in &mut answer.effects {
        if let Effect::Facts(facts) = effect {
            Arc::make_mut(facts).insert("_ansible_facts_gathered".into(), true.into());
        }
    }
    answer
        .hints
        .insert("_ansible_verbose_override".into(), true.into());
    Ok(answer)
}

async fn gather(context: &mut ActionContext<'_>, args: Map) -> Result<Answer, Failure> {
    let mut answer = context.module_in("setup", args, false).await?;
    if let Some(Value::Map(facts)) = answer.result.get("ansible_facts") {
        let facts = Arc::clone(facts);
        answer.effects.push(Effect::Facts(facts));
    }
    Ok(answer)
}
