//! `backstay schema`: a JSON schema of playbooks for editors, made of the tables of keywords and
//! of the declared options of modules.
//!
//! It judges names, types and choices. What other places may say – a required option that comes
//! from `module_defaults`, two options of which one is `omit` – it leaves to the loader.

use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};

use super::documentation::{Documented, every};
use super::fleet;
use crate::arguments::{ArgumentSpec, OptionType, Parameter};
use crate::error::{EXIT_OK, Error};
use crate::executor::Executable;
use crate::playbook::{
    Catalog, Keyword, KeywordType, Meta, Place, takes_any_option, written_names,
};

/// `backstay schema`.
#[derive(Debug, Parser)]
#[command(name = "backstay-schema")]
pub(super) struct SchemaArgs {
    /// What the file holds
    #[arg(value_enum, default_value_t = Content::Playbook)]
    pub(super) content: Content,
    /// A module of a `library/`, which may have any options; may be given several times
    #[arg(long, value_name = "MODULE")]
    pub(super) also: Vec<String>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Content {
    /// Plays
    Playbook,
    /// Tasks of a role, or to be included
    Tasks,
    /// Handlers of a role
    Handlers,
}

/// Prints the schema.
pub(super) fn run(args: &SchemaArgs) -> Result<u8, Vec<Error>> {
    let text = format!("{:#}\n", schema(args.content, &args.also));
    fleet::print(&text)?;
    Ok(EXIT_OK)
}

const TEMPLATE: &str = r"\{[{%#]";

fn schema(content: Content, also: &[String]) -> Value {
    let root = match content {
        Content::Playbook => "playbook",
        Content::Tasks => "tasks",
        Content::Handlers => "handlers",
    };
    let modules: Map<_, _> = every()
        .into_iter()
        .map(|it| (it.name.to_owned(), module(it)))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Ansible {root} as backstay {} runs it", env!("CARGO_PKG_VERSION")),
        "$ref": reference(root),
        "$defs": {
            "playbook": {"type": ["array", "null"], "items": {
                "if": {"anyOf": IMPORTS.map(|name| json!({"required": [name]}))},
                "then": import_playbook(),
                "else": reference_to("play"),
            }},
            "play": play(),
            "role": role(),
            "tasks": list("task_or_block"),
            "handlers": list("handler_or_block"),
            "task_or_block": choice("task"),
            "handler_or_block": choice("handler"),
            "block": block("tasks"),
            "block_of_handlers": block("handlers"),
            "task": task(Place::Task, also),
            "handler": task(Place::Handler, also),
            "include": include(Place::Include),
            "include_among_handlers": include(Place::HandlerInclude),
            "modules": modules,
            "template": {"type": "string", "pattern": TEMPLATE},
            "boolean": {"anyOf": [
                {"type": ["boolean", "null"]},
                {"enum": [0, 1]},
                {"type": "string", "pattern":
                    "^([Yy](es)?|YES|[Nn]o?|NO|[Tt](rue)?|TRUE|[Ff](alse)?|FALSE|[Oo](n|ff)|ON|OFF|0|1)$"},
                reference_to("template"),
            ]},
            "integer": {"anyOf": [
                {"type": ["integer", "boolean", "null"]},
                {"type": "string", "pattern": r"^\s*[-+]?[0-9_]+\s*$"},
                reference_to("template"),
            ]},
            "number": {"anyOf": [
                {"type": ["number", "boolean", "null"]},
                {"type": "string", "pattern": r"^\s*[-+]?[0-9_.]+([eE][-+]?[0-9]+)?\s*$"},
                reference_to("template"),
            ]},
            "percent": {"anyOf": [
                {"type": ["number", "null"]},
                {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$"},
                reference_to("template"),
            ]},
            "text": {"type": ["string", "number", "boolean", "null"]},
            "texts": {"type": ["string", "number", "boolean", "null", "array"]},
            "dictionary": {"type": ["object", "string", "null"]},
            "dictionaries": {"type": ["object", "array", "string", "null"]},
        },
    })
}

