//! Runs playbooks: plays in sequence, hosts side by side, one task after the other on each.
//!
//! Emits [`event::Event`](crate::event::Event)s and never prints; asks through a [`Prompter`].

mod options;
mod prompt;

pub use options::{BecomeDefaults, ConnectionDefaults, Gathering, RunOptions};
pub use prompt::{Answer, Prompt, Prompter, Unattended};
