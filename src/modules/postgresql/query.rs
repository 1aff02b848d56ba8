//! `postgresql_query` and `postgresql_script`: statements of the user's own, in one transaction.
//!
//! `psql` describes each result before it makes it, so values come back with their types.

use std::path::PathBuf;

use super::connection::{Server, check_input, identifier, literal};
use super::postgresql_arguments;
use super::rows::{Column, typed};
use super::statements::{Statement, split};
use crate::machine::Machine;
use crate::modules::placeholders::{Given, filled};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value, float_repr, repr};

postgresql_arguments! {
    /// Run `PostgreSQL` queries.
    struct PostgresqlQueryArgs for "community.postgresql.postgresql_query" {
        /// A query, or a list of them.
        query: Option<Value> {},
        login_db: Option<String> { aliases: ["db"] },
        positional_args: Option<Vec<Value>> {},
        named_args: Option<Map> {},
        /// Run each query for itself, not all in one transaction.
        autocommit: bool { default: "false" },
        /// The encoding of the client; values are UTF-8 on their way here in any case.
        encoding: Option<String> {},
        search_path: Option<Vec<String>> {},
    }
    mutually_exclusive [["positional_args", "named_args"]]
}

postgresql_arguments! {
    /// Run `PostgreSQL` statements from a file.
    struct PostgresqlScriptArgs for "community.postgresql.postgresql_script" {
        /// The file, on the target.
        path: PathBuf { required },
        login_db: Option<String> { aliases: ["db"] },
        positional_args: Option<Vec<Value>> {},
        named_args: Option<Map> {},
        encoding: Option<String> {},
        search_path: Option<Vec<String>> {},
    }
    mutually_exclusive [["positional_args", "named_args"]]
}

/// Runs the queries.
pub(crate) fn run_query(machine: &mut Machine, args: PostgresqlQueryArgs) -> ModuleResult {
    check_input(args.trust_input, [args.session_role.as_deref()])?;
    if args.autocommit && machine.is_check() {
        return Err(Failure::new(
            "Using autocommit is mutually exclusive with check_mode",
        ));
    }
    let wrong = || Failure::new("query argument must be of type string or list");
    let queries: Vec<String> = match &args.query {
        Some(Value::String(text)) => vec![text.to_string()],
        Some(Value::List(items)) => items.iter().map(Value::to_string).collect(),
        _ => return Err(wrong()),
    };
    let given = Given::of(args.positional_args.as_deref(), args.named_args.as_ref());
    let mut outcome = Outcome::unchanged();
    let database = named_or_warned(args.login_db.as_deref(), &mut outcome);
    let is_check = machine.is_check();
    let settings = settings(args.encoding.as_deref(), args.search_path.as_deref());
    let mut server = args.server(machine, &database)?;
    let shown_args = shown(given);
    let failed = |query: &str, why: &str| {
        let list = Value::list(queries.iter().map(String::as_str));
        Failure::new(format!(
            "Cannot execute SQL '{query}' {shown_args}: {why}, query list: {}",
            repr(&list)
        ))
    };
    let mut texts = Vec::new();
    for query in &queries {
        let text = filled(query, given, &literal_of).map_err(|why| failed(query, &why.msg))?;
        texts.push(text);
    }
    let batch = Batch {
        texts: &texts,
        settings: &settings,
        in_transaction: !args.autocommit,
        is_check,
    };
    let answers = batch.run(&mut server)?;
    if let Some(why) = answers.error {
        let query = queries.get(answers.n_done).map_or("", String::as_str);
        return Err(if why.starts_with("unable to connect") {
            Failure::new(why)
        } else {
            failed(query, &why)
        });
    }
    let last = answers.all.last().cloned().unwrap_or_default();
    let rows = Value::list(answers.all.iter().map(|answer| answer.rows.clone()));
    let times = Value::list(answers.all.iter().map(|answer| answer.milliseconds));
    Ok(outcome
        .with_changed(answers.all.iter().any(Answer::changed))
        .with("query", texts.last().map_or("", String::as_str))
        .with("query_list", Value::list(queries))
        .with("statusmessage", last.status)
        .with("query_result", last.rows)
        .with("query_all_results", rows)
        .with(
            "rowcount",
            answers
                .all
                .iter()
                .map(|answer| answer.n_rows.max(0))
                .sum::<i64>(),
        )
        .with("execution_time_ms", times))
}

