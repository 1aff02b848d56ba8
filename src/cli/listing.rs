//! `--syntax-check`, `--list-hosts`, `--list-tasks` and `--list-tags`: what a run would be about.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::inventory::Order;
use crate::node::Node;
use crate::playbook::{Item, Play, Playbook, TagSelection, Task, Templates};
use crate::template::Engine;
use crate::value::{Value, repr};
use crate::vars::StaticNames;

/// What is listed beside the plays.
pub(super) struct Wanted {
    pub(super) hosts: bool,
    pub(super) tasks: bool,
    pub(super) tags: bool,
}

/// Prints the listing of all playbooks.
pub(super) fn print(
    wanted: &Wanted,
    playbooks: &[Playbook],
    prepared: &Preparation,
    tags: &TagSelection,
    engine: &Engine,
) -> Result<(), Vec<Error>> {
    let lister = Lister {
        wanted,
        prepared,
        tags,
        names: StaticNames::new(engine.clone(), Arc::clone(&prepared.extra)),
    };
    let mut text = String::new();
    for playbook in playbooks {
        text += &lister.playbook(playbook).map_err(|error| vec![error])?;
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| vec![super::cannot_print(error)])
}

struct Lister<'a> {
    wanted: &'a Wanted,
    prepared: &'a Preparation,
    tags: &'a TagSelection,
    names: StaticNames,
}

impl Lister<'_> {
    fn playbook(&self, playbook: &Playbook) -> Result<String> {
        let mut text = format!("\nplaybook: {}\n", playbook.path.display());
        if !(self.wanted.hosts || self.wanted.tasks || self.wanted.tags) {
            return Ok(text);
        }
        for (number, play) in (1..).zip(&playbook.plays) {
            text += &self.play(number, play)?;
        }
        Ok(text)
    }

    fn play(&self, number: usize, play: &Play) -> Result<String> {
        let patterns: Vec<String> = play
            .host_patterns()
            .into_iter()
            .map(|node| self.text(play, node))
            .collect();
        let own_tags = play.tags();
        let name = play
            .name
            .as_ref()
            .map_or_else(|| patterns.join(","), |name| self.text(play, name));
        let mut text = format!(
            "\n  play #{number} ({}): {name}\tTAGS: [{}]\n",
            patterns.join(","),
            own_tags.join(",")
        );
        if self.wanted.hosts {
            let words: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let limit = self.prepared.limit.as_ref();
            let inventory = &self.prepared.inventory;
            let selection = inventory.select(&words, limit, Order::Inventory)?;
            let shown = repr(&Value::list(patterns.iter().map(String::as_str)));
            write!(
                text,
                "    pattern: {shown}\n    hosts ({}):\n",
                selection.hosts.len()
            )
            .expect("writing to a string cannot fail");
            for host in selection.hosts {
                writeln!(text, "      {host}").expect("writing to a string cannot fail");
            }
        }
        let mut all_tags: BTreeSet<String> = own_tags.into_iter().collect();
        let mut lines = String::new();
        for item in play.sections().into_iter().flatten() {
            self.item(play, item, &mut all_tags, &mut lines);
        }
        if self.wanted.tasks {
            text += "    tasks:\n";
            text += &lines;
        }
        if self.wanted.tags {
            let all: Vec<_> = all_tags.into_iter().collect();
            writeln!(text, "      TASK TAGS: [{}]", all.join(", "))
                .expect("writing to a string cannot fail");
        }
        Ok(text)
    }

    fn item(&self, play: &Play, item: &Item, all_tags: &mut BTreeSet<String>, lines: &mut String) {
        match item {
            Item::Task(task) => self.task(play, task, all_tags, lines),
            Item::Block(block) => {
                for item in &block.block {
                    self.item(play, item, all_tags, lines);
                }
            }
            Item::RoleComplete(_) => {}
        }
    }

    fn task(&self, play: &Play, task: &Task, all_tags: &mut BTreeSet<String>, lines: &mut String) {
        let mut tags = task.tags();
        if !self.tags.lets_run(&tags) {
            return;
        }
        tags.sort();
        // A role is named only beside a name that was written.
        let title = match (&task.name, task.role()) {
            (Some(name), Some(role)) => format!("{} : {}", role.name, self.text(play, name)),
            (Some(name), None) => self.text(play, name),
            (None, _) => self.text(play, &task.action.written),
        };
        writeln!(lines, "      {title}\tTAGS: [{}]", tags.join(", "))
            .expect("writing to a string cannot fail");
        all_tags.extend(tags);
    }

    /// Renders a name as far as it is known without a host, as Ansible's listing does.
    fn text(&self, play: &Play, node: &Node) -> String {
        let layers = [Arc::clone(&play.layer.vars)];
        self.names
            .render_name(node, &layers)
            .unwrap_or_else(|_| node.to_value().to_string())
    }
}
