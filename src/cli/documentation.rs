//! `backstay doc`: a module's options, the rules between them, check mode and undo, as its own
//! declaration has them.
//!
//! Adds no prose: what the declaration does not say is not said here.

use clap::Parser;

use super::fleet;
use crate::arguments::{ArgumentSpec, Parameter};
use crate::error::{EXIT_OK, Error};
use crate::executor::Executable;
use crate::modules::{self, Foresight, Reversal};
use crate::playbook::{Catalog, DIRECTIVES, full_name, takes_any_option, written_names};
use crate::value::{Map, Value};

/// `backstay doc`.
#[derive(Debug, Parser)]
#[command(name = "backstay-doc")]
pub(super) struct DocArgs {
    /// The modules
    #[arg(value_name = "MODULE", required_unless_present = "list")]
    pub(super) modules: Vec<String>,
    /// List all modules with a line for each
    #[arg(short, long, conflicts_with = "modules")]
    pub(super) list: bool,
    /// Write JSON
    #[arg(short, long)]
    pub(super) json: bool,
}

/// Prints what is asked for.
pub(super) fn run(args: &DocArgs) -> Result<u8, Vec<Error>> {
    if args.list {
        let all = every();
        if args.json {
            let lines = all.iter().map(|it| (it.name, it.about()));
            fleet::print_json(&Value::map(lines))?;
        } else {
            fleet::print(&listing(&all))?;
        }
        return Ok(EXIT_OK);
    }
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &args.modules {
        match find(name) {
            Ok(it) => found.push(it),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if args.json {
        let pages = found
            .iter()
            .map(|it| (Value::from(it.name), described(*it)));
        fleet::print_json(&Value::from(pages.collect::<Map>()))?;
    } else {
        let pages: Vec<_> = found.iter().map(|it| page(*it)).collect();
        fleet::print(&pages.join("\n"))?;
    }
    Ok(EXIT_OK)
}

/// A module, action or directive by its name in the catalog; one declaration may serve two names.
#[derive(Clone, Copy)]
pub(super) struct Documented {
    pub(super) name: &'static str,
    pub(super) spec: &'static ArgumentSpec,
}

impl Documented {
    /// Returns what it does, in one line.
    pub(super) fn about(self) -> String {
        joined(self.spec.doc)
    }
}

/// Returns every module, action and directive, in alphabetical order.
pub(super) fn every() -> Vec<Documented> {
    let directives = DIRECTIVES.iter().map(|spec| Documented {
        name: spec.module,
        spec,
    });
    let mut all: Vec<_> = Executable
        .modules()
        .into_iter()
        .filter_map(|name| {
            let spec = Executable.module(name)?;
            Some(Documented { name, spec })
        })
        .chain(directives)
        .collect();
    all.sort_by_key(|it| it.name);
    all
}

fn find(written: &str) -> Result<Documented, Error> {
    let full = full_name(written);
    let short = full.strip_prefix("ansible.builtin.").unwrap_or(&full);
    let all = every();
    let found = all.iter().find(|it| it.name == short);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().flat_map(|it| written_names(it.name)).collect();
        Error::usage(format!("there is no module `{written}`"))
            .suggest(written, names.iter().map(String::as_str))
    })
}

fn listing(all: &[Documented]) -> String {
    let width = all.iter().map(|it| it.name.len()).max().unwrap_or(0);
    let lines = all
        .iter()
        .map(|it| format!("{:width$}  {}\n", it.name, it.about()));
    lines.collect()
}

fn joined(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

/// Lists the options a user may write, in alphabetical order.
fn options(spec: &ArgumentSpec) -> Vec<&'static Parameter> {
    let mut options: Vec<_> = spec
        .all_parameters()
        .filter(|parameter| !parameter.internal)
        .collect();
    options.sort_by_key(|parameter| parameter.name);
    options
}