/// Runs the statements of a file.
pub(crate) fn run_script(machine: &mut Machine, args: PostgresqlScriptArgs) -> ModuleResult {
    if let Some(skipped) = crate::modules::foresight::skipped_in_check_mode(
        machine,
        "community.postgresql.postgresql_script",
    ) {
        return Ok(skipped);
    }
    check_input(args.trust_input, [args.session_role.as_deref()])?;
    let path = machine.expand(&args.path);
    let script = machine.read(&path).map_err(|error| {
        Failure::new(format!("Cannot read file '{}' : {error}", path.display()))
    })?;
    let script = String::from_utf8_lossy(&script).into_owned();
    let given = Given::of(args.positional_args.as_deref(), args.named_args.as_ref());
    let shown_args = shown(given);
    let failed =
        |why: &str| Failure::new(format!("Cannot execute SQL '{script}' {shown_args}: {why}"));
    let mut outcome = Outcome::unchanged();
    let database = named_or_warned(args.login_db.as_deref(), &mut outcome);
    let text = filled(&script, given, &literal_of).map_err(|why| failed(&why.msg))?;
    let settings = settings(args.encoding.as_deref(), args.search_path.as_deref());
    let mut server = args.server(machine, &database)?;
    let texts = [text];
    let batch = Batch {
        texts: &texts,
        settings: &settings,
        in_transaction: false,
        is_check: false,
    };
    let mut answers = batch.run(&mut server)?;
    if let Some(why) = answers.error {
        return Err(if why.starts_with("unable to connect") {
            Failure::new(why)
        } else {
            failed(&why)
        });
    }
    let last = answers.all.pop().unwrap_or_default();
    let [text] = texts;
    Ok(outcome
        .with_changed(true)
        .with("query", text)
        .with("rowcount", last.n_rows)
        .with("statusmessage", last.status)
        .with("query_result", last.rows)
        .with("execution_time_ms", last.milliseconds))
}

fn named_or_warned(name: Option<&str>, outcome: &mut Outcome) -> String {
    name.map_or_else(
        || {
            outcome.warnings.push(
                "Database name has not been passed, used default database to connect to.".into(),
            );
            "postgres".to_owned()
        },
        str::to_owned,
    )
}

fn settings(encoding: Option<&str>, search_path: Option<&[String]>) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(encoding) = encoding {
        // A name that the server does not know is refused; the way here stays UTF-8.
        all.push(format!("SET client_encoding TO {}", literal(encoding)));
        all.push("SET client_encoding TO 'UTF8'".into());
    }
    if let Some(path) = search_path {
        let names: Vec<_> = path.iter().map(|name| identifier(name.trim())).collect();
        all.push(format!("SET search_path TO {}", names.join(",")));
    }
    all
}

fn shown(given: Given<'_>) -> String {
    match given {
        Given::Nothing => "None".into(),
        Given::Positional(values) => repr(&Value::list(values.to_vec())),
        Given::Named(values) => repr(&values.clone().into()),
    }
}

/// Writes a value as psycopg does.
fn literal_of(value: &Value) -> Result<String, Failure> {
    Ok(match value {
        Value::Null => "NULL".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float_repr(*value),
        Value::String(text) => literal(text),
        Value::List(_) => {
            let text = repr(value);
            let inner = text.trim_matches(['[', ']']);
            literal(&format!("{{{inner}}}"))
        }
        Value::Map(_) => return Err(Failure::new("can't adapt type 'dict'")),
    })
}

