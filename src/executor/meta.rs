//! `meta`: actions on the run itself.

use std::sync::Arc;

use super::absorb::Running;
use super::batch::Batch;
use super::dispatcher::{Dispatcher, Stop};
use super::execution::{Execution, Outcome};
use super::render::Renderer;
use super::target::TargetReader;
use crate::error::Error;
use crate::event::{Event, Status, TaskInfo};
use crate::playbook::{Meta, Task};

/// What a meta action came to.
enum Said {
    /// It was done.
    Done(String),
    /// Its condition was false: the message, and the reason.
    Skipped(String, String),
}

impl Dispatcher<'_> {
    /// Runs a meta action for hosts in step; what acts on the whole play runs once.
    pub(super) async fn meta_for_all(
        &mut self,
        batch: &mut Batch,
        task: &Arc<Task>,
        meta: Meta,
        hosts: &[Arc<str>],
    ) -> Result<(), Stop> {
        let for_each = matches!(
            meta,
            Meta::Noop
                | Meta::ResetConnection
                | Meta::EndHost
                | Meta::FlushHandlers
                | Meta::EndRole
        );
        let hosts = if for_each { hosts } else { &hosts[..1] };
        for host in hosts {
            self.meta(batch, task, meta, host).await?;
        }
        if meta == Meta::FlushHandlers {
            batch.insert_handlers();
        }
        Ok(())
    }

    /// Runs a meta action for one host.
    pub(super) async fn meta(
        &mut self,
        batch: &mut Batch,
        task: &Arc<Task>,
        meta: Meta,
        host: &Arc<str>,
    ) -> Result<(), Stop> {
        let scope = self.inventories.task_scope(Some(host), task)?;
        let renderer = Renderer {
            engine: &self.world.engine,
            scope: &*scope,
        };
        // Each host's part is a step of its own to listeners.
        let info = TaskInfo {
            id: self.context.ids.next(),
            ..TaskInfo::clone(&self.task_info(task, &renderer))
        };
        let info = Arc::new(info);
        self.world.tell(Event::TaskStarted {
            task: Arc::clone(&info),
        });
        let conditional = !task.conditions().is_empty();
        let unconditional = matches!(
            meta,
            Meta::Noop | Meta::RefreshInventory | Meta::ResetConnection
        );
        if conditional && unconditional {
            self.world.tell(Event::Warning {
                message: format!("{} task does not support when conditional", meta.name()),
                mark: None,
            });
        }
        let wanted = unconditional
            || renderer
                .first_false(task.conditions())
                .map_err(|failure| failure.error(&task.mark))?
                .is_none();
        let said = if wanted {
            Said::Done(self.act(batch, task, meta, host).await?)
        } else {
            skipped(meta, host, task)
        };
        let (text, reason) = match said {
            Said::Done(text) => (text, None),
            Said::Skipped(message, reason) => (message, Some(reason)),
        };
        let shown = reason.as_ref().unwrap_or(&text).clone();
        self.world.tell(Event::Meta {
            text: shown,
            host: Some(Arc::clone(host)),
        });
        if let Some(reason) = reason {
            let mut execution = Execution::default();
            execution.set("msg", text);
            execution.set("skipped", true);
            execution.set("skip_reason", reason);
            let running = Running {
                task: Arc::clone(task),
                info,
                once: false,
            };
            let outcome = Outcome {
                whole: execution,
                items: None,
            };
            self.world
                .tell(Event::HostFinished(super::absorb::host_result(
                    host,
                    &running,
                    &outcome,
                    Status::Skipped,
                )));
        }
        Ok(())
    }

    async fn act(
        &mut self,
        batch: &mut Batch,
        task: &Arc<Task>,
        meta: Meta,
        host: &Arc<str>,
    ) -> Result<String, Stop> {
        let here: Vec<Arc<str>> = batch.hosts.clone();
        Ok(match meta {
            Meta::Noop => "noop".into(),
            Meta::FlushHandlers => {
                if batch.states[host].is_flushing() {
                    return Err(Error::usage("flush_handlers cannot be used as a handler")
                        .at(&task.mark)
                        .into());
                }
                self.flush(batch, host);
                format!("triggered running handlers for {host}")
            }
            Meta::RefreshInventory => {
                self.inventories.refresh()?;
                "inventory successfully refreshed".into()
            }
            Meta::ClearFacts => {
                for host in &here {
                    self.inventories.clear_facts(host);
                }
                "facts cleared".into()
            }
            Meta::ClearHostErrors => {
                for host in &here {
                    self.failed.shift_remove(host);
                    self.unreachable.shift_remove(host);
                    if let Some(state) = batch.states.get_mut(host) {
                        state.clear_errors();
                    }
                }
                "cleared host errors".into()
            }
            Meta::EndBatch | Meta::EndPlay => {
                for host in &here {
                    if !self.unreachable.contains(host) {
                        batch.end_host(host);
                    }
                }
                batch.end_play |= meta == Meta::EndPlay;
                let what = if meta == Meta::EndPlay {
                    "play"
                } else {
                    "batch"
                };
                format!("ending {what}")
            }
            Meta::EndHost => {
                batch.end_host(host);
                format!("ending play for {host}")
            }
            Meta::EndRole => {
                batch.end_role(host);
                let role = task.role().map(|role| role.name.clone());
                format!("ending role {} for {host}", role.unwrap_or_default())
            }
            Meta::ResetConnection => {
                self.reset_connection(task, host).await?;
                "reset connection".into()
            }
        })
    }

    /// Starts running the handlers a host notified.
    pub(super) fn flush(&mut self, batch: &mut Batch, host: &Arc<str>) {
        self.expand_notifications(batch, host);
        let handlers: Vec<_> = batch
            .handlers
            .iter()
            .map(super::plan::PlannedStep::task)
            .collect();
        if let Some(state) = batch.states.get_mut(host) {
            state.start_flush(handlers);
        }
    }

    async fn reset_connection(&mut self, task: &Task, host: &Arc<str>) -> Result<(), Error> {
        let scope = self.inventories.task_scope(Some(host), task)?;
        let target = TargetReader {
            renderer: Renderer {
                engine: &self.world.engine,
                scope: &*scope,
            },
            layer: &task.layer,
            options: &self.world.options,
            host,
        }
        .read()
        .map_err(|failure| failure.error(&task.mark))?;
        self.world.sessions.reset(&target).await;
        Ok(())
    }
}

fn skipped(meta: Meta, host: &str, task: &Task) -> Said {
    let name = meta.name();
    let reason = format!("{name} conditional evaluated to False");
    let role = task
        .role()
        .map(|role| role.name.clone())
        .unwrap_or_default();
    let reason = reason
        + &match meta {
            Meta::FlushHandlers => format!(", not running handlers for {host}"),
            Meta::ClearFacts => format!(", not clearing facts and fact cache for {host}"),
            Meta::ClearHostErrors => format!(", not clearing host error state for {host}"),
            Meta::EndBatch => ", continuing current batch".into(),
            Meta::EndPlay => ", continuing play".into(),
            Meta::EndHost => format!(", continuing execution for {host}"),
            Meta::EndRole => format!("continuing role {role} for {host}"),
            Meta::Noop | Meta::RefreshInventory | Meta::ResetConnection => String::new(),
        };
    let message = match meta {
        Meta::EndHost => {
            format!("end_host conditional evaluated to false, continuing execution for {host}")
        }
        _ => name.to_owned(),
    };
    Said::Skipped(message, reason)
}
