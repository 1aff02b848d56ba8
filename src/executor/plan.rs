//! What a play amounts to before any host is asked: its steps in order, filtered by tags, with
//! the points where handlers are flushed, and the batches its hosts run in.
//!
//! Pure: knows no host's variables and renders nothing.

use std::sync::Arc;

use super::host::{Part, Section, Step};
use crate::node::{Kind, Node};
use crate::playbook::{
    Action, ActionKind, Args, Block, Item, Keyword, Layer, LayerKind, LoopControl, ModuleName,
    Play, Role, TagSelection, Task, TaskIds, Vars, to_integer, to_number,
};
use crate::value::Value;

/// One step of a plan, the same value for all hosts.
#[derive(Clone, Debug)]
pub(super) struct PlannedStep {
    id: u64,
    pub(super) kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum StepKind {
    Task(Arc<Task>),
    /// The facts task before all others.
    Setup(Arc<Task>),
    /// The flush of handlers after a section.
    Flush,
    /// The host has completed a role.
    RoleComplete(Arc<Role>),
    /// A transactional block starts, ends well, or is to be undone.
    Savepoint(SavepointStep, Arc<Savepoint>),
}

/// A transactional block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Savepoint {
    /// Unique in the run.
    pub(super) id: String,
    /// How the block is told: its name, or where it starts.
    pub(super) title: String,
}

/// What a step does with a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SavepointStep {
    Set,
    Release,
    /// Undo what came after it.
    Return,
}

impl PlannedStep {
    /// Wraps a task or handler.
    pub(super) fn task(task: &Arc<Task>) -> Self {
        Self {
            id: task.id,
            kind: StepKind::Task(Arc::clone(task)),
        }
    }

    /// Returns the task behind the step, when there is one.
    pub(super) fn as_task(&self) -> Option<&Arc<Task>> {
        match &self.kind {
            StepKind::Task(task) | StepKind::Setup(task) => Some(task),
            StepKind::Flush | StepKind::RoleComplete(_) | StepKind::Savepoint(..) => None,
        }
    }
}

impl Step for PlannedStep {
    fn id(&self) -> u64 {
        self.id
    }
}

/// A play's sections and the same steps as one list.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) setup: Option<PlannedStep>,
    pub(super) sections: Arc<[Arc<Section<PlannedStep>>]>,
    /// All steps in order, for keeping hosts in step.
    pub(super) steps: Vec<PlannedStep>,
}

/// Builds plans and the sections of included tasks.
#[derive(Clone, Copy)]
pub(super) struct Planner<'a> {
    pub(super) tags: &'a TagSelection,
    pub(super) ids: &'a TaskIds,
}

impl Planner<'_> {
    /// Lays out `play`; with `force_handlers` its flushes also run on hosts that failed.
    pub(super) fn plan(&self, play: &Play, force_handlers: bool) -> Plan {
        let setup = Some(setup_task(play, self.ids))
            .filter(|task| self.tags.lets_run(&task.tags()))
            .map(|task| PlannedStep {
                id: task.id,
                kind: StepKind::Setup(Arc::new(task)),
            });
        let mut whole = Section::default();
        for items in play.sections() {
            let tasks = self.parts(items);
            let flush = Part::Step(PlannedStep {
                id: self.ids.next(),
                kind: StepKind::Flush,
            });
            if force_handlers {
                whole.block.push(Part::Section(Arc::new(Section {
                    block: tasks,
                    always: vec![flush],
                    ..Section::default()
                })));
            } else {
                whole.block.extend(tasks);
                whole.block.push(flush);
            }
        }
        let mut steps = Vec::from_iter(setup.clone());
        whole.flatten_into(&mut steps);
        Plan {
            setup,
            sections: Arc::from([Arc::new(whole)]),
            steps,
        }
    }

    /// Returns the section of tasks that a dynamic include brought, unless tags leave nothing.
    pub(super) fn included(&self, items: &[Item]) -> Option<Arc<Section<PlannedStep>>> {
        let section = Section::of(self.parts(items));
        (!section.is_empty()).then(|| Arc::new(section))
    }

    /// Returns the section of handlers that a handler's include brought; tags do not count.
    pub(super) fn included_handlers(&self, items: &[Item]) -> Option<Arc<Section<PlannedStep>>> {
        let every = TagSelection::default();
        let planner = Planner {
            tags: &every,
            ids: self.ids,
        };
        planner.included(items)
    }

    fn parts(&self, items: &[Item]) -> Vec<Part<PlannedStep>> {
        items.iter().filter_map(|item| self.part(item)).collect()
    }

    fn part(&self, item: &Item) -> Option<Part<PlannedStep>> {
        match item {
            Item::Task(task) => self
                .tags
                .lets_run(&task.tags())
                .then(|| Part::Step(PlannedStep::task(task))),
            Item::RoleComplete(role) => Some(Part::Step(PlannedStep {
                id: self.ids.next(),
                kind: StepKind::RoleComplete(Arc::clone(role)),
            })),
            Item::Block(block) => {
                let mut section = Section {
                    block: self.parts(&block.block),
                    rescue: self.parts(&block.rescue),
                    always: self.parts(&block.always),
                    ..Section::default()
                };
                if is_transactional(&block.layer.vars) && !section.block.is_empty() {
                    self.put_savepoint(block, &mut section);
                }
                (!section.is_empty()).then(|| Part::Section(Arc::new(section)))
            }
        }
    }

    /// Makes a block one that is undone when it fails.
    fn put_savepoint(&self, block: &Block, section: &mut Section<PlannedStep>) {
        let id = self.ids.next();
        let written = block.name.as_ref().filter(|name| !name.is_null());
        let savepoint = Arc::new(Savepoint {
            id: format!("block-{id}"),
            title: match written {
                Some(name) => name.to_value().to_string(),
                None => block.mark.to_string(),
            },
        });
        let step = |mark| {
            Part::Step(PlannedStep {
                id: self.ids.next(),
                kind: StepKind::Savepoint(mark, Arc::clone(&savepoint)),
            })
        };
        section.block.insert(0, step(SavepointStep::Set));
        section.block.push(step(SavepointStep::Release));
        section.undo.push(step(SavepointStep::Return));
    }
}

