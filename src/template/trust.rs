//! Texts that look like templates in data, which no template is made of, and texts that should not
//! be used any more: what the user is told when one is read.

use std::rc::Rc;

use super::frame::Frame;
use super::is_template;
use super::run::Run;
use super::runtime::{Evaluated, Val};
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::{Text, Value};

/// What Ansible says of a text that would have to be a template.
pub(super) const UNTRUSTED: &str = "Encountered untrusted template or expression.";
pub(super) const TRUST: &str = "Templates and expressions must be defined by trusted sources such as playbooks or roles, not \
     untrusted sources such as module results.";

/// What happens when data that looks like a template is read: it stays as it is, whatever is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Untrusted {
    #[default]
    Ignore,
    Warn,
    Fail,
}

impl Run<'_> {
    /// Tells of data among what a source node holds.
    pub(super) fn holds(&self, node: &Node) -> Evaluated<()> {
        match &node.kind {
            Kind::Unsafe(text) => self.untrusted(text, Some(&node.mark)),
            _ => Ok(()),
        }
    }

    fn untrusted(&self, text: &str, mark: Option<&Mark>) -> Evaluated<()> {
        let behaviour = self.engine.untrusted;
        if behaviour == Untrusted::Ignore || !is_template(text) {
            return Ok(());
        }
        if behaviour == Untrusted::Fail {
            let mut fault = self.failure(UNTRUSTED);
            if let Some(fault) = Rc::get_mut(&mut fault) {
                fault.help = Some(TRUST.into());
            }
            return Err(fault);
        }
        let message = match mark {
            Some(_) => UNTRUSTED.to_owned(),
            None => format!("{UNTRUSTED}\nOrigin: <unknown>\n\n{text}\n\n{TRUST}\n"),
        };
        self.engine.services().warn(message, mark);
        Ok(())
    }
}

impl Frame<'_> {
    /// Tells what is to be told of a value that is read here.
    pub(super) fn reads(&self, val: Val) -> Evaluated {
        if let Val::Data(Value::String(text)) = &val {
            self.reads_text(text)?;
        }
        Ok(val)
    }

    fn reads_text(&self, text: &Text) -> Evaluated<()> {
        if let Some(deprecation) = text.deprecation()
            && let Some(mark) = self
                .origin
                .mark(None)
                .or_else(|| self.run.asked_at.cloned())
        {
            let services = self.run.engine.services();
            services.deprecate(deprecation.message.clone(), &mark);
        }
        match text.origin() {
            Some(_) => Ok(()),
            None => self.run.untrusted(text, None),
        }
    }
}
