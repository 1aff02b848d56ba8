//! `hash_behaviour = merge`: dictionaries of all rungs laid over one another.

use std::sync::Arc;

use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};
use crate::template::Binding;
use crate::value::{Map, Value};

/// Lays the bindings of one name over one another, strongest first, as far as they are
/// dictionaries. Data stays data, also beside what a user wrote.
pub(super) fn merged(bindings: impl Iterator<Item = Binding>) -> Option<Binding> {
    let mut bindings = bindings;
    let mut result = bindings.next()?;
    for weaker in bindings {
        result = match (weaker, &result) {
            (Binding::Source(weak), Binding::Source(strong))
                if weak.as_map().is_some() && strong.as_map().is_some() =>
            {
                Binding::Source(over_node(&weak, strong))
            }
            (Binding::Final(Value::Map(weak)), Binding::Final(Value::Map(strong))) => {
                Binding::Final(over_map(&weak, strong).into())
            }
            (weaker, strong) => match (as_written(&weaker), as_written(strong)) {
                (Some(weak), Some(strong)) => Binding::Source(over_node(&weak, &strong)),
                _ => break,
            },
        };
    }
    Some(result)
}

/// Returns a dictionary as a node, which stays inert where it was data.
fn as_written(binding: &Binding) -> Option<Node> {
    match binding {
        Binding::Source(node) if node.as_map().is_some() => Some(node.clone()),
        Binding::Final(value @ Value::Map(_)) => {
            let file = SourceFile::new("<facts>", "");
            Some(Node::inert(value, &Mark::start_of(&file)))
        }
        _ => None,
    }
}

fn over_node(weak: &Node, strong: &Node) -> Node {
    let (Some(weak_pairs), Some(strong_pairs)) = (weak.as_map(), strong.as_map()) else {
        return strong.clone();
    };
    let mut pairs = weak_pairs.to_vec();
    for (key, value) in strong_pairs {
        match pairs
            .iter_mut()
            .find(|(known, _)| known.to_value() == key.to_value())
        {
            Some((_, under)) => *under = over_node(under, value),
            None => pairs.push((key.clone(), value.clone())),
        }
    }
    Node::new(strong.mark.clone(), Kind::Map(Arc::new(pairs)))
}

fn over_map(weak: &Map, strong: &Map) -> Map {
    let mut result = weak.clone();
    for (key, value) in strong {
        let laid = match (result.get(key), value) {
            (Some(Value::Map(under)), Value::Map(over)) => over_map(under, over).into(),
            _ => value.clone(),
        };
        result.insert(key.clone(), laid);
    }
    result
}