/// Tells whether a play or block asks to be a transaction.
pub(super) fn is_transactional(vars: &Vars) -> bool {
    vars.get(TRANSACTION)
        .is_some_and(|node| node.to_value().to_soft_bool() == Some(true))
}

/// The variable by which a play or block asks to be a transaction.
pub(super) const TRANSACTION: &str = "backstay_transaction";

/// Makes the task that gathers facts, with what the play says about it.
fn setup_task(play: &Play, ids: &TaskIds) -> Task {
    let mark = &play.mark;
    let text = |text: &str| Node::text(mark.clone(), text);
    let options = [
        ("gather_subset", &play.gather_subset),
        ("gather_timeout", &play.gather_timeout),
        ("fact_path", &play.fact_path),
    ];
    let mut layer = Layer::new(LayerKind::Task, Some(&play.layer));
    // Gathering once would copy the facts of one host to the others.
    let never_once = Node::new(mark.clone(), Kind::Bool(false));
    layer.keywords.push((Keyword::RunOnce, never_once));
    if play.layer.own(Keyword::Tags).is_none() {
        layer.keywords.push((Keyword::Tags, text("always")));
    }
    if !play.import_conditions.is_empty() {
        let conditions = Kind::List(Arc::new(play.import_conditions.clone()));
        let when = Node::new(mark.clone(), conditions);
        layer.keywords.push((Keyword::When, when));
    }
    Task {
        id: ids.next(),
        mark: mark.clone(),
        name: Some(text("Gathering Facts")),
        action: Action {
            written: text("gather_facts"),
            kind: ActionKind::Module {
                name: ModuleName::Known("ansible.builtin.gather_facts".into()),
                args: Args {
                    options: options
                        .into_iter()
                        .filter_map(|(name, value)| Some((text(name), value.clone()?)))
                        .collect(),
                    ..Args::default()
                },
            },
        },
        layer: Arc::new(layer),
        register: None,
        loop_over: None,
        loop_control: LoopControl::default(),
        until: Vec::new(),
        retries: None,
        delay: None,
        changed_when: Vec::new(),
        failed_when: Vec::new(),
        async_seconds: None,
        poll: None,
        handler: false,
        listen: Vec::new(),
    }
}

/// Divides hosts into the batches `serial` asks for; the last size counts for all that follow,
/// and a size of 0 or less takes all that are left.
pub(super) fn batches<H: Clone>(hosts: &[H], serial: &[Value]) -> Result<Vec<Vec<H>>, String> {
    let sizes = serial
        .iter()
        .map(|size| batch_size(size, hosts.len()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rest = hosts;
    let mut found = Vec::new();
    let mut next = sizes.iter().copied();
    let mut size = next.next().unwrap_or(0);
    while !rest.is_empty() {
        let (batch, left) = rest.split_at(if size == 0 {
            rest.len()
        } else {
            size.min(rest.len())
        });
        found.push(batch.to_vec());
        rest = left;
        size = next.next().unwrap_or(size);
    }
    Ok(found)
}

/// Returns the number of hosts in a batch; 0 means all. A percentage is at least one host.
fn batch_size(size: &Value, n_hosts: usize) -> Result<usize, String> {
    // A template that came to nothing, as `omit`.
    if matches!(size, Value::Null) {
        return Ok(0);
    }
    let wrong = || format!("`serial` must be a number or a percentage, not `{size}`");
    if let Some(percent) = size.as_str().and_then(|text| text.strip_suffix('%')) {
        let percent = to_number(&percent.into()).ok_or_else(wrong)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of the number of hosts, cut as Ansible cuts it"
        )]
        let share = (percent / 100.0 * n_hosts as f64) as usize;
        return Ok(share.max(1));
    }
    let number = to_integer(size).ok_or_else(wrong)?;
    Ok(usize::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(n_hosts: usize, serial: &[Value]) -> Vec<usize> {
        let hosts: Vec<usize> = (0..n_hosts).collect();
        let batches = batches(&hosts, serial).unwrap();
        assert_eq!(batches.concat(), hosts);
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn without_serial_all_hosts_are_one_batch() {
        assert_eq!(sizes(5, &[]), [5]);
        assert!(sizes(0, &[]).is_empty());
        assert_eq!(sizes(5, &[0.into()]), [5]);
        assert_eq!(sizes(5, &[(-1).into()]), [5]);
    }

    #[test]
    fn sizes_grow_along_the_list_and_the_last_one_repeats() {
        assert_eq!(sizes(10, &[1.into(), 3.into()]), [1, 3, 3, 3]);
        assert_eq!(sizes(5, &["2".into()]), [2, 2, 1]);
    }

    #[test]
    fn a_percentage_is_cut_and_is_at_least_one_host() {
        assert_eq!(sizes(10, &["30%".into()]), [3, 3, 3, 1]);
        assert_eq!(sizes(3, &["10%".into()]), [1, 1, 1]);
        assert_eq!(sizes(4, &["100%".into()]), [4]);
    }

    #[test]
    fn a_size_that_is_no_number_is_an_error() {
        assert_eq!(
            batches(&[1], &["many".into()]),
            Err("`serial` must be a number or a percentage, not `many`".into())
        );
    }
}
