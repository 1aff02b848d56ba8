//! Which handlers a notification means.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::playbook::Task;

/// The names of handlers, rendered once in a run. A handler whose name cannot be rendered has
/// none, and is reached by its topics alone.
#[derive(Debug, Default)]
pub(super) struct HandlerNames(HashMap<u64, Option<String>>);

impl HandlerNames {
    /// Returns the name of `handler`, asking `render` the first time.
    pub(super) fn of(
        &mut self,
        handler: &Task,
        render: impl FnOnce(&Task) -> Option<String>,
    ) -> Option<&str> {
        self.0
            .entry(handler.id)
            .or_insert_with(|| render(handler))
            .as_deref()
    }
}

/// A handler with its rendered name.
pub(super) struct Named {
    pub(super) handler: Arc<Task>,
    pub(super) name: Option<String>,
}

/// Finds the handlers that `notification` means among all, given in the order of the play: of one
/// name the first that stands in the last place that has one, where a place is a role or the play;
/// and those that listen to it.
pub(super) fn notified(handlers: &[Named], notification: &str) -> Vec<Arc<Task>> {
    let places: Vec<&[Named]> = handlers.chunk_by(Named::stands_beside).collect();
    let by_place = || places.iter().rev().copied().flatten();
    let mut found: Vec<Arc<Task>> = by_place()
        .find(|named| named.is_called(notification))
        .map(|named| Arc::clone(&named.handler))
        .into_iter()
        .collect();
    let mut seen = HashSet::new();
    for named in by_place() {
        if !named
            .handler
            .listen
            .iter()
            .any(|topic| topic == notification)
        {
            continue;
        }
        let is_new = match &named.name {
            Some(name) => seen.insert(name.clone()),
            None => true,
        };
        if is_new && !found.iter().any(|known| known.id == named.handler.id) {
            found.push(Arc::clone(&named.handler));
        }
    }
    found
}

impl Named {
    fn stands_beside(&self, other: &Self) -> bool {
        match (self.handler.role(), other.handler.role()) {
            (Some(role), Some(other)) => Arc::ptr_eq(role, other),
            (role, other) => role.is_none() && other.is_none(),
        }
    }

    fn is_called(&self, notification: &str) -> bool {
        let Some(name) = &self.name else {
            return false;
        };
        if name == notification {
            return true;
        }
        self.handler.role().is_some_and(|role| {
            notification == format!("{} : {name}", role.name)
                || notification == format!("{} : {name}", role.full_name())
        })
    }
}
