//! Typed module options: declared once per module, used by both ends.
//!
//! From one `arguments!` declaration come the parsed struct, the checks (unknown, required,
//! choices, exclusive options), their messages, and the tables that documentation and editors
//! read. Pure: knows no module, no host and no template.

pub(crate) mod size;
mod soft;
mod specification;
mod validation;

pub use soft::{Argument, Mode, OptionType};
pub use specification::{ArgumentSpec, Arguments, Parameter, Problem, RequiredIf};
pub use validation::validate;

/// The options shared by every module that leaves a file behind (`add_file_common_args`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileAttributes {
    pub mode: Option<Mode>,
    /// A user's name or number.
    pub owner: Option<String>,
    /// A group's name or number.
    pub group: Option<String>,
    /// `chattr` flags, such as `+i`.
    pub attributes: Option<String>,
    pub seuser: Option<String>,
    pub serole: Option<String>,
    pub setype: Option<String>,
    pub selevel: Option<String>,
    /// Accepted as Ansible accepts it; writes are always atomic where the target allows it.
    pub unsafe_writes: bool,
}

impl FileAttributes {
    /// The shared options' declarations.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter::new(
            "mode",
            OptionType::Raw,
            &["The permissions, octal or symbolic."],
        ),
        Parameter::new(
            "owner",
            OptionType::Text,
            &["The user that should own the file."],
        ),
        Parameter::new(
            "group",
            OptionType::Text,
            &["The group that should own the file."],
        ),
        Parameter::new(
            "attributes",
            OptionType::Text,
            &["The file system flags, as chattr."],
        )
        .aliases(&["attr"]),
        Parameter::new(
            "seuser",
            OptionType::Text,
            &["The user part of the SELinux context."],
        ),
        Parameter::new(
            "serole",
            OptionType::Text,
            &["The role part of the SELinux context."],
        ),
        Parameter::new(
            "setype",
            OptionType::Text,
            &["The type part of the SELinux context."],
        ),
        Parameter::new(
            "selevel",
            OptionType::Text,
            &["The level part of the SELinux context."],
        ),
        Parameter::new(
            "unsafe_writes",
            OptionType::Boolean,
            &["Write in place if it must be."],
        )
        .default("false"),
    ];

    /// Takes the shared options out of resolved arguments.
    pub fn take(arguments: &mut Arguments) -> Result<Self, Problem> {
        Ok(Self {
            mode: arguments.take("mode")?,
            owner: arguments.take("owner")?,
            group: arguments.take("group")?,
            attributes: arguments.take("attributes")?,
            seuser: arguments.take("seuser")?,
            serole: arguments.take("serole")?,
            setype: arguments.take("setype")?,
            selevel: arguments.take("selevel")?,
            unsafe_writes: arguments.take("unsafe_writes")?,
        })
    }
}

