//! Dynamic includes: what `include_tasks` and `include_role` bring, for the hosts that ask.

use std::sync::Arc;

use super::batch::Batch;
use super::dispatcher::{Dispatcher, Finished, Stop};
use super::execution::{CENSORED, Execution, Include};
use super::host::Step;
use super::plan::Planner;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Status, TaskResult};
use crate::playbook::{Item, RoleRequest, Task, TaskPart};
use crate::value::{Map, Value};

/// One file or role to bring in, and the hosts that ask for it.
struct Request {
    include: Include,
    bound: Map,
    label: Option<Value>,
    hosts: Vec<Arc<str>>,
}

/// What was brought.
struct Brought {
    what: String,
    items: Vec<Item>,
}

impl Dispatcher<'_> {
    /// Brings in what the results of `task` ask for, and puts it before the hosts' next steps.
    /// Returns the hosts for which that failed.
    pub(super) fn include(
        &mut self,
        batch: &mut Batch,
        task: &Arc<Task>,
        finished: &[Finished],
    ) -> Result<Vec<Arc<str>>, Stop> {
        let mut new_steps = Vec::new();
        let mut sections: Vec<(Arc<str>, Vec<_>)> = Vec::new();
        let mut failed: Vec<Arc<str>> = Vec::new();
        for request in requests(finished) {
            let brought = self.bring(batch, task, &request).and_then(|brought| {
                let refused = self.refused_of_include(&batch.play, &brought.items);
                if refused.is_empty() {
                    Ok(brought)
                } else {
                    Err(refused)
                }
            });
            let brought = match brought {
                Ok(brought) => brought,
                Err(errors) => {
                    self.include_failed(task, &request, &errors)?;
                    // A host whose other items fail too has failed once.
                    let new = request.hosts.into_iter();
                    let new: Vec<_> = new.filter(|host| !failed.contains(host)).collect();
                    failed.extend(new);
                    continue;
                }
            };
            for host in &request.hosts {
                self.recap.of(host).ok += 1;
            }
            self.world.tell(Event::Included {
                what: brought.what,
                hosts: request.hosts.clone(),
                item: request.label.clone(),
            });
            let planner = Planner {
                tags: &self.world.options.tags,
                ids: &self.context.ids,
            };
            let section = if task.handler {
                planner.included_handlers(&brought.items)
            } else {
                planner.included(&brought.items)
            };
            let Some(section) = section else {
                continue;
            };
            let mut steps = Vec::new();
            section.flatten_into(&mut steps);
            for host in &request.hosts {
                if task.handler
                    && let Some(state) = batch.states.get_mut(host)
                {
                    for step in &steps {
                        state.notify_handler(step.id());
                    }
                }
                match sections.iter_mut().find(|(known, _)| known == host) {
                    Some((_, all)) => all.push(Arc::clone(&section)),
                    None => sections.push((Arc::clone(host), vec![Arc::clone(&section)])),
                }
            }
            new_steps.extend(steps);
        }
        for host in &failed {
            batch.fail(host);
            if batch.states[host].is_failed() {
                self.failed.insert(Arc::clone(host));
            }
        }
        for (host, sections) in sections {
            if !failed.contains(&host) {
                batch.splice(&host, sections);
            }
        }
        batch.insert_steps(new_steps);
        Ok(failed)
    }

    fn bring(
        &mut self,
        batch: &mut Batch,
        task: &Task,
        request: &Request,
    ) -> Result<Brought, Vec<Error>> {
        let bound = request.bound.clone();
        match &request.include {
            Include::Tasks(file) => {
                let part = TaskPart {
                    handlers: task.handler,
                    dynamic: true,
                };
                let parent = task.layer.parent.as_ref().unwrap_or(&task.layer);
                let directory = &batch.play.directory;
                let found = crate::playbook::task_file(self.context, directory, parent, part, file);
                let path = found.map_err(|last| {
                    let last = last.display();
                    let sought = format!("Could not find or access '{last}' on the Ansible Controller");
                    vec![Error::content(format!(
                        "{sought}: Unable to retrieve file contents.\n{sought}.\nIf you are using a \
                         module and expect the file to exist on the remote, see the remote_src \
                         option: [Errno 2] No such file or directory: '{last}'"
                    ))]
                })?;
                let items =
                    crate::playbook::include_tasks(self.context, &batch.play, task, file, bound)?;
                Ok(Brought {
                    what: path.display().to_string(),
                    items,
                })
            }
            Include::Role { name, options } => {
                let role_request = role_request(name, options);
                let role = crate::playbook::include_role(
                    self.context,
                    &batch.play,
                    task,
                    &role_request,
                    bound,
                )?;
                for handler in role.handlers {
                    if !batch.handlers.iter().any(|known| known.id == handler.id) {
                        batch.handlers.push(handler);
                    }
                }
                self.inventories.add_roles(&role.roles);
                Ok(Brought {
                    what: name.clone(),
                    items: role.items,
                })
            }
        }
    }

    fn include_failed(
        &mut self,
        task: &Arc<Task>,
        request: &Request,
        errors: &[Error],
    ) -> Result<(), Error> {
        let Some(first) = errors.first() else {
            return Ok(());
        };
        for error in errors {
            let mut error = error.clone();
            error.kind = ErrorKind::TaskFailed;
            self.world.tell(Event::Failed(Arc::new(error)));
        }
        let mut execution = Execution::default();
        if let Include::Tasks(file) = &request.include {
            execution.set("include", file.as_str());
        }
        execution.set("changed", false);
        execution.set("failed", true);
        execution.set("reason", first.message.as_str());
        let scope = self.inventories.task_scope(request.hosts.first(), task)?;
        let info = self.task_info(
            task,
            &super::render::Renderer {
                engine: &self.world.engine,
                scope: &*scope,
            },
        );
        for host in &request.hosts {
            self.recap.of(host).failed += 1;
            self.world.tell(Event::HostFinished(TaskResult {
                host: Arc::clone(host),
                delegate: None,
                task: Arc::clone(&info),
                status: Status::Failed,
                result: execution.shown(),
                item: None,
                error: None,
                diff: false,
                steps: Vec::new(),
            }));
        }
        Ok(())
    }
}