fn page(it: Documented) -> String {
    let mut text = format!("> {}\n\n  {}\n", it.name, it.about());
    let names = written_names(it.name);
    let others: Vec<_> = names.iter().filter(|name| *name != it.name).collect();
    text += &format!("  Also written {}.\n", quoted(&others, " or "));
    let options = options(it.spec);
    if !options.is_empty() {
        text += "\nOPTIONS (= is required):\n";
    }
    for option in options {
        let mark = if option.required { '=' } else { ' ' };
        text += &format!("\n{mark} {}\n", option.name);
        let about = joined(option.doc);
        if !about.is_empty() {
            text += &format!("        {about}\n");
        }
        let list = |names: &[&str]| format!("[{}]", names.join(", "));
        for (key, value) in [
            ("aliases", shown(option.aliases).map(list)),
            ("choices", shown(option.choices).map(list)),
            ("default", option.default.map(|it| format!("{it:?}"))),
            ("type", Some(option.option_type.name().to_owned())),
            ("no_log", option.no_log.then(|| "true".to_owned())),
        ] {
            if let Some(value) = value {
                text += &format!("        {key}: {value}\n");
            }
        }
    }
    let rules = rules(it.spec);
    if !rules.is_empty() {
        text += "\nRULES:\n\n";
        text.extend(rules.iter().map(|rule| format!("  {rule}.\n")));
    }
    text += &format!("\nCHECK MODE:\n\n  {}\n", check_mode(it.name).1);
    let (class, how) = undo(it.name);
    text += &format!("\nUNDO:\n\n  {class}: {how}\n");
    text
}

fn shown(names: &'static [&'static str]) -> Option<&'static [&'static str]> {
    (!names.is_empty()).then_some(names)
}

fn quoted<T: AsRef<str>>(names: &[T], between: &str) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    names.join(between)
}

/// Says the rules between options.
fn rules(spec: &ArgumentSpec) -> Vec<String> {
    let mut rules = Vec::new();
    if let Some(option) = spec.free_form {
        rules.push(format!(
            "Text after the module's name is the option `{option}`"
        ));
    }
    if takes_any_option(spec.module) {
        rules.push("Other names may be given too".to_owned());
    }
    for group in spec.mutually_exclusive {
        rules.push(format!("At most one of {}", quoted(group, ", ")));
    }
    for group in spec.required_one_of {
        rules.push(format!("At least one of {}", quoted(group, ", ")));
    }
    for group in spec.required_together {
        rules.push(format!("Only together: {}", quoted(group, ", ")));
    }
    for (option, needed) in spec.required_by {
        rules.push(format!("`{option}` needs {}", quoted(needed, " and ")));
    }
    for rule in spec.required_if {
        let between = if rule.any { " or " } else { " and " };
        rules.push(format!(
            "`{}: {}` needs {}",
            rule.option,
            rule.value,
            quoted(rule.needed, between)
        ));
    }
    rules
}

/// Returns what the module does in check mode: a word for programs, and a sentence.
fn check_mode(module: &str) -> (&'static str, &'static str) {
    let foresight = modules::find(module).map(modules::Module::foresight);
    match foresight {
        Some(Foresight::Predicts) => ("predicts", "Tells what it would change."),
        Some(Foresight::Reads) => ("runs", "Runs as ever: it changes nothing."),
        Some(Foresight::Conditions) => (
            "conditions",
            "Runs nothing; `creates` and `removes` tell whether it would.",
        ),
        Some(Foresight::Skips) => ("skips", "Does nothing: nobody can tell what it would do."),
        None => match module {
            "template" => ("predicts", "Tells what it would change."),
            "fetch" | "raw" | "reboot" | "wait_for_connection" => {
                ("skips", "Does nothing: nobody can tell what it would do.")
            }
            _ => ("runs", "Runs as ever: it changes no target."),
        },
    }
}

