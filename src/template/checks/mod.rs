//! Tests, what stands after `is`: Jinja's own here, Ansible's one family a file.

mod collections;
mod provenance;
mod results;
mod world;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::OnceLock;

use super::call::{Bound, Call, Given, Parameters, Takes};
use super::filters;
use super::finish::Finish;
use super::frame::Frame;
use super::operators::{compares, contains};
use super::runtime::{Evaluated, Val};
use super::syntax::{Comparison, Place};
use crate::value::Value;

/// One test.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) parameters: Parameters,
    /// Which subjects and arguments without data are its business.
    pub(super) takes: Takes,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Data(fn(&Call<'_>) -> Result<bool, String>),
    Running(fn(&mut Frame<'_>, &Val, &Bound<Val>, Place) -> Evaluated<bool>),
    Compare(Comparison),
}

impl Check {
    /// Answers for one subject.
    pub(super) fn run(
        &self,
        frame: &mut Frame<'_>,
        subject: Val,
        given: Given<Val>,
        place: Place,
    ) -> Evaluated<bool> {
        if let Body::Data(function) = self.body {
            let call = frame.data_call(self.name, &self.parameters, &subject, given)?;
            return function(&call).map_err(|text| frame.run.failure(text));
        }
        let bound = given
            .bind(self.name, &self.parameters)
            .map_err(|text| frame.run.failure(text))?;
        match self.body {
            Body::Running(function) => function(frame, &subject, &bound, place),
            Body::Compare(comparison) => {
                let other = bound.arguments[0].clone().unwrap_or_default();
                let other = frame.run.force(&other)?;
                compares(frame, comparison, &subject, &other, place)
            }
            Body::Data(_) => Ok(false),
        }
    }
}

const fn data(
    name: &'static str,
    parameters: &'static str,
    function: fn(&Call<'_>) -> Result<bool, String>,
) -> Check {
    Check {
        name,
        parameters: Parameters::new(parameters),
        takes: Takes::Data,
        body: Body::Data(function),
    }
}

const fn running(
    name: &'static str,
    parameters: &'static str,
    function: fn(&mut Frame<'_>, &Val, &Bound<Val>, Place) -> Evaluated<bool>,
) -> Check {
    Check {
        name,
        parameters: Parameters::new(parameters),
        takes: Takes::Data,
        body: Body::Running(function),
    }
}

const fn compare(name: &'static str, comparison: Comparison) -> Check {
    Check {
        name,
        parameters: Parameters::new("other!"),
        takes: Takes::Data,
        body: Body::Compare(comparison),
    }
}

impl Check {
    const fn with_undefined(mut self) -> Self {
        self.takes = Takes::Undefined;
        self
    }

    const fn with_vaulted(mut self) -> Self {
        self.takes = Takes::Vaulted;
        self
    }
}

const JINJA: &[Check] = &[
    running("defined", "", |_, subject, _, _| {
        Ok(!matches!(subject, Val::Undefined(_) | Val::Blank))
    })
    .with_undefined(),
    running("undefined", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Undefined(_) | Val::Blank))
    })
    .with_undefined(),
    running("none", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Null)))
    }),
    running("boolean", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Bool(_))))
    }),
    running("true", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Bool(true))))
    }),
    running("false", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Bool(false))))
    }),
    running("integer", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Int(_))))
    }),
    running("float", "", |_, subject, _, _| {
        Ok(matches!(subject, Val::Data(Value::Float(_))))
    }),
    running("number", "", |_, subject, _, _| {
        Ok(matches!(
            subject,
            Val::Data(Value::Int(_) | Value::Float(_) | Value::Bool(_))
        ))
    }),
    running("string", "", |_, subject, _, _| {
        Ok(subject.as_str().is_some())
    }),
    running("mapping", "", |_, subject, _, _| Ok(subject.is_mapping())),
    running("sequence", "", |frame, subject, _, _| {
        Ok(frame.run.length(subject)?.is_some())
    }),
    running("iterable", "", |frame, subject, _, _| {
        Ok(frame.run.length(subject)?.is_some())
    }),
    running("callable", "", |_, subject, _, _| {
        Ok(matches!(
            subject,
            Val::Function(_) | Val::Macro(_) | Val::Method(_) | Val::Joiner(_)
        ))
    }),
    running("sameas", "other!", |frame, subject, bound, place| {
        let other = bound.arguments[0].clone().unwrap_or_default();
        let other = frame.run.force(&other)?;
        Ok(match (subject, &other) {
            (Val::List(a), Val::List(b)) => Rc::ptr_eq(a, b),
            (Val::Dict(a), Val::Dict(b)) => Rc::ptr_eq(a, b),
            _ => {
                subject.type_name() == other.type_name()
                    && compares(frame, Comparison::Equal, subject, &other, place)?
            }
        })
    }),
    running("in", "seq!", |frame, subject, bound, _| {
        let container = bound.arguments[0].clone().unwrap_or_default();
        contains(frame, &container, subject)
    }),
    running("filter", "", |frame, subject, _, _| {
        Ok(filters::find(&frame.run.text_of(subject)?).is_some())
    }),
    running("test", "", |frame, subject, _, _| {
        Ok(find(&frame.run.text_of(subject)?).is_some())
    }),
    running("escaped", "", |_, _, _, _| Ok(false)),
    data("odd", "", |call| parity(call, 1)),
    data("even", "", |call| parity(call, 0)),
    data("divisibleby", "num!", |call| {
        let number = whole(&call.input, "%")?;
        let divisor = call.required(0);
        let divisor = whole(divisor, "%").map_err(|_| {
            format!(
                "unsupported operand type(s) for %: 'int' and '{}'",
                divisor.python_type()
            )
        })?;
        match divisor {
            0 => Err("integer modulo by zero".into()),
            divisor => Ok(number % divisor == 0),
        }
    }),
    data("lower", "", |call| Ok(is_cased(&call.text(), false))),
    data("upper", "", |call| Ok(is_cased(&call.text(), true))),
    compare("==", Comparison::Equal),
    compare("eq", Comparison::Equal),
    compare("equalto", Comparison::Equal),
    compare("!=", Comparison::NotEqual),
    compare("ne", Comparison::NotEqual),
    compare("<", Comparison::Less),
    compare("lt", Comparison::Less),
    compare("lessthan", Comparison::Less),
    compare("<=", Comparison::LessOrEqual),
    compare("le", Comparison::LessOrEqual),
    compare(">", Comparison::Greater),
    compare("gt", Comparison::Greater),
    compare("greaterthan", Comparison::Greater),
    compare(">=", Comparison::GreaterOrEqual),
    compare("ge", Comparison::GreaterOrEqual),
];

