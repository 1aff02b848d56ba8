//! The variables that say how a task's host is reached, where nobody set them: `ansible_user` of
//! `remote_user`, `ansible_host` of a host that is its own address.
//!
//! Playbooks read them whatever set the connection. As in Ansible they exist while a task runs
//! only: `hostvars`, `vars` and loops do not know them. It decides nothing about connections.

use std::sync::Arc;

use super::render::Renderer;
use super::world::Job;
use crate::playbook::Keyword;
use crate::template::{Binding, Scope};
use crate::value::Value;

/// Names of one thing. Where a variable has one of them, it has all.
const FAMILIES: &[&[&str]] = &[
    &["ansible_connection"],
    &["ansible_host", "ansible_ssh_host"],
    &["ansible_user", "ansible_ssh_user"],
    &["ansible_port", "ansible_ssh_port"],
    &["ansible_password", "ansible_ssh_pass"],
    &["ansible_private_key_file", "ansible_ssh_private_key_file"],
    &["ansible_timeout", "ansible_ssh_timeout"],
    &["ansible_shell_executable"],
];

/// The weakest variables of a task.
pub(super) struct Reach<'a> {
    pub(super) job: &'a Job,
    /// The host the task acts on.
    pub(super) host: &'a Arc<str>,
    /// The variables of that host.
    pub(super) variables: &'a dyn Scope,
}

impl Reach<'_> {
    /// Returns what the task, the command line or the configuration say.
    fn said(&self, name: &str) -> Option<Value> {
        let defaults = &self.job.world.options.connection;
        let word = |keyword| {
            let renderer = Renderer {
                engine: &self.job.engine,
                scope: self.variables,
            };
            // What cannot be read is told where the connection is made.
            renderer.word(&self.job.task.layer, keyword).ok().flatten()
        };
        match name {
            "ansible_connection" => {
                let named = word(Keyword::Connection);
                let named = named.unwrap_or_else(|| defaults.connection.clone());
                Some(match named.as_str() {
                    "smart" => "ssh".into(),
                    other => other.into(),
                })
            }
            "ansible_host" => Some(Value::from(&**self.host)),
            "ansible_user" => word(Keyword::RemoteUser)
                .or_else(|| defaults.remote_user.clone())
                .map(Value::from),
            "ansible_port" => defaults.port.map(|port| Value::Int(port.into())),
            "ansible_password" => defaults.password.clone().map(Value::from),
            "ansible_private_key_file" => {
                let file = defaults.private_key_file.as_ref()?;
                Some(file.to_string_lossy().as_ref().into())
            }
            "ansible_timeout" => Some(Value::Int(defaults.timeout.as_secs().into())),
            "ansible_shell_executable" => Some("/bin/sh".into()),
            _ => None,
        }
    }
}

impl Scope for Reach<'_> {
    fn get(&self, name: &str) -> Option<Binding> {
        let family = FAMILIES.iter().find(|family| family.contains(&name))?;
        let mut others = family.iter();
        others
            .find_map(|other| self.variables.get(other))
            .or_else(|| self.said(family[0]).map(Binding::Final))
    }

    fn names(&self) -> Vec<Arc<str>> {
        let names = FAMILIES.iter().copied().flatten();
        let known = names.filter(|name| self.get(name).is_some());
        known.map(|name| Arc::from(*name)).collect()
    }
}