/// Returns the class of what undoes the module in a transaction, and how it is undone.
fn undo(module: &str) -> (&'static str, &'static str) {
    let reversal = match module {
        // Its file is put in place by `copy`.
        "template" => modules::find("copy"),
        "raw" | "reboot" => None,
        _ if modules::find(module).is_none() => {
            return ("none", "it changes nothing on the target");
        }
        _ => modules::find(module),
    };
    match reversal.map(modules::Module::reversal) {
        Some(Reversal::Nothing) => ("none", "it changes nothing"),
        Some(Reversal::Exact(how)) => ("exact", how),
        Some(Reversal::Compensated(how)) => ("compensated", how),
        Some(Reversal::Asked(how)) => ("declared or opaque", how),
        None => ("opaque", "nobody can undo it"),
    }
}

/// Returns a module's page for programs.
fn described(it: Documented) -> Value {
    let options = options(it.spec).into_iter().map(|option| {
        let texts = |names: &[&'static str]| Value::list(names.iter().copied());
        let about = Value::map([
            ("description", Value::from(joined(option.doc))),
            ("type", option.option_type.name().into()),
            ("required", option.required.into()),
            ("default", option.default.map_or(Value::Null, Value::from)),
            ("aliases", texts(option.aliases)),
            ("choices", texts(option.choices)),
            ("no_log", option.no_log.into()),
        ]);
        (Value::from(option.name), about)
    });
    let (class, how) = undo(it.name);
    Value::map([
        ("description", Value::from(it.about())),
        ("names", Value::list(written_names(it.name))),
        ("options", Value::from(options.collect::<Map>())),
        ("rules", Value::list(rules(it.spec))),
        ("check_mode", check_mode(it.name).0.into()),
        ("undo", Value::map([("class", class), ("how", how)])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_all_that_the_declaration_says() {
        let page = page(find("timezone").unwrap());
        assert_eq!(
            page,
            "> community.general.timezone

  Configure timezone setting.
  Also written `timezone` or `ansible.builtin.timezone` or `ansible.legacy.timezone`.

OPTIONS (= is required):

  hwclock
        Which time the hardware clock keeps.
        aliases: [rtc]
        choices: [local, UTC]
        type: str

  name
        The zone, by its name below `/usr/share/zoneinfo`.
        type: str

RULES:

  At least one of `hwclock`, `name`.

CHECK MODE:

  Tells what it would change.

UNDO:

  compensated: the old zone and clock are set again
"
        );
    }

    #[test]
    fn every_rule_is_said() {
        let spec = ArgumentSpec::new("sample", &["Sample."], &[], &[])
            .free_form("cmd")
            .mutually_exclusive(&[&["a", "b"]])
            .required_together(&[&["c", "d"]])
            .required_by(&[("e", &["f", "g"])])
            .required_if(&[crate::arguments::RequiredIf {
                option: "state",
                value: "present",
                needed: &["h", "i"],
                any: true,
            }]);
        assert_eq!(
            rules(&spec),
            [
                "Text after the module's name is the option `cmd`",
                "At most one of `a`, `b`",
                "Only together: `c`, `d`",
                "`e` needs `f` and `g`",
                "`state: present` needs `h` or `i`",
            ]
        );
    }

    #[test]
    fn a_module_is_found_by_each_of_its_names_and_a_misspelt_one_is_told_the_nearest() {
        for name in ["yum", "ansible.legacy.dnf", "dnf"] {
            assert_eq!(find(name).unwrap().name, "dnf");
        }
        assert_eq!(find("include_role").unwrap().name, "include_role");
        assert_eq!(find("dnf5").unwrap().name, "dnf5");
        let error = find("tempalte").map(|it| it.name).unwrap_err();
        assert_eq!(error.message, "there is no module `tempalte`");
        assert_eq!(error.help.as_deref(), Some("did you mean `template`?"));
    }

    #[test]
    fn every_module_says_what_it_does_in_one_line() {
        for it in every() {
            let about = it.about();
            assert!(!about.is_empty() && !about.contains('\n'), "{}", it.name);
        }
        assert!(listing(&every()).contains("\ncopy "));
    }
}
