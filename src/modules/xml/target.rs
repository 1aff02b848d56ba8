//! What an expression names, found or made: an element, its text, or an attribute.

use super::children;
use super::tree::{Id, Tree};
use super::writing::{self, Style};
use super::xpath::{Answer, Found, Prefixes, evaluate};
use crate::modules::Failure;
use crate::pyregex::{Captures, Flags, Pattern};

/// What is missing below the place that the rest of an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    Element(String, Option<String>),
    /// An element, and the conditions it must fulfil.
    Fulfilling(String, Vec<String>),
    Attribute(String, Option<String>),
    Text(String),
}

/// Evaluates an expression at the root.
pub(super) fn ask(tree: &Tree, expression: &str, prefixes: &Prefixes) -> Result<Answer, String> {
    evaluate(tree, tree.root, expression, prefixes)
}

/// Lists the elements that an expression names; none if the first of what it names is none.
pub(super) fn elements(
    tree: &Tree,
    at: Id,
    expression: &str,
    prefixes: &Prefixes,
) -> Result<Vec<Id>, String> {
    let found = match evaluate(tree, at, expression, prefixes)? {
        Answer::Nodes(found) => found,
        answer if !answer.is_truthy() => return Ok(Vec::new()),
        answer => {
            let kind = answer.python_type();
            return Err(format!("'{kind}' object is not subscriptable"));
        }
    };
    if !matches!(found.first(), Some(Found::Node(_))) {
        return Ok(Vec::new());
    }
    Ok(found
        .into_iter()
        .filter_map(|found| match found {
            Found::Node(id) => Some(id),
            _ => None,
        })
        .collect())
}

/// Makes what an expression names where it is not there; tells whether that changed anything.
pub(super) fn ensure(
    tree: &mut Tree,
    at: Id,
    expression: &str,
    prefixes: &Prefixes,
) -> Result<bool, Failure> {
    let (rest, missing) = split(expression);
    if rest == expression {
        return Err(Failure::new(format!(
            "Can't process Xpath {expression} in order to spawn nodes! tree is {}",
            shown(tree)
        )));
    }
    let mut changed = false;
    if elements(tree, at, &rest, prefixes)
        .map_err(Failure::new)?
        .is_empty()
    {
        changed = ensure(tree, at, &rest, prefixes)?;
    }
    let places = elements(tree, at, &rest, prefixes).map_err(Failure::new)?;
    for missing in missing {
        if !places.is_empty() {
            changed |= make(tree, &places, missing, prefixes)?;
        }
    }
    Ok(changed)
}

fn make(
    tree: &mut Tree,
    places: &[Id],
    missing: Missing,
    prefixes: &Prefixes,
) -> Result<bool, Failure> {
    let mut changed = false;
    match missing {
        Missing::Element(name, text) => {
            let new = children::element(tree, &clark(&name, prefixes)?)?;
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                tree.set_text(new, Some(&text));
            }
            // There is one new element, as in Ansible: the last place keeps it.
            for place in places {
                tree.append(*place, new);
            }
            changed = true;
        }
        Missing::Fulfilling(name, conditions) => {
            let new = children::element(tree, &clark(&name, prefixes)?)?;
            for place in places {
                tree.append(*place, new);
                for condition in &conditions {
                    ensure(tree, new, &format!("./{condition}"), prefixes)?;
                }
            }
            changed = true;
        }
        Missing::Text(text) => {
            for place in places {
                if tree.text(*place).as_deref() != Some(&text) {
                    tree.set_text(*place, Some(&text));
                    changed = true;
                }
            }
        }
        Missing::Attribute(name, value) => {
            let name = clark(&name, prefixes)?;
            for place in places {
                let old = tree.attribute(*place, &name);
                if old.is_none() || old != value.as_deref() {
                    tree.set_attribute(*place, &name, value.as_deref().unwrap_or_default());
                    changed = true;
                }
            }
        }
    }
    Ok(changed)
}

