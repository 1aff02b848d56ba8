//! Dynamic includes: loading what an `include_tasks` or `include_role` brings, during the run.

use std::path::Path;
use std::sync::Arc;

use super::super::context::Context;
use super::super::layer::{Target, Vars};
use super::super::play::{Item, Play};
use super::super::role::Role;
use super::super::search::{self, TaskPart};
use super::super::task::{ActionKind, IncludeRole, Task};
use super::role::Request;
use super::tasks::{handlers_of, include_layer};
use super::{Around, Loading};
use crate::error::{Error, Result};
use crate::node::{Kind, Node};
use crate::value::Map;

/// Loads the file that an `include_tasks` names; `file` is the rendered name, `bound` what the
/// loop bound. For a handler that includes, the items are handlers.
pub fn include_tasks(
    context: &Context<'_>,
    play: &Play,
    task: &Task,
    file: &str,
    bound: Map,
) -> Result<Vec<Item>, Vec<Error>> {
    let mut loading = during(context, play);
    let (written, apply) = match &task.action.kind {
        ActionKind::IncludeTasks { file, apply } => (file, apply.as_ref()),
        _ => (&task.action.written, None),
    };
    let part = TaskPart {
        handlers: task.handler,
        dynamic: true,
    };
    let parent = task.layer.parent.as_ref().unwrap_or(&task.layer);
    let items = match search::task_file(context, &play.directory, parent, part, file) {
        Ok(path) => {
            let target = Target::File(file.into());
            let layer = include_layer(task, target, Arc::new(bound), Arc::clone(&task.layer.vars));
            let layer = loading.apply_layer(apply, layer);
            let around = Around {
                directory: &play.directory,
                layer: &layer,
                handlers: task.handler,
                // The run is under way: a wrong option fails its own task.
                tolerated: true,
            };
            loading.included_list(&path, written, around)
        }
        Err(last) => {
            loading.missing_file(written, &last);
            Vec::new()
        }
    };
    loading.finish(|_| {
        if task.handler {
            handlers_of(&items).into_iter().map(Item::Task).collect()
        } else {
            items
        }
    })
}

/// A rendered `include_role`.
#[derive(Clone, Debug, Default)]
pub struct RoleRequest {
    pub name: String,
    pub tasks_from: Option<String>,
    pub vars_from: Option<String>,
    pub defaults_from: Option<String>,
    pub handlers_from: Option<String>,
    pub public: Option<bool>,
    pub allow_duplicates: Option<bool>,
    pub rolespec_validate: Option<bool>,
}

/// What an `include_role` brought.
#[derive(Debug)]
pub struct IncludedRole {
    pub role: Arc<Role>,
    pub items: Vec<Item>,
    /// The handlers to add to the play's: of this role, and of those its tasks import.
    pub handlers: Vec<Arc<Task>>,
    /// The roles to add to the play's: this one, and those its tasks import.
    pub roles: Vec<Arc<Role>>,
}

/// Loads the role that an `include_role` names; `bound` is what the loop bound.
pub fn include_role(
    context: &Context<'_>,
    play: &Play,
    task: &Task,
    request: &RoleRequest,
    bound: Map,
) -> Result<IncludedRole, Vec<Error>> {
    let mut loading = during(context, play);
    let written = match &task.action.kind {
        ActionKind::IncludeRole(written) => IncludeRole::clone(written),
        _ => bare(task.action.written.clone()),
    };
    let apply = written.apply.clone();
    let parent = task.layer.parent.as_ref().unwrap_or(&task.layer);
    let around = Around {
        directory: &play.directory,
        layer: parent,
        handlers: false,
        tolerated: true,
    };
    let found = loading.find_role(
        rendered(context, task, written, request),
        around,
        None,
        &mut Vec::new(),
    );
    let Some(found) = found else {
        return Err(loading.errors);
    };
    let role = Arc::clone(&found.role);
    let vars = Arc::clone(&task.layer.vars);
    let layer = include_layer(task, Target::Role(Arc::clone(&role)), Arc::new(bound), vars);
    let layer = loading.apply_layer(apply.as_ref(), layer);
    let (items, own_handlers) = loading.expand(
        &found,
        Around {
            layer: &layer,
            ..around
        },
    );
    let handlers = [own_handlers, std::mem::take(&mut loading.handlers)].concat();
    let mut roles = vec![Arc::clone(&role)];
    roles.append(&mut loading.roles);
    loading.finish(|_| IncludedRole {
        role,
        items,
        handlers,
        roles,
    })
}

fn during<'a>(context: &'a Context<'a>, play: &Play) -> Loading<'a> {
    let mut loading = Loading::new(context);
    loading.play_files = loading.static_vars_files(&play.directory, &play.vars_files);
    loading
}

fn rendered(
    context: &Context<'_>,
    task: &Task,
    written: IncludeRole,
    request: &RoleRequest,
) -> Request {
    let name = |written: Option<Node>, rendered: &Option<String>| {
        let mark = written.map_or_else(|| task.mark.clone(), |node| node.mark);
        rendered
            .as_ref()
            .map(|text| Node::new(mark, Kind::Unsafe(text.as_str().into())))
    };
    let mark = written.name.mark.clone();
    let include = IncludeRole {
        tasks_from: name(written.tasks_from, &request.tasks_from),
        vars_from: name(written.vars_from, &request.vars_from),
        defaults_from: name(written.defaults_from, &request.defaults_from),
        handlers_from: name(written.handlers_from, &request.handlers_from),
        rolespec_validate: request
            .rolespec_validate
            .map(|flag| Node::new(mark.clone(), Kind::Bool(flag))),
        ..bare(written.name)
    };
    Request {
        name: request.name.clone(),
        mark,
        keywords: Vec::new(),
        params: Arc::new(Vars::new()),
        use_vars: Arc::clone(&task.layer.vars),
        include: Some(include),
        public: request
            .public
            .unwrap_or(context.private_role_vars == Some(false)),
        allow_duplicates: Some(request.allow_duplicates.unwrap_or(true)),
    }
}

fn bare(name: Node) -> IncludeRole {
    IncludeRole {
        name,
        tasks_from: None,
        vars_from: None,
        defaults_from: None,
        handlers_from: None,
        apply: None,
        public: None,
        allow_duplicates: None,
        rolespec_validate: None,
    }
}

impl Loading<'_> {
    fn included_list(&mut self, path: &Path, written: &Node, around: Around<'_>) -> Vec<Item> {
        self.read(path, Some(&written.mark))
            .map_or_else(Vec::new, |root| self.items(&root, around))
    }
}
