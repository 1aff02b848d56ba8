//! The inventory plugin `generator`: hosts and groups for every combination of layers.
//!
//! Names are templates over the layers; evaluating is the caller's: see [`Expressions`].

use std::sync::Arc;

use super::plugin::{self, Configuration};
use super::{Expressions, Inventory, Variables};
use crate::error::Error;
use crate::node::{Kind, Node};

/// Adds the hosts and groups that the configuration generates to `inventory`.
pub(super) fn read(
    root: &Node,
    expressions: &dyn Expressions,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let configuration = Configuration::new(root);
    configuration.check_names(&["plugin", "hosts", "layers"])?;
    let hosts = configuration.required("hosts")?;
    let Some(name) = hosts.get("name") else {
        return Err(Error::content("`hosts` has no `name`").at(&hosts.mark));
    };
    configuration.required("layers")?;
    let generator = Generator { expressions };
    for combination in combinations(configuration.table("layers")?)? {
        let variables = Arc::new(combination);
        let host = generator.text(name, &variables)?;
        inventory
            .add_host(&host, None)
            .map_err(|error| error.at(&name.mark))?;
        generator.parents(&host, hosts, &variables, inventory)?;
    }
    Ok(())
}

/// Returns each way to take one value of every layer; the last layer changes fastest.
fn combinations(layers: &[(Node, Node)]) -> Result<Vec<Variables>, Error> {
    let mut all = vec![Variables::new()];
    for (name, values) in layers {
        let Some(values) = values.as_list() else {
            return Err(Error::content(format!(
                "the layer `{}` must be a list, not {}",
                name.to_value(),
                values.kind_name()
            ))
            .at(&values.mark));
        };
        let name: Arc<str> = name.to_value().to_string().into();
        all = all
            .iter()
            .flat_map(|before| {
                values.iter().map(|value| {
                    let mut variables = before.clone();
                    variables.insert(Arc::clone(&name), value.clone());
                    variables
                })
            })
            .collect();
    }
    Ok(all)
}

struct Generator<'a> {
    expressions: &'a dyn Expressions,
}

impl Generator<'_> {
    /// Puts `child` below the `parents` of `entry`, and these below theirs.
    fn parents(
        &self,
        child: &str,
        entry: &Node,
        variables: &Arc<Variables>,
        inventory: &mut Inventory,
    ) -> Result<(), Error> {
        let parents = Configuration::new(entry).list("parents")?;
        for parent in parents {
            let options = Configuration::new(parent);
            options.check_names(&["name", "vars", "parents"])?;
            let name = match parent.get("name") {
                Some(name) => self.text(name, variables)?,
                None => String::new(),
            };
            if name.is_empty() {
                return Err(
                    Error::content(format!("Element {child} has a parent with no name."))
                        .at(&parent.mark),
                );
            }
            let group = inventory.add_group(&name)?;
            for (name, value) in options.table("vars")? {
                let value = self.rendered(value, variables)?;
                inventory.set_variable(&group, &name.to_value().to_string(), value)?;
            }
            inventory
                .add_child(&group, child)
                .map_err(|error| error.at(&parent.mark))?;
            self.parents(&group, parent, variables, inventory)?;
        }
        Ok(())
    }

    fn text(&self, node: &Node, variables: &Arc<Variables>) -> Result<String, Error> {
        Ok(self.rendered(node, variables)?.to_value().to_string())
    }

    /// Renders text; lists and dictionaries stay as they are, to be rendered when they are read.
    fn rendered(&self, node: &Node, variables: &Arc<Variables>) -> Result<Node, Error> {
        match &node.kind {
            Kind::Text(text) => {
                let lone = text
                    .strip_prefix("{{")
                    .and_then(|rest| rest.strip_suffix("}}"));
                if let Some(passed) = lone.and_then(|name| plugin::passed_on(name, variables)) {
                    return Ok(passed.clone());
                }
                let value = self.expressions.render(node, variables)?;
                Ok(Node::inert(&value, &node.mark))
            }
            _ => Ok(node.clone()),
        }
    }
}
