//! Values put into the statements of database modules, as Python's database drivers do it: `%s`
//! and `%(name)s`, each value written as a literal of the server. Pure.

use crate::value::{Map, Value};

use super::Failure;

/// What a statement is filled with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    Nothing,
    Positional(&'a [Value]),
    Named(&'a Map),
}

impl Given<'_> {
    /// Puts the two options of every module that takes values together; an empty one is none.
    pub(super) fn of<'a>(positional: Option<&'a [Value]>, named: Option<&'a Map>) -> Given<'a> {
        match (positional, named) {
            (Some(values), _) if !values.is_empty() => Given::Positional(values),
            (_, Some(values)) if !values.is_empty() => Given::Named(values),
            _ => Given::Nothing,
        }
    }
}

/// Fills a statement; without values it stays as it is.
pub(super) fn filled(
    statement: &str,
    given: Given<'_>,
    literal: &dyn Fn(&Value) -> Result<String, Failure>,
) -> Result<String, Failure> {
    if matches!(given, Given::Nothing) {
        return Ok(statement.to_owned());
    }
    let mut text = String::new();
    let mut rest = statement;
    let mut n_used = 0;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
        } else if let Some(after) = after.strip_prefix('s') {
            let Given::Positional(values) = given else {
                return Err(Failure::new("format requires a mapping"));
            };
            let value = values
                .get(n_used)
                .ok_or_else(|| Failure::new("not enough arguments for format string"))?;
            text.push_str(&literal(value)?);
            n_used += 1;
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(")s"))
        {
            let Given::Named(values) = given else {
                return Err(Failure::new("format requires a mapping"));
            };
            let value = values
                .get(name)
                .ok_or_else(|| Failure::new(format!("'{name}'")))?;
            text.push_str(&literal(value)?);
            rest = after;
        } else {
            let what: String = after.chars().take(1).collect();
            return Err(Failure::new(format!(
                "unsupported format character '{what}' in a statement with values: write `%%` for \
                 a percent sign"
            )));
        }
    }
    text.push_str(rest);
    match given {
        Given::Positional(values) if n_used < values.len() => Err(Failure::new(
            "not all arguments converted during string formatting",
        )),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(statement: &str, given: Given<'_>) -> Result<String, String> {
        let literal = |value: &Value| Ok(format!("<{value}>"));
        filled(statement, given, &literal).map_err(|failure| failure.msg)
    }

    #[test]
    fn values_take_the_place_of_their_marks() {
        let values = [Value::from(1), Value::from("%s")];
        assert_eq!(
            fill("a %s, b %s, 5%%", Given::Positional(&values)).unwrap(),
            "a <1>, b <%s>, 5%"
        );
        let named = Value::map([("n", 1)]);
        let named = named.as_map().unwrap();
        assert_eq!(
            fill("%(n)s = %(n)s", Given::Named(named)).unwrap(),
            "<1> = <1>"
        );
        assert_eq!(fill("like '%s'", Given::Nothing).unwrap(), "like '%s'");
    }

    #[test]
    fn too_few_too_many_and_unknown_marks_are_refused() {
        let one = [Value::from(1)];
        for (statement, why) in [
            ("%s %s", "not enough arguments for format string"),
            (
                "none",
                "not all arguments converted during string formatting",
            ),
            ("%(n)s", "format requires a mapping"),
            (
                "%d",
                "unsupported format character 'd' in a statement with values: write `%%` for a \
                 percent sign",
            ),
        ] {
            assert_eq!(fill(statement, Given::Positional(&one)).unwrap_err(), why);
        }
        let named = Value::map([("n", 1)]);
        let named = named.as_map().unwrap();
        assert_eq!(fill("%(m)s", Given::Named(named)).unwrap_err(), "'m'");
        assert_eq!(
            fill("%s", Given::Named(named)).unwrap_err(),
            "format requires a mapping"
        );
    }
}