/// Queries that run in one session.
struct Batch<'a> {
    texts: &'a [String],
    settings: &'a [String],
    in_transaction: bool,
    is_check: bool,
}

/// What came of one query.
#[derive(Clone, Debug, Default)]
struct Answer {
    verb: String,
    status: String,
    /// A list of rows, or an empty dictionary where there are none.
    rows: Value,
    n_rows: i64,
    milliseconds: f64,
}

impl Answer {
    fn changed(&self) -> bool {
        match self.verb.as_str() {
            "INSERT" | "UPDATE" | "DELETE" => self.n_rows != 0,
            _ => !self.status.contains("SELECT") && !self.status.contains("SHOW"),
        }
    }
}

/// What came of a batch.
struct Answers {
    all: Vec<Answer>,
    /// What the server said of the query that it refused.
    error: Option<String>,
    n_done: usize,
}

/// The signs between which the answers stand; nothing that a database holds has them.
struct Signs {
    field: String,
    record: String,
    null: String,
    mark: String,
}

impl Signs {
    fn new() -> Self {
        let sign = |kind: &str| format!("<{kind}:{:032x}>", rand::random::<u128>());
        Self {
            field: sign("field"),
            record: sign("record"),
            null: sign("null"),
            mark: sign("mark"),
        }
    }
}

impl Batch<'_> {
    fn run(&self, server: &mut Server<'_>) -> Result<Answers, Failure> {
        let signs = Signs::new();
        let parts: Vec<Vec<Statement>> = self.texts.iter().map(|text| split(text)).collect();
        let script = self.script(&signs, &parts);
        let words = [
            format!("--field-separator={}", signs.field),
            format!("--record-separator={}", signs.record),
            format!("--pset=null={}", signs.null),
        ];
        let reads =
            |one: &Statement| ["SELECT", "SHOW", "VALUES", "TABLE"].contains(&one.verb.as_str());
        let only_reads = parts.iter().flatten().all(reads);
        let output = if self.is_check || only_reads {
            Some(server.look(&words, &script)?)
        } else {
            let shown = self.texts.join("; ");
            server.change(&words, &script, &shown)?
        };
        let Some(output) = output else {
            return Ok(Answers {
                all: Vec::new(),
                error: None,
                n_done: 0,
            });
        };
        let text = output.stdout_text();
        let mark = format!("{}\n", signs.mark);
        let mut blocks = text.split(mark.as_str()).skip(1);
        let mut all = Vec::new();
        for part in &parts {
            let mut answer = Answer {
                rows: Map::new().into(),
                ..Answer::default()
            };
            for statement in part {
                let (Some(described), Some(result), Some(end)) =
                    (blocks.next(), blocks.next(), blocks.next())
                else {
                    return Ok(Answers {
                        n_done: all.len(),
                        all,
                        error: Some(super::connection::reason(&output)),
                    });
                };
                answer = read(
                    statement,
                    &signs,
                    described,
                    result,
                    end,
                    answer.milliseconds,
                );
            }
            all.push(answer);
        }
        let error = (!output.success()).then(|| super::connection::reason(&output));
        Ok(Answers {
            n_done: all.len().saturating_sub(1),
            all,
            error,
        })
    }

    /// Writes what `psql` is to read: of each statement its description, itself and its count,
    /// each after a mark.
    fn script(&self, signs: &Signs, parts: &[Vec<Statement>]) -> String {
        let mark = format!("\\echo {}\n", signs.mark);
        let mut script = String::new();
        for setting in self.settings {
            script += &format!("{setting};\n");
        }
        if self.in_transaction {
            script += "BEGIN;\n";
        }
        for statement in parts.iter().flatten() {
            // Only what may have rows is described: preparing the rest says nothing.
            let has_rows = ![
                "CREATE", "DROP", "ALTER", "GRANT", "REVOKE", "COMMENT", "DO", "COPY",
            ]
            .contains(&statement.verb.as_str());
            script += &mark;
            if has_rows {
                script += &format!("{}\n\\gdesc\n", statement.text);
            }
            script += "\\timing on\n";
            script += &mark;
            script += &format!("{}\n;\n", statement.text);
            script += "\\timing off\n";
            script += &mark;
            script += "\\echo :ROW_COUNT\n";
        }
        if self.in_transaction {
            script += if self.is_check {
                "ROLLBACK;\n"
            } else {
                "COMMIT;\n"
            };
        }
        script
    }
}

