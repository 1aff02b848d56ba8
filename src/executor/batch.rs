//! One batch of one play: where each host stands, and which step comes next.
//!
//! Pure but for asking what it is given: runs nothing and tells nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::host::{HostState, Section, Step};
use super::plan::{Plan, PlannedStep, StepKind};
use crate::playbook::{Play, Role, Task};

/// Where a host stands in a play.
pub(super) type State = HostState<PlannedStep>;

/// A batch at work.
pub(super) struct Batch {
    pub(super) play: Arc<Play>,
    /// The hosts of the batch, in order.
    pub(super) hosts: Vec<Arc<str>>,
    /// Handlers of the play and of the roles included so far.
    pub(super) handlers: Vec<Arc<Task>>,
    pub(super) states: IndexMap<Arc<str>, State>,
    /// Hosts that do not take part any more: failed, unreachable or ended.
    pub(super) removed: IndexSet<Arc<str>>,
    pub(super) end_play: bool,
    /// All steps in order, with those of includes and flushes put in.
    steps: Vec<PlannedStep>,
    cursor: usize,
    /// Which roles ran a task on a host, and which completed on it, by the role's identity.
    started: HashMap<Arc<str>, HashSet<Arc<str>>>,
    completed: HashMap<Arc<str>, HashSet<Arc<str>>>,
}

impl Batch {
    /// Puts `hosts` at the start of `plan`; `gathers` tells which of them gather facts.
    pub(super) fn new(
        play: &Arc<Play>,
        plan: &Plan,
        hosts: &[Arc<str>],
        gathers: impl Fn(&str) -> bool,
    ) -> Self {
        let states = hosts.iter().map(|host| {
            let setup = plan.setup.clone().filter(|_| gathers(host));
            let state = HostState::new(setup, Arc::clone(&plan.sections));
            (Arc::clone(host), state)
        });
        Self {
            play: Arc::clone(play),
            hosts: hosts.to_vec(),
            handlers: play.handlers.clone(),
            states: states.collect(),
            removed: IndexSet::new(),
            end_play: false,
            steps: plan.steps.clone(),
            cursor: 0,
            started: HashMap::new(),
            completed: HashMap::new(),
        }
    }

    /// Advances every host to the first step that `matches`; tells whether there was any.
    pub(super) fn start_at(&mut self, matches: impl Fn(&PlannedStep) -> bool) -> bool {
        // A host that was to gather facts still does.
        let setups: HashMap<_, _> = self
            .states
            .iter()
            .map(|(host, state)| (Arc::clone(host), state.setup().cloned()))
            .collect();
        let mut found = false;
        for host in self.hosts.clone() {
            loop {
                let (next, step) = self.peek(&host);
                match step {
                    None => break,
                    Some(step) if matches(&step) => {
                        found = true;
                        if let Some(state) = self.states.get_mut(&host) {
                            state.restart_setup(setups[&host].clone());
                        }
                        break;
                    }
                    Some(_) => {
                        self.states.insert(Arc::clone(&host), next);
                    }
                }
            }
        }
        found
    }

    /// Returns a host's next step and the state it is in then.
    pub(super) fn peek(&self, host: &str) -> (State, Option<PlannedStep>) {
        let mut state = self.states[host].clone();
        let step = state.advance(&|state, step| self.is_passed_over(host, state, step));
        (state, step)
    }

    fn is_passed_over(&self, host: &str, state: &State, step: &PlannedStep) -> bool {
        let role = match &step.kind {
            StepKind::Flush => return !state.has_notifications(),
            StepKind::Savepoint(..) => return false,
            StepKind::RoleComplete(role) => Some(role),
            StepKind::Task(task) | StepKind::Setup(task) => task.role(),
        };
        role.is_some_and(|role| {
            !role.allow_duplicates
                && self
                    .completed
                    .get(&role.identity)
                    .is_some_and(|hosts| hosts.contains(host))
        })
    }