fn whole(value: &Value, operator: &str) -> Result<i128, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Bool(flag) => Ok(i128::from(*flag)),
        other => Err(format!(
            "unsupported operand type(s) for {operator}: '{}' and 'int'",
            other.python_type()
        )),
    }
}

fn parity(call: &Call<'_>, wanted: i128) -> Result<bool, String> {
    if call.input.as_str().is_some() {
        return Err("not all arguments converted during string formatting".into());
    }
    Ok(whole(&call.input, "%")?.rem_euclid(2) == wanted)
}

fn is_cased(text: &str, upper: bool) -> bool {
    let has_upper = text.chars().any(char::is_uppercase);
    let has_lower = text.chars().any(char::is_lowercase);
    if upper {
        has_upper && !has_lower
    } else {
        has_lower && !has_upper
    }
}

const FAMILIES: [&[Check]; 5] = [
    JINJA,
    collections::CHECKS,
    provenance::CHECKS,
    results::CHECKS,
    world::CHECKS,
];

fn table() -> &'static HashMap<&'static str, &'static Check> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Check>> = OnceLock::new();
    TABLE.get_or_init(|| {
        FAMILIES
            .iter()
            .flat_map(|family| family.iter())
            .map(|check| (check.name, check))
            .collect()
    })
}

/// Returns the test of that name, short or full.
pub(super) fn find(name: &str) -> Option<&'static Check> {
    let short = name
        .strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name);
    table().get(short).copied()
}

/// Returns the names of all tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    table().keys().copied()
}
