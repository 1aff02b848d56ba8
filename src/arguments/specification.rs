//! The declaration of a module's options, and the checks that follow from it.

use std::fmt;

use super::soft::{Argument, OptionType};
use crate::value::{Map, Value};

/// Actions that name unknown options in words of their own.
const IN_ACTIONS_WORDS: [&str; 5] = [
    "fail",
    "group_by",
    "reboot",
    "set_stats",
    "wait_for_connection",
];

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub option_type: OptionType,
    /// What it is for, one line each.
    pub doc: &'static [&'static str],
    pub aliases: &'static [&'static str],
    pub choices: &'static [&'static str],
    /// The default as a user would write it.
    pub default: Option<&'static str>,
    pub required: bool,
    /// The value is a secret and is masked everywhere.
    pub no_log: bool,
    /// Set by the controller's half of an action, not by users.
    pub internal: bool,
}

impl Parameter {
    /// Declares an optional option without default.
    pub const fn new(
        name: &'static str,
        option_type: OptionType,
        doc: &'static [&'static str],
    ) -> Self {
        Self {
            name: unraw(name),
            option_type,
            doc,
            aliases: &[],
            choices: &[],
            default: None,
            required: false,
            no_log: false,
            internal: false,
        }
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    #[must_use]
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    #[must_use]
    pub const fn no_log(mut self) -> Self {
        self.no_log = true;
        self
    }

    #[must_use]
    pub const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// `needed` options (all, or `any` of them) must be given when `option` is `value`.
#[derive(Clone, Copy, Debug)]
pub struct RequiredIf {
    pub option: &'static str,
    pub value: &'static str,
    pub needed: &'static [&'static str],
    pub any: bool,
}

/// The declaration of one module's options.
#[derive(Clone, Copy, Debug)]
pub struct ArgumentSpec {
    /// The module's short name.
    pub module: &'static str,
    /// What the module does, one line each.
    pub doc: &'static [&'static str],
    pub parameters: &'static [Parameter],
    /// The options shared with other modules (file attributes), after the module's own.
    pub shared: &'static [Parameter],
    pub mutually_exclusive: &'static [&'static [&'static str]],
    pub required_together: &'static [&'static [&'static str]],
    pub required_one_of: &'static [&'static [&'static str]],
    pub required_by: &'static [(&'static str, &'static [&'static str])],
    pub required_if: &'static [RequiredIf],
    /// The option that takes the free-form text (`command: ls`), where the module has one.
    pub free_form: Option<&'static str>,
}

