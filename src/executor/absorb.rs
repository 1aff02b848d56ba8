//! What an outcome does to the run: numbers, failures, facts, notifications, registered results.

use std::sync::Arc;

use super::batch::Batch;
use super::dispatcher::{Dispatcher, Finished, Stop};
use super::execution::{Delegation, Effect, Execution, Outcome};
use super::handlers::{self, Named};
use super::render::Renderer;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Status, TaskInfo, TaskResult};
use crate::playbook::{ActionKind, Task};
use crate::value::{Map, Value};

/// A task at work in a batch.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) task: Arc<Task>,
    pub(super) info: Arc<TaskInfo>,
    /// It runs on one host for all of the batch.
    pub(super) once: bool,
}

impl Dispatcher<'_> {
    /// Takes in what came of a task on one host, and tells how it ended there.
    pub(super) fn absorb(
        &mut self,
        batch: &mut Batch,
        running: &Running,
        finished: &mut Finished,
    ) -> Result<Status, Stop> {
        let host = Arc::clone(&finished.host);
        let outcome = &mut finished.outcome;
        let status = outcome.status();
        let mut rescued = false;
        match status {
            Status::Failed => rescued = self.absorb_failure(batch, running, &host, outcome),
            Status::Unreachable => {
                self.unreachable.insert(Arc::clone(&host));
                batch.removed.insert(Arc::clone(&host));
            }
            Status::Ok | Status::Changed => {
                self.apply_effects(batch, running, &host, outcome)?;
                self.notify(batch, &host, outcome)?;
            }
            Status::Ignored | Status::IgnoredUnreachable | Status::Skipped => {}
        }
        let status = outcome.status();
        self.note_steps(running, &host, outcome);
        if matches!(status, Status::Failed | Status::Unreachable) && !rescued {
            self.note_trouble(running, &host, outcome);
        }
        if let Some(name) = &running.task.register {
            let registered = outcome.registered();
            for target in self.hosts_meant(batch, running, &host) {
                self.inventories.register(&target, name, registered.clone());
            }
        }
        let ran = matches!(
            status,
            Status::Ok | Status::Changed | Status::Failed | Status::Ignored
        );
        if let Some(role) = running.task.role().filter(|_| ran) {
            batch.role_ran(role, &host);
        }
        let included = is_include(&running.task) && matches!(status, Status::Ok | Status::Changed);
        if !included {
            let changed = outcome.whole.has("changed");
            self.recap.count(&host, status, changed, rescued);
        }
        self.world.tell(Event::HostFinished(host_result(
            &host, running, outcome, status,
        )));
        Ok(status)
    }

    /// Fails the host, or all hosts of the batch; tells whether the failure is being rescued.
    fn absorb_failure(
        &mut self,
        batch: &mut Batch,
        running: &Running,
        host: &Arc<str>,
        outcome: &Outcome,
    ) -> bool {
        let rescued = batch
            .states
            .get(host)
            .is_some_and(super::batch::State::would_rescue);
        for failing in self.hosts_meant(batch, running, host) {
            if batch.fail(&failing) && failing == *host {
                self.failed.insert(failing);
            }
        }
        if rescued {
            batch.removed.shift_remove(host);
            let task = Value::map([
                ("name", Value::from(running.info.name.as_str())),
                ("action", running.info.action.as_str().into()),
            ]);
            let result = Value::from(outcome.whole.result.clone());
            let mut told = Map::new();
            told.insert("ansible_failed_task".into(), task);
            told.insert("ansible_failed_result".into(), result);
            self.inventories.set_variables(host, &told);
        }
        rescued
    }

    /// Returns the hosts a result is about: its own, or with `run_once` all of the batch.
    fn hosts_meant(&self, batch: &Batch, running: &Running, host: &Arc<str>) -> Vec<Arc<str>> {
        if !running.once {
            return vec![Arc::clone(host)];
        }
        batch
            .hosts
            .iter()
            .filter(|host| !self.unreachable.contains(*host))
            .cloned()
            .collect()
    }

    fn apply_effects(
        &mut self,
        batch: &Batch,
        running: &Running,
        host: &Arc<str>,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let looped = outcome.items.is_some();
        let executions: &mut [Execution] = match &mut outcome.items {
            Some(items) => items,
            None => std::slice::from_mut(&mut outcome.whole),
        };
        let mut altered_items = Vec::new();
        for (index, execution) in executions.iter_mut().enumerate() {
            let waited = looped && execution.is_for_inventory();
            for effect in std::mem::take(&mut execution.effects) {
                let delegation = execution.delegation.as_ref();
                let altered = self.apply(batch, running, host, delegation, &effect)?;
                if altered {
                    let changed = execution.changed_if_altered.unwrap_or(true);
                    execution.set("changed", changed);
                    if changed {
                        altered_items.push(index);
                    }
                }
            }
            if waited {
                let told = super::task::item_result(host, &running.info, execution);
                self.world.tell(Event::ItemFinished(told));
            }
        }
        if !altered_items.is_empty() {
            outcome.set_changed(&altered_items);
        }
        Ok(())
    }

    /// Applies one effect; tells whether the inventory changed.
    fn apply(
        &mut self,
        batch: &Batch,
        running: &Running,
        host: &Arc<str>,
        delegation: Option<&Delegation>,
        effect: &Effect,
    ) -> Result<bool, Error> {
        let targets = match delegation {
            Some(to) if to.facts => vec![Arc::clone(&to.host)],
            _ => self.hosts_meant(batch, running, host),
        };
        match effect {
            Effect::Facts(facts) => {
                for target in &targets {
                    self.inventories.set_facts(target, facts);
                }
            }
            Effect::SetFacts { facts, cacheable } => {
                for target in &targets {
                    if *cacheable {
                        self.inventories.set_facts(target, facts);
                    }
                    self.inventories.set_variables(target, facts);
                }
            }
            Effect::IncludeVars(vars) => {
                for target in &targets {
                    self.inventories.include_vars(target, vars);
                }
            }
            Effect::AddHost {
                name,
                groups,
                variables,
            } => return self.inventories.add_host(name, groups, variables),
            Effect::AddToGroup { group, parents } => {
                return self.inventories.add_to_group(host, group, parents);
            }
            Effect::Stats {
                data,
                per_host,
                aggregate,
            } => {
                if *per_host {
                    for target in &targets {
                        self.recap.set_stats(Some(target), data, *aggregate);
                    }
                } else {
                    self.recap.set_stats(None, data, *aggregate);
                }
            }
        }
        Ok(false)
    }

    /// Remembers the notifications of a changed task, or runs their handlers in this very flush.
    fn notify(
        &mut self,
        batch: &mut Batch,
        host: &Arc<str>,
        outcome: &Outcome,
    ) -> Result<(), Error> {
        if outcome.status() != Status::Changed {
            return Ok(());
        }
        let names: Vec<Arc<str>> = outcome
            .executions()
            .iter()
            .flat_map(|execution| execution.notify.iter().cloned())
            .collect();
        for name in names {
            let found = self.handlers_called(batch, &name);
            if found.is_empty() {
                self.missing_handler(&name)?;
                continue;
            }
            let flushing = batch.states[host].is_flushing();
            let Some(state) = batch.states.get_mut(host) else {
                continue;
            };
            if flushing {
                for handler in found {
                    if state.notify_handler(handler.id) {
                        self.tell_notified(&handler, host);
                    }
                }
            } else {
                state.notify(&name);
                self.world.tell(Event::Verbose {
                    verbosity: 2,
                    host: None,
                    text: format!("Notification for handler {name} has been saved."),
                });
            }
        }
        Ok(())
    }

    fn missing_handler(&self, name: &str) -> Result<(), Error> {
        let message = format!(
            "The requested handler '{name}' was not found in either the main handlers list nor in \
             the listening handlers list"
        );
        if self.world.options.error_on_missing_handler {
            return Err(Error::new(ErrorKind::Usage, message));
        }
        self.world.tell(Event::Warning {
            message,
            mark: None,
        });
        Ok(())
    }

    /// Marks the handlers that a host notified since its last flush.
    pub(super) fn expand_notifications(&mut self, batch: &mut Batch, host: &Arc<str>) {
        let names = match batch.states.get_mut(host) {
            Some(state) => state.take_notifications(),
            None => return,
        };
        for name in names {
            for handler in self.handlers_called(batch, &name) {
                if batch.states[host].notify_handler(handler.id) {
                    self.tell_notified(&handler, host);
                }
            }
        }
    }

    fn tell_notified(&mut self, handler: &Arc<Task>, host: &Arc<str>) {
        let name = self.handler_name(handler).unwrap_or_default();
        let handler = match handler.role() {
            Some(role) => format!("{} : {name}", role.full_name()),
            None => name,
        };
        self.world.tell(Event::HandlerNotified {
            handler,
            host: Arc::clone(host),
        });
    }

    fn handlers_called(&mut self, batch: &Batch, notification: &str) -> Vec<Arc<Task>> {
        let named: Vec<Named> = batch
            .handlers
            .iter()
            .map(|handler| Named {
                handler: Arc::clone(handler),
                name: self.handler_name(handler),
            })
            .collect();
        handlers::notified(&named, notification)
    }

    fn handler_name(&mut self, handler: &Arc<Task>) -> Option<String> {
        let world = Arc::clone(&self.world);
        let inventories = &self.inventories;
        let render = |handler: &Task| {
            let node = handler.name.as_ref()?;
            let scope = inventories.task_scope(None, handler).ok()?;
            let renderer = Renderer {
                engine: &world.engine,
                scope: &*scope,
            };
            match renderer.text(Some(node)) {
                Ok(name) => name,
                Err(failure) => {
                    if handler.listen.is_empty() {
                        world.tell(Event::Warning {
                            message: format!(
                                "Handler '{}' is unusable because it has no listen topics and the \
                                 name could not be templated (host-specific variables are not \
                                 supported in handler names). The error: {}",
                                node.to_value(),
                                failure.brief()
                            ),
                            mark: None,
                        });
                    }
                    None
                }
            }
        };
        self.handler_names.of(handler, render).map(str::to_owned)
    }
}

/// Tells whether a task is a dynamic include, whose success is counted when it brought something.
pub(super) fn is_include(task: &Task) -> bool {
    matches!(
        task.action.kind,
        ActionKind::IncludeTasks { .. } | ActionKind::IncludeRole(_)
    )
}

/// Makes the result that reporters see.
pub(super) fn host_result(
    host: &Arc<str>,
    running: &Running,
    outcome: &Outcome,
    status: Status,
) -> TaskResult {
    let whole = &outcome.whole;
    TaskResult {
        host: Arc::clone(host),
        delegate: whole
            .delegation
            .as_ref()
            .map(|delegation| Arc::clone(&delegation.host)),
        task: Arc::clone(&running.info),
        status,
        result: outcome.shown(),
        item: None,
        error: whole.shown_error(),
        diff: whole.diff,
        steps: outcome.steps(),
    }
}