/// Returns a name with its prefix's namespace, as lxml takes it.
pub(super) fn clark(name: &str, prefixes: &Prefixes) -> Result<String, Failure> {
    let Some((prefix, local)) = name.split_once(':') else {
        return Ok(name.to_owned());
    };
    let mut all = prefixes.iter();
    match all.find(|(known, _)| known == prefix) {
        Some((_, uri)) => Ok(format!("{{{uri}}}{local}")),
        None => Err(Failure::new(format!(
            "`namespaces` has no prefix `{prefix}`, which `{name}` uses"
        ))),
    }
}

/// Writes the tree for a message, as Python shows bytes.
pub(super) fn shown(tree: &Tree) -> String {
    let style = Style {
        is_pretty: true,
        is_ascii: true,
    };
    let text = writing::undeclared(tree, style);
    format!("b{}", crate::value::repr(&text.as_str().into()))
}

const IDENT: &str = r"[a-zA-Z-][a-zA-Z0-9_\-\.]*";
const TEXT: &str = r#"('(?:.*)'|"(?:.*)")"#;

/// Splits an expression before its last step: what is there, and what may have to be made.
fn split(expression: &str) -> (String, Vec<Missing>) {
    let expression = expression.trim();
    let name = format!("{IDENT}|{IDENT}:{IDENT}");
    let parts = |pattern: String| {
        let pattern = Pattern::text(&pattern, Flags::default()).expect("a fixed pattern");
        let found: Captures = pattern.match_start(expression).ok()??;
        let group = |number: usize| {
            found
                .span(number)
                .map_or("", |span| &expression[span])
                .to_owned()
        };
        Some([group(1), group(2), group(3)])
    };
    let inside = |text: &str| text[1..text.len() - 1].to_owned();
    if let Some([rest, name, _]) = parts(format!("^(.*)/({name})$")) {
        return (rest, vec![Missing::Element(name, None)]);
    }
    if let Some([rest, name, text]) = parts(format!(r"^(.*)/({name})/text\(\)={TEXT}$")) {
        return (rest, vec![Missing::Element(name, Some(inside(&text)))]);
    }
    if let Some([rest, name, _]) = parts(format!("^(.*)/@({name})$")) {
        return (rest, vec![Missing::Attribute(name, None)]);
    }
    if let Some([rest, name, text]) = parts(format!("^(.*)/@({name})={TEXT}$")) {
        return (rest, vec![Missing::Attribute(name, Some(inside(&text)))]);
    }
    if let Some([rest, name, conditions]) = parts(format!(r"^(.*)/({name})\[(.*)\]$")) {
        let conditions = conditions.split(" and ").map(|it| it.trim().to_owned());
        return (rest, vec![Missing::Fulfilling(name, conditions.collect())]);
    }
    if let Some([rest, text, _]) = parts(format!(r"^(.*)/text\(\)={TEXT}$")) {
        return (rest, vec![Missing::Text(inside(&text))]);
    }
    (expression.to_owned(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_ends_with_what_may_have_to_be_made() {
        let element = |name: &str, text: Option<&str>| {
            vec![Missing::Element(name.into(), text.map(str::to_owned))]
        };
        let attribute = |name: &str, text: Option<&str>| {
            vec![Missing::Attribute(name.into(), text.map(str::to_owned))]
        };
        for (expression, rest, missing) in [
            ("/a/b", "/a", element("b", None)),
            ("/a/n:b", "/a", element("n:b", None)),
            ("/a/b/text()='x y'", "/a", element("b", Some("x y"))),
            ("/a/@k", "/a", attribute("k", None)),
            ("/a/@k=\"v\"", "/a", attribute("k", Some("v"))),
            (
                "/a/b[c/text()='1' and @k='2']",
                "/a",
                vec![Missing::Fulfilling(
                    "b".into(),
                    vec!["c/text()='1'".into(), "@k='2'".into()],
                )],
            ),
            ("/a/*/text()='x'", "/a/*", vec![Missing::Text("x".into())]),
            ("/a/*", "/a/*", Vec::new()),
        ] {
            assert_eq!(
                split(expression),
                (rest.to_owned(), missing),
                "{expression}"
            );
        }
    }
}