impl ArgumentSpec {
    /// Declares the options of `module` without rules between them.
    pub const fn new(
        module: &'static str,
        doc: &'static [&'static str],
        parameters: &'static [Parameter],
        shared: &'static [Parameter],
    ) -> Self {
        Self {
            module,
            doc,
            parameters,
            shared,
            mutually_exclusive: &[],
            required_together: &[],
            required_one_of: &[],
            required_by: &[],
            required_if: &[],
            free_form: None,
        }
    }

    #[must_use]
    pub const fn mutually_exclusive(mut self, rule: &'static [&'static [&'static str]]) -> Self {
        self.mutually_exclusive = rule;
        self
    }

    #[must_use]
    pub const fn required_together(mut self, rule: &'static [&'static [&'static str]]) -> Self {
        self.required_together = rule;
        self
    }

    #[must_use]
    pub const fn required_one_of(mut self, rule: &'static [&'static [&'static str]]) -> Self {
        self.required_one_of = rule;
        self
    }

    #[must_use]
    pub const fn required_by(
        mut self,
        rule: &'static [(&'static str, &'static [&'static str])],
    ) -> Self {
        self.required_by = rule;
        self
    }

    #[must_use]
    pub const fn required_if(mut self, rule: &'static [RequiredIf]) -> Self {
        self.required_if = rule;
        self
    }

    #[must_use]
    pub const fn free_form(mut self, option: &'static str) -> Self {
        self.free_form = Some(option);
        self
    }

    /// Lists all options: the module's own, then the shared ones.
    pub fn all_parameters(&self) -> impl Iterator<Item = &'static Parameter> + use<> {
        self.parameters.iter().chain(self.shared)
    }

    /// Finds an option by its name or one of its aliases.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.all_parameters()
            .find(|parameter| parameter.is_called(name))
    }

    /// Lists every name a user may write, aliases included.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.all_parameters()
            .filter(|parameter| !parameter.internal)
            .flat_map(|parameter| {
                std::iter::once(parameter.name).chain(parameter.aliases.iter().copied())
            })
    }

    /// Checks that every name is an option; for load time, when values are still templates.
    pub fn check_names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
        names
            .into_iter()
            .filter(|name| {
                self.parameter(name)
                    .is_none_or(|parameter| parameter.internal)
            })
            .map(|name| self.unknown(name))
            .collect()
    }

    /// Resolves aliases and defaults and checks the rules; types are checked when taken.
    pub fn resolve(&self, given: &Map) -> Result<Arguments, Problem> {
        let mut values = Map::new();
        let mut unknown = Vec::new();
        for (key, value) in given {
            let name = key.to_string();
            let Some(parameter) = self.parameter(&name) else {
                unknown.push(name);
                continue;
            };
            // The last one given wins, as in Ansible; null means "not given".
            if !value.eq(&Value::Null) || parameter.option_type == OptionType::Raw {
                values.insert(parameter.name.into(), value.clone());
            }
        }
        self.check_rules(&values)?;
        for parameter in self.all_parameters() {
            if let (Some(default), None) = (parameter.default, values.get(parameter.name)) {
                values.insert(parameter.name.into(), default.into());
            }
        }
        self.check_required_if(&values)?;
        self.check_choices(&values)?;
        // What else is wrong is told before, as in Ansible.
        match unknown.first() {
            Some(first) => Err(Problem {
                message: self.unsupported(&unknown),
                ..self.unknown(first)
            }),
            None => Ok(Arguments { values }),
        }
    }

    /// Returns the line of help for what a module said of its options: the name that was meant.
    pub fn meant(&self, given: &Map, said: &str) -> Option<String> {
        let problem = self.resolve(given).err()?;
        let names_one = |help: &String| help.starts_with("did you mean");
        problem
            .help
            .filter(|help| problem.message == said && names_one(help))
    }

    /// Returns Ansible's words for options that there are not, which playbooks compare: once a
    /// task runs, they are the failure of that task.
    fn unsupported(&self, names: &[String]) -> String {
        let module = self.module;
        if IN_ACTIONS_WORDS.contains(&module) {
            return format!("Invalid options for {module}: {}", names.join(","));
        }
        let mut names = names.to_vec();
        names.sort();
        let names = names.join(", ");
        let start = format!("Unsupported parameters for ({module}) module: {names}");
        if module == "shell" && names == "expand_argument_vars" {
            return start;
        }
        let offered = || {
            self.all_parameters()
                .filter(|parameter| !parameter.internal)
        };
        let mut options: Vec<_> = offered().map(|parameter| parameter.name).collect();
        let mut aliases: Vec<_> = offered().flat_map(|parameter| parameter.aliases).collect();
        options.sort_unstable();
        aliases.sort_unstable();
        let mut supported = options.join(", ");
        if !aliases.is_empty() {
            let aliases: Vec<&str> = aliases.into_iter().copied().collect();
            supported += &format!(" ({})", aliases.join(", "));
        }
        format!("{start}. Supported parameters include: {supported}.")
    }

    fn unknown(&self, name: &str) -> Problem {
        Problem {
            option: Some(name.to_owned()),
            message: format!("module `{}` has no option `{name}`", self.module),
            help: Some(match crate::error::nearest(name, self.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "its options are: {}",
                    self.all_parameters()
                        .filter(|parameter| !parameter.internal)
                        .map(|parameter| parameter.name)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
        }
    }

    fn check_rules(&self, values: &Map) -> Result<(), Problem> {
        let given = |name: &&&str| values.contains_key(**name);
        let missing: Vec<_> = self
            .all_parameters()
            .filter(|parameter| parameter.required && !values.contains_key(parameter.name))
            .map(|parameter| parameter.name)
            .collect();
        for group in self.mutually_exclusive {
            if group.iter().filter(given).count() > 1 {
                return Err(Problem::new(format!(
                    "parameters are mutually exclusive: {}",
                    group.join("|")
                )));
            }
        }
        if !missing.is_empty() {
            return Err(Problem::new(format!(
                "missing required arguments: {}",
                missing.join(", ")
            )));
        }
        for group in self.required_together {
            let n_given = group.iter().filter(given).count();
            if n_given > 0 && n_given < group.len() {
                return Err(Problem::new(format!(
                    "parameters are required together: {}",
                    group.join(", ")
                )));
            }
        }
        for group in self.required_one_of {
            if group.iter().filter(given).count() == 0 {
                return Err(Problem::new(format!(
                    "one of the following is required: {}",
                    group.join(", ")
                )));
            }
        }
        for (option, needed) in self.required_by {
            let absent: Vec<_> = needed.iter().filter(|name| !given(name)).copied().collect();
            if values.contains_key(*option) && !absent.is_empty() {
                return Err(Problem::new(format!(
                    "missing parameter(s) required by '{option}': {}",
                    absent.join(", ")
                )));
            }
        }
        Ok(())
    }

    fn check_required_if(&self, values: &Map) -> Result<(), Problem> {
        for rule in self.required_if {
            let holds = values.get(rule.option).is_some_and(|value| {
                value.to_string() == rule.value
                    || value.to_soft_bool().is_some_and(|flag| {
                        self.parameter(rule.option)
                            .is_some_and(|parameter| parameter.option_type == OptionType::Boolean)
                            && Value::from(rule.value).to_soft_bool() == Some(flag)
                    })
            });
            let absent: Vec<_> = rule
                .needed
                .iter()
                .filter(|name| !values.contains_key(**name))
                .copied()
                .collect();
            let too_few = if rule.any {
                absent.len() == rule.needed.len()
            } else {
                !absent.is_empty()
            };
            if holds && too_few {
                let flag = Value::from(rule.value).to_soft_bool();
                let is_flag = self
                    .parameter(rule.option)
                    .is_some_and(|parameter| parameter.option_type == OptionType::Boolean);
                let shown = match flag {
                    Some(true) if is_flag => "True",
                    Some(false) if is_flag => "False",
                    _ => rule.value,
                };
                return Err(Problem::new(format!(
                    "{} is {shown} but {} of the following are missing: {}",
                    rule.option,
                    if rule.any { "any" } else { "all" },
                    absent.join(", ")
                )));
            }
        }
        Ok(())
    }

    fn check_choices(&self, values: &Map) -> Result<(), Problem> {
        for parameter in self
            .all_parameters()
            .filter(|parameter| !parameter.choices.is_empty())
        {
            let Some(value) = values.get(parameter.name) else {
                continue;
            };
            let wrong = match (parameter.option_type, value) {
                (OptionType::List, Value::List(items)) => {
                    items.iter().find(|item| !is_choice(parameter, item))
                }
                // A list written as text is checked once it is split.
                (OptionType::List, _) => None,
                _ => Some(value).filter(|value| !is_choice(parameter, value)),
            };
            if let Some(wrong) = wrong {
                return Err(Problem {
                    option: Some(parameter.name.to_owned()),
                    message: format!(
                        "value of {} must be one of: {}, got: {wrong}",
                        parameter.name,
                        parameter.choices.join(", ")
                    ),
                    help: crate::error::nearest(
                        &wrong.to_string(),
                        parameter.choices.iter().copied(),
                    )
                    .map(|near| format!("did you mean `{near}`?")),
                });
            }
        }
        Ok(())
    }
}

/// A YAML boolean stands for a choice spelled `yes`/`no`/`on`/`off`/`true`/`false`, as in Ansible.
fn is_choice(parameter: &Parameter, value: &Value) -> bool {
    let text = value.to_string();
    parameter.choices.iter().any(|choice| {
        *choice == text
            || value
                .as_bool()
                .is_some_and(|flag| Value::from(*choice).to_soft_bool() == Some(flag))
    })
}

/// What is wrong with given options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The option as the user wrote it, whose key the caret can point at.
    pub option: Option<String>,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    fn new(message: String) -> Self {
        Self {
            option: None,
            message,
            help: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Problem> for crate::error::Error {
    fn from(problem: Problem) -> Self {
        let error = Self::content(problem.message);
        match problem.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

/// Checked options, taken one by one into their types.
#[derive(Clone, Debug)]
pub struct Arguments {
    values: Map,
}

impl Arguments {
    /// Takes an option as a typed value.
    pub fn take<T: Argument>(&mut self, name: &'static str) -> Result<T, Problem> {
        let name = unraw(name);
        // A null raw option counts as not given where that is possible.
        let keeps_null = T::TYPE == OptionType::Raw && T::absent().is_none();
        let given = self.values.swap_remove(name);
        match given.filter(|value| keeps_null || *value != Value::Null) {
            Some(value) => {
                T::convert(&value).map_err(|why| wrong_type(name, &value, T::TYPE, &why))
            }
            None => T::absent()
                .ok_or_else(|| Problem::new(format!("missing required arguments: {name}"))),
        }
    }
}

/// Returns Ansible's message for a value of the wrong type.
fn wrong_type(name: &str, value: &Value, to: OptionType, why: &str) -> Problem {
    Problem {
        option: Some(name.to_owned()),
        message: format!(
            "argument '{name}' is of type {} and we were unable to convert to {}: {why}",
            value.python_type(),
            to.name()
        ),
        help: None,
    }
}

/// Strips the `r#` of an option that is a Rust keyword.
const fn unraw(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}