fn reference(name: &str) -> String {
    format!("#/$defs/{name}")
}

fn reference_to(name: &str) -> Value {
    json!({"$ref": reference(name)})
}

fn list(item: &str) -> Value {
    json!({"type": ["array", "null"], "items": reference_to(item)})
}

const IMPORTS: [&str; 3] = [
    "import_playbook",
    "ansible.builtin.import_playbook",
    "ansible.legacy.import_playbook",
];

fn import_playbook() -> Value {
    let mut properties = keywords(Place::ImportPlaybook);
    for name in IMPORTS {
        properties.insert(name.into(), json!({"type": "string"}));
    }
    object(properties)
}

fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn play() -> Value {
    let mut properties = keywords(Place::Play);
    for (key, value) in [
        ("hosts", json!({"type": ["string", "array"]})),
        ("tasks", reference_to("tasks")),
        ("pre_tasks", reference_to("tasks")),
        ("post_tasks", reference_to("tasks")),
        ("handlers", reference_to("handlers")),
        (
            "roles",
            json!({"type": ["array", "null"], "items": reference_to("role")}),
        ),
        ("vars_files", reference_to("texts")),
        ("vars_prompt", prompts()),
        (
            "order",
            templated_choice(&[
                "inventory",
                "reverse_inventory",
                "sorted",
                "reverse_sorted",
                "shuffle",
            ]),
        ),
    ] {
        properties.insert(key.into(), value);
    }
    let mut play = object(properties);
    play["required"] = json!(["hosts"]);
    play
}

fn prompts() -> Value {
    let properties = [
        ("name", "text"),
        ("prompt", "text"),
        ("default", "text"),
        ("private", "boolean"),
        ("confirm", "boolean"),
        ("encrypt", "text"),
        ("salt_size", "integer"),
        ("salt", "text"),
        ("unsafe", "boolean"),
    ];
    let properties = properties.map(|(name, kind)| (name.to_owned(), reference_to(kind)));
    let mut prompt = object(properties.into_iter().collect());
    prompt["required"] = json!(["name"]);
    json!({"type": ["array", "object", "null"], "items": prompt})
}

/// An entry of `roles`: what is no keyword is a parameter of the role.
fn role() -> Value {
    let properties = keywords(Place::Role);
    json!({"anyOf": [
        {"type": ["string", "integer"]},
        {"type": "object", "properties": properties},
    ]})
}

/// A task, an include, or a block of them.
fn choice(task: &str) -> Value {
    let (block, include) = if task == "task" {
        ("block", "include")
    } else {
        ("block_of_handlers", "include_among_handlers")
    };
    let includes = ["include_tasks", "include_role"]
        .into_iter()
        .flat_map(written_names);
    let includes: Vec<_> = includes.map(|name| json!({"required": [name]})).collect();
    json!({
        "if": {"required": ["block"]},
        "then": reference_to(block),
        "else": {
            "if": {"anyOf": includes},
            "then": reference_to(include),
            "else": reference_to(task),
        },
    })
}

fn block(inside: &str) -> Value {
    let mut properties = keywords(Place::Block);
    for key in ["block", "rescue", "always"] {
        properties.insert(key.into(), reference_to(inside));
    }
    object(properties)
}

/// A task: keywords, and the module that is the key of its options.
fn task(place: Place, also: &[String]) -> Value {
    let mut properties = keywords(place);
    let names: Vec<String> = properties.keys().cloned().collect();
    for it in every() {
        if ["include_tasks", "include_role"].contains(&it.name) {
            continue;
        }
        for name in written_names(it.name) {
            properties.insert(name, reference_to(&format!("modules/{}", it.name)));
        }
    }
    for name in also {
        properties.insert(name.clone(), json!({"type": ["object", "string", "null"]}));
    }
    let actions = ["action", "local_action"];
    let names: Vec<_> = names
        .iter()
        .filter(|name| !actions.contains(&name.as_str()))
        .collect();
    let mut task = object(properties);
    task["patternProperties"] = json!({
        loops(): {},
        // A module of an installed collection.
        r"^(?!ansible\.(builtin|legacy)\.)[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*\.[a-z0-9_.]+$":
            {"type": ["object", "string", "null"]},
    });
    // A task of nothing but keywords does nothing.
    task["not"] = json!({"propertyNames": {"enum": names}});
    task
}

