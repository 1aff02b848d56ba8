//! `mysql_variables`: one global setting of the server.

use super::connection::{Server, identifier, literal, literal_of};
use super::mysql_arguments;
use super::rows::text;
use crate::machine::Machine;
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Value, float_repr};

mysql_arguments! {
    /// Manage `MySQL` or `MariaDB` global variables.
    struct MysqlVariablesArgs for "community.mysql.mysql_variables" {
        variable: String { required },
        /// The value; without it the present one is told.
        value: Option<String> {},
        mode: String { default: "global", choices: ["global", "persist", "persist_only"] },
    }
}

/// Tells or sets the variable.
pub(crate) fn run_variables(machine: &mut Machine, args: MysqlVariablesArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, "community.mysql.mysql_variables") {
        return Ok(skipped);
    }
    let name = &args.variable;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Failure::new(format!("invalid variable name \"{name}\"")));
    }
    let login = args.login(Some("mysql"));
    let mut server = super::database::connected(machine, &login)?;
    let known = server.row(&format!(
        "SHOW VARIABLES WHERE Variable_name = {}",
        literal(name)
    ))?;
    let Some(row) = known else {
        return Err(Failure::new(format!("Variable not available \"{name}\"")));
    };
    let current = text(&row, "Value");
    let Some(wanted) = &args.value else {
        return Ok(Outcome::unchanged().msg(current));
    };
    let persisted = match args.mode.as_str() {
        "global" => None,
        _ => persisted(&mut server, name)?,
    };
    let mut has = typed(&current);
    if args.mode == "persist_only" {
        has = persisted.clone().unwrap_or(Value::Bool(false));
    }
    let mut value = typed(wanted);
    if matches!(has.as_str(), Some("ON" | "OFF")) {
        value = switched(value);
    }
    let is_set = same(&value, &has);
    let is_kept = persisted.as_ref().is_some_and(|kept| same(&value, kept));
    let said = match args.mode.as_str() {
        "global" if is_set => Some("Variable is already set to requested value."),
        "persist" if is_set && is_kept => Some(
            "Variable is already set to requested value globallyand stored into mysqld-auto.cnf \
             file.",
        ),
        "persist_only" if is_kept => {
            Some("Variable is already stored into mysqld-auto.cnf with requested value.")
        }
        _ => None,
    };
    if let Some(said) = said {
        return Ok(Outcome::unchanged().msg(said));
    }
    let start = format!("SET {} {} = ", args.mode.to_uppercase(), identifiers(name));
    let statement = format!("{start}{}", literal_of(&value)?);
    let before = format!("{start}{}", literal_of(&typed(&current))?);
    let back = match (args.mode.as_str(), &persisted) {
        ("global", _) => vec![before],
        ("persist", Some(kept)) => vec![
            format!("{start}{}", literal_of(kept)?),
            format!(
                "SET GLOBAL {} = {}",
                identifiers(name),
                literal_of(&typed(&current))?
            ),
        ],
        ("persist", None) => vec![
            format!("RESET PERSIST IF EXISTS {}", identifiers(name)),
            format!(
                "SET GLOBAL {} = {}",
                identifiers(name),
                literal_of(&typed(&current))?
            ),
        ],
        (_, Some(kept)) => vec![format!("{start}{}", literal_of(kept)?)],
        (_, None) => vec![format!("RESET PERSIST IF EXISTS {}", identifiers(name))],
    };
    server.execute(&statement, &statement, Some(&back))?;
    Ok(Outcome::changed()
        .msg(format!("Variable change succeeded prev_value={has}"))
        .with("queries", Value::list([format!("{start}{value}")])))
}

/// Names a variable; the part before a point is the structure it belongs to.
fn identifiers(name: &str) -> String {
    let parts: Vec<_> = name.split('.').map(identifier).collect();
    parts.join(".")
}

fn persisted(server: &mut Server<'_>, name: &str) -> Result<Option<Value>, Failure> {
    let query = format!(
        "SELECT VARIABLE_VALUE AS Value FROM performance_schema.persisted_variables WHERE \
         VARIABLE_NAME = {}",
        literal(name)
    );
    let row = server.row(&query).map_err(|failure| {
        if failure.msg.contains("persisted_variables' doesn't exist") {
            return Failure::new("Server version must be 8.0 or greater.");
        }
        failure
    })?;
    Ok(row.map(|row| typed(&text(&row, "Value"))))
}

/// Reads a number where it is one.
fn typed(text: &str) -> Value {
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse::<i64>() {
        return number.into();
    }
    match trimmed.parse::<f64>() {
        Ok(number) if trimmed.starts_with(|first: char| !first.is_alphabetic()) => number.into(),
        _ => text.into(),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Int(_) | Value::Float(_) => value.to_string().parse::<f64>().ok().map(float_repr),
        _ => None,
    };
    one == other || (number(one).is_some() && number(one) == number(other))
}

/// Writes what switches something as the server does.
fn switched(value: Value) -> Value {
    match &value {
        Value::Int(1) => "ON".into(),
        Value::Int(0) => "OFF".into(),
        Value::String(text) if &**text == "on" => "ON".into(),
        Value::String(text) if &**text == "off" => "OFF".into(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::mysql::testing::Daemon;

    const NAME: &str = "community.mysql.mysql_variables";

    #[test]
    fn a_setting_is_made_once_and_taken_back() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let told = r#""variable": "max_connections""#;
        assert_eq!(daemon.run(NAME, told), r#"{"changed":false,"msg":"151"}"#);
        let set = r#""variable": "max_connections", "value": "99""#;
        assert_eq!(
            daemon.run(NAME, set),
            r#"{"changed":true,"msg":"Variable change succeeded prev_value=151","queries":["SET GLOBAL `max_connections` = 99"]}"#
        );
        assert_eq!(
            daemon.run(NAME, set),
            r#"{"changed":false,"msg":"Variable is already set to requested value."}"#
        );
        let switch = r#""variable": "slow_query_log", "value": "1""#;
        assert!(daemon.run(NAME, switch).contains(r#""changed":true"#));
        assert!(daemon.run(NAME, switch).contains(r#""changed":false"#));
        daemon.undo_since(0);
        assert_eq!(daemon.run(NAME, told), r#"{"changed":false,"msg":"151"}"#);
        for (options, why) in [
            (
                r#""variable": "no_such""#,
                r#"Variable not available \"no_such\""#,
            ),
            (r#""variable": "a;b""#, r#"invalid variable name \"a;b\""#),
            (r#""variable": "version", "value": "1""#, "(1238, "),
            (
                r#""variable": "max_connections", "value": "5", "mode": "persist""#,
                "Server version must be 8.0 or greater.",
            ),
        ] {
            let result = daemon.run(NAME, options);
            assert!(result.contains(why), "{result}");
        }
    }
}
