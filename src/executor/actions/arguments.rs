//! A task's arguments: defaults from `module_defaults`, `args:` and options as written, rendered
//! with the host's variables.

use super::ActionContext;
use crate::arguments::ArgumentSpec;
use crate::executor::failure::Failure;
use crate::executor::render::Renderer;
use crate::node::Node;
use crate::playbook::{ActionKind, Args, full_name};
use crate::value::{Map, Value};

/// Options that an action evaluates itself instead of getting them rendered.
const UNRENDERED: [(&str, &str); 3] = [
    ("assert", "that"),
    ("debug", "var"),
    ("ansible._protomatter.debug", "expression"),
];

/// Renders one argument; `None` when it is `omit`.
pub(in crate::executor) fn argument(
    renderer: &Renderer<'_>,
    action: &str,
    name: &str,
    node: &Node,
) -> Result<Option<Value>, Failure> {
    renderer.value(node).map_err(|failure| {
        failure
            .prefixed(&format!("Error while resolving value for '{name}': "))
            .within(finalizing(action))
    })
}

fn finalizing(action: &str) -> String {
    let full = if action.contains('.') {
        action.to_owned()
    } else {
        format!("ansible.builtin.{action}")
    };
    format!("Finalization of task args for '{full}' failed")
}

/// Renders all arguments of the context's task; what fails is placed at the action's key.
pub(super) fn render(
    context: &ActionContext<'_>,
    spec: &ArgumentSpec,
    action: &str,
) -> Result<Map, Failure> {
    let written = &context.job.task.action.written;
    layered(context, spec, action).map_err(|failure| failure.at(&written.mark))
}

fn layered(context: &ActionContext<'_>, spec: &ArgumentSpec, action: &str) -> Result<Map, Failure> {
    let ActionKind::Module { args, .. } = &context.job.task.action.kind else {
        return Ok(Map::new());
    };
    let mut rendered = defaults(context, action)?;
    let short = super::short(action);
    if let Some(node) = &args.variable {
        match argument(&context.renderer, action, "args", node)? {
            Some(Value::Map(map)) => {
                rendered.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            None | Some(Value::Null) => {}
            Some(other) => {
                return Err(Failure::new(format!(
                    "`args` must be a dictionary, not '{}'",
                    other.python_type()
                ))
                .at(&node.mark)
                .within(finalizing(action)));
            }
        }
    }
    if let Some(node) = &args.free_form {
        let name = spec.free_form.unwrap_or("_raw_params");
        if let Some(value) = argument(&context.renderer, action, "_raw_params", node)? {
            merge_free_form(&mut rendered, name, value);
        }
    }
    for (key, node) in &args.options {
        let name = match key.as_str() {
            Some(name) => name.to_owned(),
            None => key.to_value().to_string(),
        };
        if UNRENDERED.contains(&(short, name.as_str())) {
            rendered.insert(name.into(), node.to_value());
            continue;
        }
        // An option that is omitted takes its default, also over `module_defaults`.
        rendered.shift_remove(name.as_str());
        if let Some(value) = argument(&context.renderer, action, &name, node)? {
            rendered.insert(name.into(), value);
        }
    }
    Ok(rendered)
}

/// Takes free-form text as the option it stands for; a dictionary (`args: "{{ x }}"` of old)
/// as options.
fn merge_free_form(rendered: &mut Map, name: &str, value: Value) {
    match value {
        Value::Map(map) if name == "_raw_params" => {
            rendered.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        value => {
            rendered.insert(name.into(), value);
        }
    }
}

fn defaults(context: &ActionContext<'_>, action: &str) -> Result<Map, Failure> {
    let short = super::short(action);
    let full = full_name(action);
    let mut found = Map::new();
    for node in context.job.task.module_defaults() {
        let Some(pairs) = node.as_map() else {
            continue;
        };
        for (key, value) in pairs {
            let names_it = key.as_str().is_some_and(|key| full_name(key) == full);
            if !names_it {
                continue;
            }
            if let Some(Value::Map(map)) = argument(&context.renderer, action, short, value)? {
                found.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
    }
    Ok(found)
}

/// Returns an option as it is written, for actions that evaluate it themselves.
pub(super) fn written<'a>(args: &'a Args, name: &str) -> Option<&'a Node> {
    args.options
        .iter()
        .find(|(key, _)| key.as_str() == Some(name))
        .map(|(_, value)| value)
}
