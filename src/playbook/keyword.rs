//! The keywords of plays, roles, blocks and tasks: one table of names, types and places.
//!
//! Knows no file and no template: a value is kept as the node that was written.

use crate::error::Error;
use crate::node::{Kind, Node};
use crate::value::Value;

/// What a keyword's value must be once rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeywordType {
    Boolean,
    Integer,
    Number,
    /// A whole percentage, with or without `%`.
    Percent,
    Text,
    /// A list, or one item of it.
    List,
    Dictionary,
    /// Read by its own rule.
    Own,
}

/// How a value reaches the tasks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    None,
    /// The nearest value wins.
    Nearest,
    /// The values of all levels count, outermost first.
    Stacked,
}

/// Something that takes keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Play,
    Role,
    Block,
    Task,
    Handler,
    /// A dynamic `include_tasks` or `include_role`.
    Include,
    /// A dynamic include among handlers.
    HandlerInclude,
    ImportPlaybook,
    RoleMetadata,
}

impl Place {
    /// Names the place as Ansible's errors do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Play => "Play",
            Self::Role => "RoleInclude",
            Self::Block => "Block",
            Self::Task => "Task",
            Self::Handler => "Handler",
            Self::Include => "TaskInclude",
            Self::HandlerInclude => "HandlerTaskInclude",
            Self::ImportPlaybook => "PlaybookInclude",
            Self::RoleMetadata => "RoleMetadata",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Lists the keywords that are allowed here.
    pub fn keywords(self) -> impl Iterator<Item = Keyword> {
        Keyword::ALL
            .iter()
            .copied()
            .filter(move |keyword| keyword.is_allowed(self))
    }
}

const PLAY: u16 = Place::Play.bit();
const ROLE: u16 = Place::Role.bit();
const BLOCK: u16 = Place::Block.bit();
const HANDLER: u16 = Place::Handler.bit();
const TASK: u16 = Place::Task.bit() | HANDLER;
const HANDLER_INCLUDE: u16 = Place::HandlerInclude.bit();
const INCLUDE: u16 = Place::Include.bit() | HANDLER_INCLUDE;
const IMPORT: u16 = Place::ImportPlaybook.bit();
const META: u16 = Place::RoleMetadata.bit();
/// The keywords of Ansible's `Base`, which everything takes.
const BASE: u16 = PLAY | ROLE | BLOCK | TASK | IMPORT | META;

macro_rules! keywords {
    ($($variant:ident $name:literal $kind:ident $inheritance:ident $places:expr;)*) => {
        /// A keyword.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Keyword {
            $($variant,)*
        }

        impl Keyword {
            /// Every keyword.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name as written in a playbook.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns what a value must be.
            pub const fn kind(self) -> KeywordType {
                match self { $(Self::$variant => KeywordType::$kind,)* }
            }

            /// Returns how a value reaches the tasks inside.
            pub const fn inheritance(self) -> Inheritance {
                match self { $(Self::$variant => Inheritance::$inheritance,)* }
            }

            const fn places(self) -> u16 {
                match self { $(Self::$variant => $places,)* }
            }
        }
    };
}

keywords! {
    Name "name" Text None BASE | INCLUDE;
    Connection "connection" Text Nearest BASE;
    Port "port" Integer Nearest BASE;
    RemoteUser "remote_user" Text Nearest BASE;
    Vars "vars" Own None BASE | INCLUDE;
    ModuleDefaults "module_defaults" Own Stacked BASE;
    Environment "environment" Own Stacked BASE;
    NoLog "no_log" Boolean Nearest BASE | INCLUDE;
    RunOnce "run_once" Boolean Nearest BASE | INCLUDE;
    IgnoreErrors "ignore_errors" Boolean Nearest BASE | INCLUDE;
    IgnoreUnreachable "ignore_unreachable" Boolean Nearest BASE;
    CheckMode "check_mode" Boolean Nearest BASE;
    Diff "diff" Boolean Nearest BASE;
    AnyErrorsFatal "any_errors_fatal" Boolean Nearest BASE;
    Throttle "throttle" Integer Nearest BASE;
    Timeout "timeout" Integer Nearest BASE | INCLUDE;
    Debugger "debugger" Text Nearest BASE | INCLUDE;
    Become "become" Boolean Nearest BASE;
    BecomeMethod "become_method" Text Nearest BASE;
    BecomeUser "become_user" Text Nearest BASE;
    BecomeFlags "become_flags" Text Nearest BASE;
    BecomeExe "become_exe" Text Nearest BASE;
    Tags "tags" Own Stacked PLAY | ROLE | BLOCK | TASK | INCLUDE | IMPORT;
    When "when" Own Stacked ROLE | BLOCK | TASK | INCLUDE | IMPORT;
    Collections "collections" Own Nearest PLAY | ROLE | BLOCK | TASK | INCLUDE | META;
    DelegateTo "delegate_to" Text Nearest ROLE | BLOCK | TASK;
    DelegateFacts "delegate_facts" Boolean Nearest ROLE | BLOCK | TASK;
    Notify "notify" List Nearest BLOCK | TASK;

    Block "block" Own None BLOCK;
    Rescue "rescue" Own None BLOCK;
    Always "always" Own None BLOCK;

    Action "action" Own None TASK | INCLUDE;
    LocalAction "local_action" Own None TASK;
    Args "args" Own None TASK | INCLUDE;
    Async "async" Integer None TASK;
    ChangedWhen "changed_when" Own None TASK;
    Delay "delay" Number None TASK;
    FailedWhen "failed_when" Own None TASK;
    Loop "loop" Own None TASK | INCLUDE;
    LoopControl "loop_control" Own None TASK | INCLUDE;
    Poll "poll" Integer None TASK;
    Register "register" Own None TASK | INCLUDE;
    Retries "retries" Integer None TASK;
    Until "until" Own None TASK;
    Listen "listen" Own None HANDLER | HANDLER_INCLUDE;

    Role "role" Own None ROLE;

    Hosts "hosts" Own None PLAY;
    GatherFacts "gather_facts" Boolean None PLAY;
    GatherSubset "gather_subset" List None PLAY;
    GatherTimeout "gather_timeout" Integer None PLAY;
    FactPath "fact_path" Text None PLAY;
    VarsFiles "vars_files" Own None PLAY;
    VarsPrompt "vars_prompt" Own None PLAY;
    Roles "roles" Own None PLAY;
    Handlers "handlers" Own None PLAY;
    PreTasks "pre_tasks" Own None PLAY;
    Tasks "tasks" Own None PLAY;
    PostTasks "post_tasks" Own None PLAY;
    ForceHandlers "force_handlers" Boolean None PLAY;
    MaxFailPercentage "max_fail_percentage" Percent None PLAY;
    Serial "serial" List None PLAY;
    Strategy "strategy" Text None PLAY;
    Order "order" Text None PLAY;
    User "user" Text None PLAY;

    ImportPlaybook "import_playbook" Own None IMPORT;

    AllowDuplicates "allow_duplicates" Boolean None META;
    Dependencies "dependencies" Own None META;
    GalaxyInfo "galaxy_info" Own None META;
    ArgumentSpecs "argument_specs" Own None META;
}

