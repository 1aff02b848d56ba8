//! How a task reaches its target: connection and become settings from variables, keywords and
//! the run's options, in Ansible's order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;
use super::options::RunOptions;
use super::render::Renderer;
use super::session::{Become, Target};
use crate::agent::bootstrap::Method;
use crate::playbook::{Keyword, Layer, to_integer, to_number};
use crate::transport::{ConnectionKind, Endpoint, Secret};
use crate::value::Value;

/// Reads the settings of one target.
pub(super) struct TargetReader<'a> {
    /// The variables of the target's host, with the task's own on top.
    pub(super) renderer: Renderer<'a>,
    pub(super) layer: &'a Layer,
    pub(super) options: &'a RunOptions,
    pub(super) host: &'a Arc<str>,
}

impl TargetReader<'_> {
    /// Reads where the target is and who tasks run as there.
    pub(super) fn read(&self) -> Result<Target, Failure> {
        let endpoint = self.endpoint()?;
        let login = match endpoint.kind {
            ConnectionKind::Local => Some(&self.options.user),
            _ => endpoint.user.as_ref(),
        };
        let allow_same_user = self.options.become_defaults.allow_same_user;
        // A method that nobody knows is told also where nobody has to become anybody.
        let become_user = self.become_user()?.filter(|wanted| {
            allow_same_user
                || Some(&wanted.user) != login
                || Method::named(&wanted.method).is_none()
        });
        Ok(Target {
            endpoint,
            become_user,
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let defaults = &self.options.connection;
        let kind = self.kind()?;
        let mut endpoint = Endpoint::ssh(self.host);
        endpoint.kind = kind;
        if let Some(address) = self.text(&["ansible_host", "ansible_ssh_host"])? {
            endpoint.address = address;
        }
        endpoint.port = match self
            .renderer
            .first_variable(&["ansible_port", "ansible_ssh_port"])?
        {
            Some(port) => Some(self.port(&port)?),
            None => match self.renderer.number(self.layer, Keyword::Port)? {
                Some(port) => Some(self.port(&Value::Int(port))?),
                None => defaults.port,
            },
        };
        endpoint.user = match self.text(&["ansible_user", "ansible_ssh_user"])? {
            Some(user) => Some(user),
            None => self
                .renderer
                .word(self.layer, Keyword::RemoteUser)?
                .or_else(|| defaults.remote_user.clone()),
        };
        endpoint.password = self
            .text(&[
                "ansible_password",
                "ansible_ssh_pass",
                "ansible_ssh_password",
            ])?
            .or_else(|| defaults.password.clone())
            .map(Secret::new);
        endpoint.private_key_file = self
            .text(&["ansible_private_key_file", "ansible_ssh_private_key_file"])?
            .map(PathBuf::from)
            .or_else(|| defaults.private_key_file.clone());
        endpoint.private_key = self
            .text(&["ansible_private_key", "ansible_ssh_private_key"])?
            .map(Secret::new);
        endpoint.passphrase = self
            .text(&[
                "ansible_private_key_passphrase",
                "ansible_ssh_private_key_passphrase",
            ])?
            .map(Secret::new);
        let or = |said: Option<String>, default: &String| said.unwrap_or_else(|| default.clone());
        endpoint.ssh_args = or(self.text(&["ansible_ssh_args"])?, &defaults.ssh_args);
        endpoint.ssh_common_args = or(
            self.text(&["ansible_ssh_common_args"])?,
            &defaults.ssh_common_args,
        );
        endpoint.ssh_extra_args = or(
            self.text(&["ansible_ssh_extra_args"])?,
            &defaults.ssh_extra_args,
        );
        endpoint.host_key_checking = self
            .flag(&["ansible_host_key_checking", "ansible_ssh_host_key_checking"])?
            .unwrap_or(defaults.host_key_checking);
        // As in Ansible, relative paths of this machine are the playbook's.
        if endpoint.kind == ConnectionKind::Local {
            endpoint.directory = self
                .text(&["playbook_dir"])?
                .map(|directory| self.options.working_directory.join(directory))
                .filter(|directory| directory.is_dir());
        }
        endpoint.timeout = self
            .seconds(&["ansible_ssh_timeout", "ansible_timeout"])?
            .unwrap_or(defaults.timeout);
        endpoint.retries = match self
            .renderer
            .first_variable(&["ansible_ssh_retries"])?
            .and_then(|value| to_integer(&value))
            .and_then(|retries| u32::try_from(retries).ok())
        {
            Some(retries) => retries,
            None => defaults.retries,
        };
        Ok(endpoint)
    }

    fn kind(&self) -> Result<ConnectionKind, Failure> {
        let name = match self.text(&["ansible_connection"])? {
            Some(name) => name,
            None => self
                .renderer
                .word(self.layer, Keyword::Connection)?
                .unwrap_or_else(|| self.options.connection.connection.clone()),
        };
        match name
            .trim_start_matches("ansible.builtin.")
            .trim_start_matches("ansible.legacy.")
        {
            "ssh" | "smart" | "paramiko" | "paramiko_ssh" => Ok(ConnectionKind::Ssh),
            "local" => Ok(ConnectionKind::Local),
            "sandbox" => Ok(ConnectionKind::Sandbox {
                root: match self.text(&["ansible_sandbox_root"])? {
                    Some(root) => self.expand(&root),
                    None => self.options.sandbox_root.join(&**self.host),
                },
            }),
            _ => Err(
                Failure::new(format!("the connection plugin '{name}' was not found"))
                    .help("use ssh, local or sandbox"),
            ),
        }
    }

    fn expand(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.options.home.join(rest),
            None => self.options.working_directory.join(path),
        }
    }

    fn port(&self, value: &Value) -> Result<u16, Failure> {
        to_integer(value)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| {
                Failure::new(format!(
                    "`{value}` is no port number of host '{}'",
                    self.host
                ))
            })
    }

    /// Reads who tasks run as; `None` is the login user.
    fn become_user(&self) -> Result<Option<Become>, Failure> {
        let defaults = &self.options.become_defaults;
        let enabled = match self.flag(&["ansible_become"])? {
            Some(enabled) => enabled,
            None => self
                .renderer
                .flag(self.layer, Keyword::Become)?
                .unwrap_or(defaults.enabled),
        };
        if !enabled {
            return Ok(None);
        }
        let method = match self.text(&["ansible_become_method"])? {
            Some(method) => method,
            None => self
                .renderer
                .word(self.layer, Keyword::BecomeMethod)?
                .unwrap_or_else(|| defaults.method.clone()),
        };
        let method = method.trim_start_matches("ansible.builtin.").to_owned();
        let defaults = self.options.become_defaults.of(&method);
        let of_method = |what: &str| format!("ansible_{method}_{what}");
        let setting = |what: &str, keyword, default: &Option<String>| {
            let variables = [&*of_method(what), &*format!("ansible_become_{what}")];
            if let Some(text) = self.text(&variables)? {
                return Ok::<_, Failure>(Some(text));
            }
            let said = self.renderer.word(self.layer, keyword)?;
            Ok(said.or_else(|| default.clone()))
        };
        let user = setting("user", Keyword::BecomeUser, &defaults.user)?;
        let password = self
            .text(&[
                &of_method("pass"),
                "ansible_become_pass",
                "ansible_become_password",
            ])?
            .or_else(|| defaults.password.clone());
        let directory = self
            .text(&[&of_method("chdir")])?
            .or_else(|| defaults.directory.clone());
        let patience = match self.kind()? {
            ConnectionKind::Local => self.seconds(&["ansible_local_become_success_timeout"])?,
            _ => None,
        };
        Ok(Some(Become {
            user: user.unwrap_or_else(|| "root".into()),
            flags: setting("flags", Keyword::BecomeFlags, &defaults.flags)?,
            executable: setting("exe", Keyword::BecomeExe, &defaults.executable)?,
            password: password.map(Secret::new),
            directory: directory.filter(|directory| !directory.is_empty()),
            prompts: self
                .texts(&of_method("prompt_l10n"))?
                .unwrap_or_else(|| defaults.prompts.clone()),
            patience,
            method,
        }))
    }

    fn text(&self, names: &[&str]) -> Result<Option<String>, Failure> {
        let value = self.renderer.first_variable(names)?;
        Ok(value.map(|value| value.to_string()))
    }

    /// Reads a list of texts, or one text with commas.
    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let value = self.renderer.first_variable(&[name])?;
        Ok(value.map(|value| match value {
            Value::List(list) => list.iter().map(ToString::to_string).collect(),
            one => one
                .to_string()
                .split(',')
                .map(|text| text.trim().to_owned())
                .collect(),
        }))
    }

    fn seconds(&self, names: &[&str]) -> Result<Option<Duration>, Failure> {
        let value = self.renderer.first_variable(names)?;
        Ok(value
            .and_then(|value| to_number(&value))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }

    fn flag(&self, names: &[&str]) -> Result<Option<bool>, Failure> {
        let value = self.renderer.first_variable(names)?;
        Ok(value.map(|value| value.to_soft_bool().unwrap_or_else(|| value.is_truthy())))
    }
}