    /// Returns the next step that hosts take together, and the hosts that take it, which are
    /// then past it.
    pub(super) fn lockstep(&mut self, hosts: &[Arc<str>]) -> Option<(PlannedStep, Vec<Arc<str>>)> {
        let mut next: Vec<(Arc<str>, State, PlannedStep)> = hosts
            .iter()
            .filter_map(|host| {
                let (state, step) = self.peek(host);
                Some((Arc::clone(host), state, step?))
            })
            .collect();
        let wanted: HashSet<u64> = next.iter().map(|(_, _, step)| step.id()).collect();
        // Hosts whose errors were cleared may stand before the others: look again from the start.
        let n_steps = self.steps.len();
        let found = (self.cursor..n_steps)
            .chain(0..n_steps)
            .find(|at| wanted.contains(&self.steps[*at].id()))?;
        self.cursor = found + 1;
        let chosen = self.steps[found].clone();
        next.retain(|(_, _, step)| step.id() == chosen.id());
        let taking = next
            .into_iter()
            .map(|(host, state, _)| {
                self.states.insert(Arc::clone(&host), state);
                host
            })
            .collect();
        Some((chosen, taking))
    }

    /// Puts steps in right after the current one.
    pub(super) fn insert_steps(&mut self, steps: impl IntoIterator<Item = PlannedStep>) {
        self.steps.splice(self.cursor..self.cursor, steps);
    }

    /// Makes the handlers the steps that follow a flush.
    pub(super) fn insert_handlers(&mut self) {
        let handlers: Vec<_> = self.handlers.iter().map(PlannedStep::task).collect();
        self.insert_steps(handlers);
    }

    /// Puts what a dynamic include brought before a host's next step.
    pub(super) fn splice(&mut self, host: &str, sections: Vec<Arc<Section<PlannedStep>>>) {
        if let Some(state) = self.states.get_mut(host) {
            state.splice(sections);
        }
    }

    /// Fails a host's current task; tells whether the host is now out of the play.
    pub(super) fn fail(&mut self, host: &Arc<str>) -> bool {
        let Some(state) = self.states.get_mut(host) else {
            return false;
        };
        state.fail();
        self.removed.insert(Arc::clone(host));
        state.is_failed()
    }

    /// Ends a host's part in the play.
    pub(super) fn end_host(&mut self, host: &Arc<str>) {
        if let Some(state) = self.states.get_mut(host) {
            state.end();
            self.removed.insert(Arc::clone(host));
        }
    }

    /// Remembers that a role ran a task on a host.
    pub(super) fn role_ran(&mut self, role: &Role, host: &Arc<str>) {
        self.started
            .entry(Arc::clone(&role.identity))
            .or_default()
            .insert(Arc::clone(host));
    }

    /// Remembers that a role is complete on a host, when it ran there at all.
    pub(super) fn role_completed(&mut self, role: &Role, host: &Arc<str>) {
        let ran = self.started.get(&role.identity);
        if ran.is_some_and(|hosts| hosts.contains(host)) {
            self.completed
                .entry(Arc::clone(&role.identity))
                .or_default()
                .insert(Arc::clone(host));
        }
    }

    /// Passes over what is left of the role a host is in.
    pub(super) fn end_role(&mut self, host: &Arc<str>) {
        loop {
            let (next, step) = self.peek(host);
            match step {
                Some(step) if !matches!(step.kind, StepKind::RoleComplete(_)) => {
                    self.states.insert(Arc::clone(host), next);
                }
                _ => break,
            }
        }
    }

    /// Takes hosts without a next step past the end of what they were in, where a failure that
    /// waited for an `always` counts.
    pub(super) fn finish(&mut self) {
        for host in self.hosts.clone() {
            let (state, step) = self.peek(&host);
            if step.is_none() {
                self.states.insert(host, state);
            }
        }
    }

    /// Returns the hosts that failed in this play.
    pub(super) fn failed_hosts(&self) -> Vec<Arc<str>> {
        self.states
            .iter()
            .filter(|(_, state)| state.is_failed())
            .map(|(host, _)| Arc::clone(host))
            .collect()
    }
}