impl Keyword {
    /// Finds the keyword called `name` where it is allowed in `place`.
    pub fn find(name: &str, place: Place) -> Option<Self> {
        place.keywords().find(|keyword| keyword.name() == name)
    }

    /// Tells whether the keyword may be written in `place`.
    pub const fn is_allowed(self, place: Place) -> bool {
        self.places() & place.bit() != 0
    }

    /// Tells whether the value is a number or a truth.
    pub fn is_scalar(self) -> bool {
        matches!(
            self.kind(),
            KeywordType::Boolean | KeywordType::Integer | KeywordType::Number
        )
    }

    /// Checks a value that is no template; a template is checked once it is rendered.
    pub fn check(self, value: &Node) -> Option<Error> {
        let wrong = |what: &str| {
            Error::content(format!("`{}` must be {what}", self.name())).at(&value.mark)
        };
        if may_be_template(value) || matches!(value.kind, Kind::Null | Kind::Vault(_)) {
            return None;
        }
        let static_value = value.to_value();
        match self.kind() {
            KeywordType::Boolean if static_value.to_soft_bool().is_none() => Some(
                wrong(&format!("true or false, not {}", shown(value)))
                    .help("write `true` or `false`"),
            ),
            KeywordType::Integer if to_integer(&static_value).is_none() => {
                Some(wrong(&format!("a whole number, not {}", shown(value))))
            }
            KeywordType::Number if to_number(&static_value).is_none() => {
                Some(wrong(&format!("a number, not {}", shown(value))))
            }
            KeywordType::Percent if to_percent(&static_value).is_none() => {
                Some(wrong(&format!("a percentage, not {}", shown(value))))
            }
            KeywordType::Text if matches!(value.kind, Kind::List(_) | Kind::Map(_)) => {
                Some(wrong(&format!("text, not {}", value.kind_name())))
            }
            _ => None,
        }
    }
}

/// Shows a scalar in backticks, a collection by its kind.
pub(super) fn shown(node: &Node) -> String {
    match node.kind {
        Kind::List(_) | Kind::Map(_) | Kind::Null => node.kind_name().to_owned(),
        _ => format!("`{}`", node.to_value()),
    }
}

/// Reads a whole number as Ansible does: an integer, a whole float, or text holding one.
pub fn to_integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Int(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and far below the limit"
        )]
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(*number as i128)
        }
        Value::String(text) => text.trim().parse().ok().or_else(|| {
            to_integer(&Value::Float(
                text.trim().parse().ok().filter(|n: &f64| n.is_finite())?,
            ))
        }),
        _ => None,
    }
}

/// Reads a number as Python's `float()` does.
#[expect(
    clippy::cast_precision_loss,
    reason = "Python's float() loses the same digits"
)]
pub fn to_number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::String(text) => text.trim().replace('_', "").parse().ok(),
        _ => None,
    }
}

/// Reads a percentage: a number, or text with an optional `%`.
pub fn to_percent(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => to_number(&text.replace('%', "").as_str().into()),
        other => to_number(other),
    }
}

/// Tells whether a node may hold a template, by the marks that start one.
pub fn may_be_template(node: &Node) -> bool {
    matches!(&node.kind, Kind::Text(text) if holds_template(text))
}

/// Tells whether text holds what starts a template.
pub(super) fn holds_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_include_takes_fewer_keywords_than_a_task() {
        let names: Vec<_> = Place::Include.keywords().map(Keyword::name).collect();
        assert_eq!(
            names,
            [
                "name",
                "vars",
                "no_log",
                "run_once",
                "ignore_errors",
                "timeout",
                "debugger",
                "tags",
                "when",
                "collections",
                "action",
                "args",
                "loop",
                "loop_control",
                "register",
            ]
        );
        assert_eq!(Keyword::find("listen", Place::Task), None);
        assert_eq!(
            Keyword::find("listen", Place::Handler),
            Some(Keyword::Listen)
        );
    }

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        assert_eq!(to_integer(&Value::from("7")), Some(7));
        assert_eq!(to_integer(&Value::from("7.0")), Some(7));
        assert_eq!(to_integer(&Value::from("7.5")), None);
        assert_eq!(to_percent(&Value::from("30%")), Some(30.0));
        assert_eq!(to_percent(&Value::from("all")), None);
    }
}