fn include(place: Place) -> Value {
    let mut properties = keywords(place);
    for directive in ["include_tasks", "include_role"] {
        for name in written_names(directive) {
            properties.insert(name, reference_to(&format!("modules/{directive}")));
        }
    }
    let mut include = object(properties);
    include["patternProperties"] = json!({loops(): {}});
    include
}

/// Returns the pattern of `with_LOOKUP`.
fn loops() -> String {
    format!("^with_({})$", Executable.lookups().join("|"))
}

/// Returns the keywords of a place, each with what its value must be.
fn keywords(place: Place) -> Map<String, Value> {
    place
        .keywords()
        .map(|keyword| (keyword.name().to_owned(), keyword_value(keyword)))
        .collect()
}

fn keyword_value(keyword: Keyword) -> Value {
    match (keyword, keyword.kind()) {
        (Keyword::Debugger, _) => templated_choice(&[
            "always",
            "on_failed",
            "on_unreachable",
            "on_skipped",
            "never",
        ]),
        (_, KeywordType::Boolean) => reference_to("boolean"),
        (_, KeywordType::Integer) => reference_to("integer"),
        (_, KeywordType::Number) => reference_to("number"),
        (_, KeywordType::Percent) => reference_to("percent"),
        (_, KeywordType::Text) => reference_to("text"),
        (_, KeywordType::List) => reference_to("texts"),
        (_, KeywordType::Dictionary) => reference_to("dictionary"),
        (Keyword::Tags | Keyword::Listen | Keyword::Collections, _) => reference_to("texts"),
        (Keyword::Vars | Keyword::Args, _) => reference_to("dictionary"),
        (Keyword::Environment | Keyword::ModuleDefaults, _) => reference_to("dictionaries"),
        (Keyword::When | Keyword::Until | Keyword::ChangedWhen | Keyword::FailedWhen, _) => {
            reference_to("texts")
        }
        (Keyword::Register | Keyword::Role, _) => json!({"type": "string"}),
        (Keyword::LoopControl, _) => loop_control(),
        (_, KeywordType::Own) => json!({}),
    }
}

fn loop_control() -> Value {
    let keys = [
        ("loop_var", "text"),
        ("index_var", "text"),
        ("label", "texts"),
        ("pause", "number"),
        ("extended", "boolean"),
        ("extended_allitems", "boolean"),
        ("break_when", "texts"),
    ];
    let properties = keys.map(|(name, kind)| (name.to_owned(), reference_to(kind)));
    object(properties.into_iter().collect())
}

fn templated_choice(choices: &[&str]) -> Value {
    json!({"anyOf": [{"enum": choices}, {"type": "null"}, reference_to("template")]})
}

/// The options of a module, or the text that stands for them.
fn module(it: Documented) -> Value {
    if it.name == "meta" {
        let actions: Vec<_> = Meta::ALL.iter().map(|(name, _)| *name).collect();
        return json!({"description": it.about(), "enum": actions});
    }
    let mut properties = Map::new();
    let handed_over = (it.name == "service")
        .then(|| Executable.module("systemd"))
        .flatten();
    // `service` hands over to the service manager's own module, with all options.
    let others = handed_over
        .into_iter()
        .flat_map(ArgumentSpec::all_parameters);
    for parameter in others.chain(it.spec.all_parameters()) {
        if parameter.internal {
            continue;
        }
        for name in std::iter::once(&parameter.name).chain(parameter.aliases) {
            properties.insert((*name).to_owned(), option(parameter));
        }
    }
    json!({
        "description": it.about(),
        "type": ["object", "string", "null"],
        "properties": properties,
        // A key may be a template too.
        "patternProperties": {TEMPLATE: {}, "^_raw_params$": {}},
        "additionalProperties": takes_any_option(it.name),
    })
}

