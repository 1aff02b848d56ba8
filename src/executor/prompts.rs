//! `vars_prompt`: variables a play asks the user for.

use std::sync::Arc;

use super::dispatcher::{Dispatcher, Stop};
use super::prompt::{Answer, Prompt, Until};
use super::render::Renderer;
use super::world::Overlay;
use crate::error::Error;
use crate::event::Event;
use crate::playbook::{Play, VarsPrompt};
use crate::template::{Binding, Layers, Scope};
use crate::value::Value;

impl Dispatcher<'_> {
    /// Asks for the variables of a play, except those given as extra variables.
    pub(super) async fn ask_for_variables(&mut self, play: &Arc<Play>) -> Result<(), Stop> {
        for prompt in &play.vars_prompt {
            if self.inventories.is_extra(&prompt.name) {
                continue;
            }
            let value = self.ask_for(prompt).await?;
            self.inventories.answer(&prompt.name, value);
        }
        Ok(())
    }

    async fn ask_for(&mut self, prompt: &VarsPrompt) -> Result<Value, Stop> {
        let world = Arc::clone(&self.world);
        let scope = self.inventories.play_scope()?;
        let renderer = Renderer {
            engine: &world.engine,
            scope: &*scope,
        };
        let read = |node: &Option<_>| -> Result<Option<Value>, Error> {
            match node {
                Some(node) => renderer
                    .value(node)
                    .map_err(|failure| failure.error(&crate::source::Mark::clone(&node.mark))),
                None => Ok(None),
            }
        };
        let default = read(&prompt.default)?.filter(|value| !matches!(value, Value::Null));
        let text =
            read(&prompt.prompt)?.map_or_else(|| prompt.name.clone(), |text| text.to_string());
        let text = match &default {
            Some(default) => format!("{text} [{default}]: "),
            None => format!("{text}: "),
        };
        if !self.world.prompter.is_interactive() {
            self.world.tell(Event::Warning {
                message: "Not prompting as we are not in interactive mode".into(),
                mark: None,
            });
            // Ansible makes a text of Python's None, and playbooks compare with it.
            return Ok(default.unwrap_or_else(|| "None".into()));
        }
        let typed = self.typed(prompt, text).await?;
        let value = match default {
            Some(default) if typed.is_empty() => default,
            _ => typed.into(),
        };
        match read(&prompt.encrypt)? {
            Some(hash) => {
                let salt = read(&prompt.salt)?;
                let salt_size = read(&prompt.salt_size)?;
                self.encrypted(&value, &hash, salt, salt_size, &*scope)
            }
            None => Ok(value),
        }
    }

    async fn typed(&mut self, prompt: &VarsPrompt, text: String) -> Result<String, Stop> {
        loop {
            let typed = self.ask(prompt, &text).await?;
            if !prompt.confirm {
                return Ok(typed);
            }
            if self.ask(prompt, &format!("confirm {text}")).await? == typed {
                return Ok(typed);
            }
            self.world.tell(Event::Prompt {
                text: "***** VALUES ENTERED DO NOT MATCH ****".into(),
            });
        }
    }

    async fn ask(&mut self, prompt: &VarsPrompt, text: &str) -> Result<String, Stop> {
        let question = Prompt {
            text: text.to_owned(),
            echo: !prompt.private,
            timeout: None,
            until: Until::Line,
        };
        let prompter = Arc::clone(&self.world.prompter);
        let asking = tokio::task::spawn_blocking(move || prompter.ask(&question));
        match asking.await {
            Ok(Answer::Text(text)) => Ok(text),
            Ok(Answer::TimedOut | Answer::NoTerminal) => Ok(String::new()),
            Ok(Answer::Aborted) | Err(_) => Err(Stop::Cancelled),
        }
    }

    /// Hashes an answer as the filter `password_hash` does.
    fn encrypted(
        &self,
        value: &Value,
        hash: &Value,
        salt: Option<Value>,
        salt_size: Option<Value>,
        scope: &dyn Scope,
    ) -> Result<Value, Stop> {
        let mut given = Overlay::new();
        let mut bind = |name: &str, value: Value| {
            given.insert(name.into(), Binding::Final(value));
        };
        bind("answer", value.clone());
        bind("hash", hash.to_string().trim_end_matches("_crypt").into());
        bind("salt", salt.unwrap_or_default());
        bind("salt_size", salt_size.unwrap_or_default());
        let scope = Layers::new([&given as &dyn Scope, scope]);
        let expression = "answer | password_hash(hash, salt=salt, salt_size=salt_size)";
        let hashed = self.world.engine.expression(expression, &scope);
        Ok(hashed.map_err(Error::from)?)
    }
}