/// Reads what `psql` said of a statement: the columns, the rows, the count.
fn read(
    statement: &Statement,
    signs: &Signs,
    described: &str,
    result: &str,
    end: &str,
    spent: f64,
) -> Answer {
    let columns: Vec<Column> = records(described.trim_end_matches('\n'), &signs.record)
        .filter_map(|record| record.split_once(signs.field.as_str()))
        .map(|(name, kind)| Column::new(name, kind))
        .collect();
    let (result, milliseconds) = timed(result);
    let mut rows = Vec::new();
    if !columns.is_empty() && !result.is_empty() {
        let result = result.strip_suffix('\n').unwrap_or(result);
        for record in records(result, &signs.record) {
            let fields = record.split(signs.field.as_str());
            let row: Map = columns
                .iter()
                .zip(fields)
                .map(|(column, field)| {
                    let field = (field != signs.null).then_some(field);
                    (column.name.as_str().into(), typed(column, field))
                })
                .collect();
            rows.push(Value::from(row));
        }
    }
    let counted: i64 = end.trim().parse().unwrap_or(-1);
    let n_rows = match statement.verb.as_str() {
        _ if !columns.is_empty() => i64::try_from(rows.len()).unwrap_or(i64::MAX),
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "MOVE" => counted,
        "SELECT" | "VALUES" | "TABLE" => counted,
        _ => -1,
    };
    Answer {
        status: status(statement, n_rows),
        verb: statement.verb.clone(),
        rows: if rows.is_empty() {
            Map::new().into()
        } else {
            Value::list(rows)
        },
        n_rows,
        milliseconds: spent + milliseconds,
    }
}

fn records<'a>(text: &'a str, separator: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(separator)
}

/// Takes the line off that says how long it took.
fn timed(text: &str) -> (&str, f64) {
    let Some(at) = text.rfind("Time: ") else {
        return (text, 0.0);
    };
    let number = text[at + 6..].split(' ').next().unwrap_or_default();
    (&text[..at], number.parse().unwrap_or(0.0))
}

