//! `ansible_python_interpreter: auto`: which Python the target has, for those who ask.
//!
//! Our own modules need none. So a host is only looked at where a variable says so, once, and one
//! without Python is no failure.

use super::{ActionContext, Answer};
use crate::event::Event;
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::executor::session::Target;
use crate::value::{Map, Value, repr};

/// What Ansible takes where it finds none.
const FALLBACK: &str = "/usr/bin/python3";
/// The fact that says what was found.
pub(super) const FACT: &str = "discovered_interpreter_python";

/// What a look at a host came to.
pub(super) struct Discovery {
    python: String,
    warnings: Vec<String>,
    deprecation: Option<String>,
}

impl ActionContext<'_> {
    /// Looks for the target's Python where a variable asks for it and nobody has looked yet.
    pub(super) async fn discover_python(&self) -> Result<Option<Discovery>, Failure> {
        let variable = |name| self.target_renderer.variable(name);
        // Whoever needs the interpreter says what is wrong with the variable.
        let mode = match variable("ansible_python_interpreter") {
            Ok(Some(mode)) => mode.to_string(),
            _ => return Ok(None),
        };
        let Some(kind) = mode.strip_prefix("auto") else {
            return Ok(None);
        };
        let is_silent = match kind {
            "" | "_legacy" => false,
            "_silent" | "_legacy_silent" => true,
            _ => return Ok(None),
        };
        let facts = variable("ansible_facts")?;
        if facts.is_some_and(|facts| facts.get(FACT).is_some()) {
            return Ok(None);
        }
        let candidates = match variable("ansible_interpreter_python_fallback")? {
            Some(Value::List(list)) => list.iter().map(ToString::to_string).collect(),
            Some(one) => vec![one.to_string()],
            None => self.job.world.options.pythons.clone(),
        };
        self.job.world.tell(Event::Verbose {
            verbosity: 3,
            host: Some(self.target.clone()),
            text: "Attempting python interpreter discovery.".to_owned(),
        });
        // Everybody sees the same programs.
        let target = Target {
            become_user: None,
            ..self.target()?
        };
        let output = self
            .job
            .world
            .sessions
            .raw(&target, &look(&candidates))
            .await?;
        let (python, warnings) = judged(
            &String::from_utf8_lossy(&output.stdout),
            self.target,
            &candidates,
        );
        Ok(Some(Discovery {
            python,
            warnings: if is_silent { Vec::new() } else { warnings },
            deprecation: kind.starts_with("_legacy").then(|| {
                format!(
                    "The '{mode}' option for 'INTERPRETER_PYTHON' now has the same effect as \
                     'auto'."
                )
            }),
        }))
    }
}

/// Returns the command that says where the candidates are. They are quoted as Ansible quotes them.
fn look(candidates: &[String]) -> String {
    let looks: Vec<_> = candidates
        .iter()
        .map(|python| format!("command -v '{python}'"))
        .collect();
    format!("echo FOUND; {}; echo ENDFOUND", looks.join("; "))
}

/// Reads what the command said: the Python to take, and what there is to warn of.
fn judged(said: &str, host: &str, candidates: &[String]) -> (String, Vec<String>) {
    let found = said
        .strip_prefix("FOUND")
        .and_then(|rest| rest.rsplit_once("ENDFOUND"))
        .map(|(found, _)| found.lines().find(|line| line.starts_with('/')));
    let mut warnings = Vec::new();
    let python = match found {
        Some(Some(python)) => python.trim(),
        Some(None) => {
            let tried = repr(&Value::list(candidates.iter().map(String::as_str)));
            let warning =
                format!("No python interpreters found for host '{host}' (tried {tried}).");
            return (FALLBACK.to_owned(), vec![warning]);
        }
        None => {
            warnings.push(format!(
                "Unhandled error in Python interpreter discovery for host '{host}': unexpected \
                 output from Python interpreter discovery"
            ));
            FALLBACK
        }
    };
    warnings.push(format!(
        "Host '{host}' is using the discovered Python interpreter at '{python}', but future \
         installation of another Python interpreter could cause a different interpreter to be \
         discovered."
    ));
    (python.to_owned(), warnings)
}

impl Discovery {
    /// Adds what was found to a task's answer: a fact from now on.
    pub(super) fn tell(self, answer: &mut Answer) {
        let mut fact = Map::new();
        fact.insert(FACT.into(), self.python.into());
        let mut facts = match answer.result.get("ansible_facts") {
            Some(Value::Map(facts)) => Map::clone(facts),
            _ => Map::new(),
        };
        facts.extend(fact.clone());
        answer.set("ansible_facts", facts);
        answer.effects.push(Effect::Facts(fact.into()));
        add(
            answer,
            "warnings",
            self.warnings.into_iter().map(Value::from),
        );
        let deprecation = self.deprecation.map(|msg| {
            Value::map([
                ("msg", Value::from(msg)),
                ("version", "2.21".into()),
                ("collection_name", "ansible.builtin".into()),
            ])
        });
        add(answer, "deprecations", deprecation);
    }
}

fn add(answer: &mut Answer, key: &str, more: impl IntoIterator<Item = Value>) {
    let mut more = more.into_iter().peekable();
    if more.peek().is_none() {
        return;
    }
    let mut all = match answer.result.get(key) {
        Some(Value::List(list)) => Vec::clone(list),
        _ => Vec::new(),
    };
    all.extend(more);
    answer.set(key, all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_python_found_is_taken_and_what_is_not_found_is_warned_of() {
        let tried = ["/nope".to_owned(), "python3".to_owned()];
        assert_eq!(
            look(&tried),
            "echo FOUND; command -v '/nope'; command -v 'python3'; echo ENDFOUND"
        );
        for (said, python, warnings) in [
            (
                "FOUND\n/opt/bin/python3.12\n/usr/bin/python3\nENDFOUND\n",
                "/opt/bin/python3.12",
                vec![
                    "Host 'web1' is using the discovered Python interpreter at \
                     '/opt/bin/python3.12', but future installation of another Python interpreter \
                     could cause a different interpreter to be discovered.",
                ],
            ),
            (
                "FOUND\nENDFOUND\n",
                FALLBACK,
                vec!["No python interpreters found for host 'web1' (tried ['/nope', 'python3'])."],
            ),
            (
                "",
                FALLBACK,
                vec![
                    "Unhandled error in Python interpreter discovery for host 'web1': unexpected \
                     output from Python interpreter discovery",
                    "Host 'web1' is using the discovered Python interpreter at \
                     '/usr/bin/python3', but future installation of another Python interpreter \
                     could cause a different interpreter to be discovered.",
                ],
            ),
        ] {
            let (found, told) = judged(said, "web1", &tried);
            assert_eq!(
                (found.as_str(), told),
                (python, warnings.iter().map(ToString::to_string).collect())
            );
        }
    }
}