/// Declares a module's options: a struct, its `SPEC`, and `parse`.
///
/// ```
/// use backstay::arguments;
/// use backstay::arguments::ArgumentSpec;
///
/// arguments! {
///     /// Manage one line of a file.
///     pub struct LineArgs for "line" with file_attributes {
///         /// The file to change.
///         path: std::path::PathBuf { required, aliases: ["dest", "name"] },
///         /// Whether the line should be there.
///         state: String { default: "present", choices: ["present", "absent"] },
///         /// The pattern to look for.
///         regexp: Option<String> {},
///         line: Option<String> { aliases: ["value"] },
///     }
///     mutually_exclusive [["regexp", "line"]]
///     required_if [("state", "present", ["line"], false)]
/// }
///
/// let given = backstay::value::Value::map([("dest", "/etc/motd"), ("line", "hi")]);
/// let args = LineArgs::parse(given.as_map().unwrap()).unwrap();
/// assert_eq!(args.path, std::path::PathBuf::from("/etc/motd"));
/// assert_eq!(args.state, "present");
/// ```
#[macro_export]
macro_rules! arguments {
    (
        $(#[doc = $about:literal])*
        $visibility:vis struct $name:ident for $module:literal with file_attributes {
            $($fields:tt)*
        }
        $($rules:tt)*
    ) => {
        $crate::arguments! {
            $(#[doc = $about])*
            $visibility struct $name for $module with file_attributes as file { $($fields)* }
            $($rules)*
        }
    };
    (
        $(#[doc = $about:literal])*
        $visibility:vis struct $name:ident for $module:literal
        with file_attributes as $shared:ident {
            $($fields:tt)*
        }
        $($rules:tt)*
    ) => {
        $crate::arguments!(@declare [$($about),*] $visibility $name $module
            [$crate::arguments::FileAttributes::PARAMETERS]
            [$shared: $crate::arguments::FileAttributes]
            { $($fields)* } { $($rules)* });
    };
    (
        $(#[doc = $about:literal])*
        $visibility:vis struct $name:ident for $module:literal {
            $($fields:tt)*
        }
        $($rules:tt)*
    ) => {
        $crate::arguments!(@declare [$($about),*] $visibility $name $module [&[]] []
            { $($fields)* } { $($rules)* });
    };
    (
        @declare [$($about:literal),*] $visibility:vis $name:ident $module:literal [$shared:expr]
        [$($file:ident : $file_type:ty)?]
        { $($(#[doc = $doc:literal])* $field:ident : $type:ty { $($attribute:tt)* }),* $(,)? }
        { $($rule:ident $rule_value:tt)* }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        // Not `expect`: most declarations have no such option.
        #[allow(dead_code, reason = "an option may be declared for the other end")]
        $visibility struct $name {
            $($(#[doc = $doc])* $visibility $field: $type,)*
            $(
                /// The options shared by every module that leaves a file behind.
                $visibility $file: $file_type,
            )?
        }

        impl $name {
            /// The declaration of the options.
            $visibility const SPEC: $crate::arguments::ArgumentSpec =
                $crate::arguments::ArgumentSpec::new($module, &[$($about),*], &[
                    $($crate::arguments!(
                        @parameter
                        ($crate::arguments::Parameter::new(
                            stringify!($field),
                            <$type as $crate::arguments::Argument>::TYPE,
                            &[$($doc),*],
                        ));
                        $($attribute)*
                    )),*
                ], $shared)
                $(.$rule($crate::arguments!(@rule $rule $rule_value)))*;

            /// Checks and types the given options.
            $visibility fn parse(
                given: &$crate::value::Map,
            ) -> Result<Self, $crate::arguments::Problem> {
                // Not `expect`: only a module without options takes none out.
                #[allow(unused_mut, unused_variables, reason = "a module may have no options")]
                let mut arguments = Self::SPEC.resolve(given)?;
                Ok(Self {
                    $($field: arguments.take(stringify!($field))?,)*
                    $($file: <$file_type>::take(&mut arguments)?,)?
                })
            }
        }
    };
    (@parameter ($parameter:expr);) => { $parameter };
    (@parameter ($parameter:expr); required $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.required()); $($($rest)*)?)
    };
    (@parameter ($parameter:expr); no_log $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.no_log()); $($($rest)*)?)
    };
    (@parameter ($parameter:expr); internal $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.internal()); $($($rest)*)?)
    };
    (@parameter ($parameter:expr); default: $default:literal $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.default($default)); $($($rest)*)?)
    };
    (@parameter ($parameter:expr); aliases: [$($alias:literal),* $(,)?] $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.aliases(&[$($alias),*])); $($($rest)*)?)
    };
    (@parameter ($parameter:expr); choices: [$($choice:literal),* $(,)?] $(, $($rest:tt)*)?) => {
        $crate::arguments!(@parameter ($parameter.choices(&[$($choice),*])); $($($rest)*)?)
    };
    (@rule mutually_exclusive [$([$($option:literal),* $(,)?]),* $(,)?]) => {
        &[$(&[$($option),*]),*]
    };
    (@rule required_together [$([$($option:literal),* $(,)?]),* $(,)?]) => {
        &[$(&[$($option),*]),*]
    };
    (@rule required_one_of [$([$($option:literal),* $(,)?]),* $(,)?]) => {
        &[$(&[$($option),*]),*]
    };
    (@rule required_by [$(($option:literal, [$($needed:literal),* $(,)?])),* $(,)?]) => {
        &[$(($option, &[$($needed),*])),*]
    };
    (@rule required_if [$(($option:literal, $value:literal, [$($needed:literal),* $(,)?], $any:literal)),* $(,)?]) => {
        &[$($crate::arguments::RequiredIf {
            option: $option,
            value: $value,
            needed: &[$($needed),*],
            any: $any,
        }),*]
    };
    (@rule free_form $option:literal) => { $option };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    arguments! {
        /// Manage a sample.
        struct SampleArgs for "sample" with file_attributes {
            /// Where.
            path: std::path::PathBuf { required, aliases: ["dest", "name"] },
            state: String { default: "present", choices: ["present", "absent"] },
            force: bool { default: "no" },
            count: Option<i64> {},
            items: Vec<String> { default: "" },
            regexp: Option<String> {},
            line: Option<String> {},
            r#type: Option<String> {},
        }
        mutually_exclusive [["regexp", "line"]]
        required_if [("state", "absent", ["regexp", "line"], true)]
    }

    fn parse(json: &str) -> Result<SampleArgs, String> {
        let given: Value = serde_json::from_str(json).unwrap();
        SampleArgs::parse(given.as_map().unwrap()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn soft_types_defaults_and_aliases_are_resolved() {
        let args = parse(
            r#"{"dest":"/x","force":"yes","count":"3","items":"a,b","mode":"0644","type":"t"}"#,
        )
        .unwrap();
        assert_eq!(args.path, std::path::PathBuf::from("/x"));
        assert_eq!(
            (args.state.as_str(), args.force, args.count),
            ("present", true, Some(3))
        );
        assert_eq!(args.items, ["a", "b"]);
        assert_eq!(args.r#type.as_deref(), Some("t"));
        assert_eq!((args.regexp, args.line), (None, None));
        assert_eq!(args.file.mode, Some(Mode::Octal(0o644)));
    }

    #[test]
    fn what_was_meant_is_named_for_what_a_module_said_of_it() {
        let meant = |json: &str| {
            let given: Value = serde_json::from_str(json).unwrap();
            let given = given.as_map().unwrap();
            let said = SampleArgs::SPEC.resolve(given).unwrap_err().message;
            let other = SampleArgs::SPEC.meant(given, "something else");
            assert_eq!(other, None);
            SampleArgs::SPEC.meant(given, &said)
        };
        let near = |name: &str| Some(format!("did you mean `{name}`?"));
        assert_eq!(meant(r#"{"path":"/x","state":"presnet"}"#), near("present"));
        assert_eq!(meant(r#"{"path":"/x","regex":"a"}"#), near("regexp"));
        assert_eq!(meant(r#"{"path":"/x","state":"gone"}"#), None);
        assert_eq!(meant(r#"{"path":"/x","zzz":1}"#), None);
        assert_eq!(meant(r#"{"state":"absent"}"#), None);
    }

    #[test]
    fn each_wrong_option_has_its_own_message() {
        for (json, message) in [
            (
                r#"{"path":"/x","pth":1}"#,
                "Unsupported parameters for (sample) module: pth. Supported parameters include: \
                 attributes, count, force, group, items, line, mode, owner, path, regexp, selevel, \
                 serole, setype, seuser, state, type, unsafe_writes (attr, dest, name).",
            ),
            (
                r#"{"pth":"/x","force":true}"#,
                "missing required arguments: path",
            ),
            (r#"{"force":true}"#, "missing required arguments: path"),
            (
                r#"{"path":"/x","state":"gone"}"#,
                "value of state must be one of: present, absent, got: gone",
            ),
            (
                r#"{"path":"/x","force":"maybe"}"#,
                "argument 'force' is of type str and we were unable to convert to bool: \
                 The value 'maybe' is not a valid boolean.",
            ),
            (
                r#"{"path":"/x","count":"many"}"#,
                "argument 'count' is of type str and we were unable to convert to int: \
                 \"'many'\" cannot be converted to an int",
            ),
            (
                r#"{"path":"/x","regexp":"a","line":"b"}"#,
                "parameters are mutually exclusive: regexp|line",
            ),
            (
                r#"{"path":"/x","state":"absent"}"#,
                "state is absent but any of the following are missing: regexp, line",
            ),
        ] {
            assert_eq!(parse(json).unwrap_err(), message, "{json}");
        }
    }
}