/// Says what the server says of a statement that it has done.
fn status(statement: &Statement, n_rows: i64) -> String {
    let n_rows = n_rows.max(0);
    match statement.verb.as_str() {
        "INSERT" => format!("INSERT 0 {n_rows}"),
        "SELECT" | "VALUES" | "TABLE" => format!("SELECT {n_rows}"),
        verb @ ("UPDATE" | "DELETE" | "MERGE" | "COPY" | "FETCH" | "MOVE") => {
            format!("{verb} {n_rows}")
        }
        verb @ ("CREATE" | "DROP" | "ALTER") => {
            let mut words = statement.text.split_whitespace().skip(1);
            let mut said = verb.to_owned();
            for word in words.by_ref() {
                let word = word.to_uppercase();
                let qualifies = [
                    "OR",
                    "REPLACE",
                    "TEMP",
                    "TEMPORARY",
                    "UNLOGGED",
                    "UNIQUE",
                    "RECURSIVE",
                    "GLOBAL",
                    "LOCAL",
                    "CONSTRAINT",
                    "TRUSTED",
                    "PROCEDURAL",
                ];
                if qualifies.contains(&word.as_str()) {
                    continue;
                }
                said = format!("{verb} {word}");
                let two = [
                    "MATERIALIZED",
                    "FOREIGN",
                    "EVENT",
                    "DEFAULT",
                    "LARGE",
                    "USER",
                    "TEXT",
                ];
                if two.contains(&word.as_str())
                    && let Some(next) = words.next()
                {
                    said = format!("{verb} {word} {}", next.to_uppercase());
                }
                break;
            }
            said
        }
        verb => verb.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    const NAME: &str = "community.postgresql.postgresql_query";

    #[test]
    fn rows_come_back_with_their_types() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let query = r#""login_db": "postgres", "query": "SELECT 1 AS i, 2.50::numeric AS n, 'a\nb|'::text AS t, NULL::int AS z, true AS b, '{\"k\":[1]}'::jsonb AS j, ARRAY[1,NULL,3] AS a, ARRAY['x','y \"z'] AS w, timestamp '2024-01-02 03:04:05.5' AS s, date '2024-01-02' AS d, 1.5::float8 AS f""#;
        let result = cluster.run(NAME, query);
        assert!(
            result.contains(
                r#""statusmessage":"SELECT 1","query_result":[{"i":1,"n":2.5,"t":"a\nb|","z":null,"b":true,"j":{"k":[1]},"a":[1,null,3],"w":["x","y \"z"],"s":"2024-01-02T03:04:05.500000","d":"2024-01-02","f":1.5}]"#
            ),
            "{result}"
        );
        assert!(result.starts_with(r#"{"changed":false"#), "{result}");
        assert!(result.contains(r#""rowcount":1"#), "{result}");
    }

    #[test]
    fn queries_run_in_one_transaction_and_check_mode_leaves_nothing() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let make = r#""login_db": "postgres", "query": ["CREATE TABLE t (a int, b text)", "INSERT INTO t VALUES (%s, %s), (2, 'x') RETURNING a"], "positional_args": [1, "it's"]"#;
        // Values must be used by every query that is given them.
        assert!(
            cluster
                .run(NAME, make)
                .contains("not all arguments converted during string formatting")
        );
        let make = make.replace(
            "CREATE TABLE t (a int, b text)",
            "CREATE TABLE t AS SELECT %s::int AS a, %s::text AS b",
        );
        let rows = r#""statusmessage":"INSERT 0 2","query_result":[{"a":1},{"a":2}]"#;
        let predicted = cluster.predict(NAME, &make);
        assert!(
            predicted.starts_with(r#"{"changed":true"#) && predicted.contains(rows),
            "{predicted}"
        );
        let result = cluster.run(NAME, &make);
        assert!(
            result.starts_with(r#"{"changed":true"#) && result.contains(rows),
            "{result}"
        );
        let half = r#""login_db": "postgres", "query": ["DELETE FROM t", "SELECT nothing"]"#;
        let result = cluster.run(NAME, half);
        assert!(
            result.contains(
                r#"Cannot execute SQL 'SELECT nothing' None: column \"nothing\" does not exist"#
            ),
            "{result}"
        );
        let count = r#""login_db": "postgres", "query": "SELECT count(*) AS n FROM t WHERE b IN (%(b)s, 'x')", "named_args": {"b": "it's"}"#;
        let result = cluster.run(NAME, count);
        assert!(result.contains(r#""query_result":[{"n":3}]"#), "{result}");
        let none = r#""login_db": "postgres", "query": "UPDATE t SET a = 1 WHERE false""#;
        let result = cluster.run(NAME, none);
        assert!(result.starts_with(r#"{"changed":false"#), "{result}");
        assert!(
            result.contains(r#""statusmessage":"UPDATE 0","query_result":{}"#),
            "{result}"
        );
    }

    #[test]
    fn a_script_is_run_whole() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let path = cluster.file(
            "x.sql",
            "CREATE TABLE s (a int);\n-- ; no\nINSERT INTO s VALUES (1);\nSELECT a FROM s;\n",
        );
        let options = format!(r#""login_db": "postgres", "path": "{path}""#);
        let result = cluster.run("community.postgresql.postgresql_script", &options);
        assert!(
            result.contains(r#""rowcount":1,"statusmessage":"SELECT 1","query_result":[{"a":1}]"#),
            "{result}"
        );
    }
}