fn option(parameter: &Parameter) -> Value {
    let mut value = if parameter.choices.is_empty() {
        plain_option(parameter)
    } else {
        option_of_choices(parameter)
    };
    let lines: Vec<_> = parameter.doc.iter().map(|line| line.trim()).collect();
    let mut description = lines.join(" ");
    if parameter.required {
        description += if description.is_empty() {
            "(required)"
        } else {
            " (required)"
        };
    }
    if !description.is_empty() {
        value["description"] = description.into();
    }
    if let Some(default) = parameter.default {
        value["default"] = match parameter.option_type {
            OptionType::Boolean => crate::value::Value::from(default)
                .to_soft_bool()
                .unwrap_or(false)
                .into(),
            OptionType::Integer => default.parse::<i64>().map_or(default.into(), Value::from),
            _ => default.into(),
        };
    }
    value
}

fn plain_option(parameter: &Parameter) -> Value {
    match parameter.option_type {
        OptionType::Text | OptionType::Path => reference_to("text"),
        OptionType::Boolean => reference_to("boolean"),
        OptionType::Integer => reference_to("integer"),
        OptionType::Float => reference_to("number"),
        OptionType::List => reference_to("texts"),
        OptionType::Dictionary => reference_to("dictionary"),
        OptionType::Raw => json!({}),
    }
}

fn option_of_choices(parameter: &Parameter) -> Value {
    let mut choices: Vec<Value> = parameter.choices.iter().map(|it| (*it).into()).collect();
    for choice in parameter.choices {
        // A YAML boolean stands for a choice that is spelled like one.
        let flag = crate::value::Value::from(*choice).to_soft_bool();
        choices.extend(flag.map(Value::from));
        choices.extend(choice.parse::<i64>().ok().map(Value::from));
    }
    let mut seen: Vec<Value> = Vec::new();
    choices.retain(|choice| {
        !seen.contains(choice) && {
            seen.push(choice.clone());
            true
        }
    });
    let one = json!({"anyOf": [{"enum": choices}, {"type": "null"}, reference_to("template")]});
    if parameter.option_type == OptionType::List {
        return json!({"anyOf": [{"type": "array", "items": one}, {"type": ["string", "null"]}]});
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_its_type_its_choices_its_default_and_what_it_is_for() {
        let schema = schema(Content::Playbook, &[]);
        let of = |module: &str, option: &str| {
            let options = &schema["$defs"]["modules"][module]["properties"];
            options[option].to_string()
        };
        assert_eq!(
            of("community.general.htpasswd", "destfile"),
            r##"{"$ref":"#/$defs/text","description":"The file. (required)"}"##
        );
        assert_eq!(
            of("community.general.htpasswd", "create"),
            r##"{"$ref":"#/$defs/boolean","description":"Make a file that is not there.","default":true}"##
        );
        assert_eq!(
            of("community.general.htpasswd", "state"),
            r##"{"anyOf":[{"enum":["present","absent"]},{"type":"null"},{"$ref":"#/$defs/template"}],"default":"present"}"##
        );
        assert_eq!(of("copy", "_original_basename"), "null");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = schema(Content::Tasks, &["mine".to_owned()]);
        let mut found = 0;
        let mut open = vec![&schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(name)) = map.get("$ref") {
                        let pointer = name.strip_prefix('#').unwrap();
                        assert!(schema.pointer(pointer).is_some(), "{name}");
                        found += 1;
                    }
                    open.extend(map.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(found > 500, "{found}");
        assert_eq!(schema["$ref"], "#/$defs/tasks");
        assert!(schema["$defs"]["handler"]["properties"]["mine"].is_object());
    }
}