/// Gathers what hosts ask for; hosts that ask for the same share it, and a host that asks for
/// the same twice gets it twice.
fn requests(finished: &[Finished]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for done in finished {
        if !matches!(done.outcome.status(), Status::Ok | Status::Changed)
            && done.outcome.items.is_none()
        {
            continue;
        }
        for execution in done.outcome.executions() {
            let Some(include) = &execution.include else {
                continue;
            };
            let same = requests.iter_mut().find(|request| {
                request.include == *include
                    && request.bound == execution.bound
                    && !request.hosts.contains(&done.host)
            });
            match same {
                Some(request) => request.hosts.push(Arc::clone(&done.host)),
                None => requests.push(Request {
                    include: include.clone(),
                    bound: execution.bound.clone(),
                    // As in Ansible also where there is no loop.
                    label: if execution.no_log {
                        Some(CENSORED.into())
                    } else {
                        execution.shown_label()
                    },
                    hosts: vec![Arc::clone(&done.host)],
                }),
            }
        }
    }
    requests
}

fn role_request(name: &str, options: &Map) -> RoleRequest {
    let text = |key: &str| options.get(key).map(Value::to_string);
    let flag = |key: &str| options.get(key).and_then(Value::to_soft_bool);
    RoleRequest {
        name: name.to_owned(),
        tasks_from: text("tasks_from"),
        vars_from: text("vars_from"),
        defaults_from: text("defaults_from"),
        handlers_from: text("handlers_from"),
        public: flag("public"),
        allow_duplicates: flag("allow_duplicates"),
        rolespec_validate: flag("rolespec_validate"),
    }
}
