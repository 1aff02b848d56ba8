//! `mysql_query`: statements of the user's own.

use super::connection::{Server, literal_of};
use super::mysql_arguments;
use super::user::set_session;
use crate::machine::Machine;
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::placeholders::{Given, filled};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value, repr};

mysql_arguments! {
    /// Run `MySQL` or `MariaDB` queries.
    struct MysqlQueryArgs for "community.mysql.mysql_query" {
        /// A query, or a list of them.
        query: Value { required },
        login_db: Option<String> {},
        positional_args: Option<Vec<Value>> {},
        named_args: Option<Map> {},
        /// Run all of them in one transaction.
        single_transaction: bool { default: "false" },
        session_vars: Option<Map> {},
    }
    mutually_exclusive [["positional_args", "named_args"]]
}

/// Runs the queries.
pub(crate) fn run_query(machine: &mut Machine, args: MysqlQueryArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, "community.mysql.mysql_query") {
        return Ok(skipped);
    }
    let queries = queries(&args.query)?;
    let given = Given::of(args.positional_args.as_deref(), args.named_args.as_ref());
    let login = args.login(args.login_db.as_deref());
    let file = machine.expand(&args.config_file);
    let mut server = Server::connect(machine, &login).map_err(|failure| {
        Failure::new(format!(
            "unable to connect to database, check login_user and login_password are correct or {} \
             has the credentials. Exception message: {}",
            file.display(),
            failure.msg
        ))
    })?;
    set_session(&mut server, args.session_vars.as_ref())?;
    let failed = |query: &str, why: &str| {
        let shown = match given {
            Given::Nothing => "None".into(),
            Given::Positional(values) => repr(&Value::list(values.to_vec())),
            Given::Named(values) => repr(&values.clone().into()),
        };
        Failure::new(format!(
            "Cannot execute SQL '{query}' args [{shown}]: {why}"
        ))
    };
    let mut texts = Vec::new();
    for query in &queries {
        texts.push(filled(query, given, &literal_of).map_err(|why| failed(query, &why.msg))?);
    }
    let only_reads = texts.iter().all(|text| reads(text));
    let mut statements: Vec<&str> = texts.iter().map(String::as_str).collect();
    if args.single_transaction {
        statements.insert(0, "START TRANSACTION");
        statements.push("COMMIT");
    }
    let answers = server.run(&statements, only_reads, &queries.join("; "))?;
    let mut all = answers.all;
    if args.single_transaction && !all.is_empty() {
        all.remove(0);
    }
    if let Some(why) = answers.error {
        let query = queries.get(all.len()).or(queries.last());
        return Err(failed(query.map_or("", String::as_str), &why));
    }
    let mut changed = false;
    let mut results = Vec::new();
    let mut counts = Vec::new();
    let mut times = Vec::new();
    for ((query, text), answer) in queries.iter().zip(&texts).zip(all) {
        changed |= changes(query, answer.n_affected);
        results.push(Value::list(server.typed(text, answer.rows)?));
        counts.push(answer.n_affected);
        times.push(answer.milliseconds);
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("executed_queries", Value::list(texts))
        .with("query_result", Value::list(results))
        .with("rowcount", Value::list(counts))
        .with("execution_time_ms", Value::list(times)))
}

fn queries(given: &Value) -> Result<Vec<String>, Failure> {
    match given {
        Value::String(text) => Ok(vec![text.to_string()]),
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.to_string()),
                other => Err(Failure::new(format!(
                    "the elements in query list must be strings, passed '{other}' <class '{}'>",
                    other.python_type()
                ))),
            })
            .collect(),
        other => Err(Failure::new(format!(
            "the query option value must be a string or list, passed <class '{}'>",
            other.python_type()
        ))),
    }
}

/// Tells by the beginning of a query whether it has changed something, as Ansible's module does.
fn changes(query: &str, n_affected: i64) -> bool {
    let start: String = query.trim_start().chars().take(8).collect();
    let start = start.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| start.contains(word));
    (has(&["INSERT", "UPDATE", "DELETE", "REPLACE"]) && n_affected > 0)
        || has(&["CREATE", "DROP", "ALTER", "RENAME", "TRUNCATE"])
}

fn reads(query: &str) -> bool {
    let words = query
        .trim_start()
        .split(|letter: char| !letter.is_ascii_alphabetic());
    let first = words.map(str::to_uppercase).next().unwrap_or_default();
    ["SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"].contains(&first.as_str())
        && !query.contains(';')
}

#[cfg(test)]
mod tests {
    use super::changes;
    use crate::modules::mysql::testing::Daemon;

    const NAME: &str = "community.mysql.mysql_query";

    #[test]
    fn rows_come_back_with_their_types() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let options = r#""query": ["CREATE DATABASE t9", "CREATE TABLE t9.x (a INT, b VARCHAR(20), c BLOB, d DECIMAL(5,2), e DATETIME(3), f DATE, h DOUBLE, i BIT(8), j JSON)", "INSERT INTO t9.x VALUES (1,'a',x'7861',1.50,'2024-01-02 03:04:05.5','2024-01-02',1.5,b'1000001','{\"a\":1}')", "SELECT * FROM t9.x", "SELECT COUNT(*) AS n, NULL AS z, '' AS e FROM t9.x", "UPDATE t9.x SET a=1"]"#;
        let result = daemon.run(NAME, options);
        assert!(
            result.contains(
                r#""query_result":[[],[],[],[{"a":1,"b":"a","c":"xa","d":1.5,"e":"2024-01-02T03:04:05.500000","f":"2024-01-02","h":1.5,"i":"A","j":"{\"a\":1}"}],[{"n":1,"z":null,"e":""}],[]],"rowcount":[1,0,1,1,1,0]"#
            ),
            "{result}"
        );
        assert!(result.starts_with(r#"{"changed":true"#), "{result}");
        let skipped = daemon.predict(NAME, options);
        assert!(skipped.contains(r#""skipped":true"#), "{skipped}");
    }

    #[test]
    fn values_are_quoted_and_a_transaction_that_fails_leaves_nothing() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let options =
            r#""query": "SELECT %s AS a, %s AS b, %s AS c", "positional_args": [1, "it's", null]"#;
        let result = daemon.run(NAME, options);
        assert!(
            result.starts_with(
                r#"{"changed":false,"executed_queries":["SELECT 1 AS a, 'it\\'s' AS b, NULL AS c"],"query_result":[[{"a":1,"b":"it's","c":null}]],"rowcount":[1]"#
            ),
            "{result}"
        );
        daemon.sql("CREATE DATABASE t; CREATE TABLE t.x (a INT) ENGINE=InnoDB");
        let options = r#""single_transaction": true, "login_db": "t", "query": ["INSERT INTO x VALUES (1)", "SELEC"]"#;
        let result = daemon.run(NAME, options);
        assert!(
            result.contains(r#""msg":"Cannot execute SQL 'SELEC' args [None]: (1064, "#),
            "{result}"
        );
        assert_eq!(daemon.sql("SELECT COUNT(*) FROM t.x"), "0\n");
    }

    #[test]
    fn the_beginning_of_a_query_says_whether_it_changes() {
        for (query, n_affected, expected) in [
            ("  insert into x", 1, true),
            ("DELETE FROM x", 0, false),
            ("TRUNCATE x", 0, true),
            ("SELECT 1", 1, false),
        ] {
            assert_eq!(changes(query, n_affected), expected, "{query}");
        }
    }
}
