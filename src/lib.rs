//! backstay: runs Ansible playbooks over SSH from one static binary, and can undo them.
//!
//! The rooms and their arrows are described in ARCHITECTURE.md.

pub mod agent;
pub mod arguments;
pub mod cli;
pub mod config;
pub mod crypt;
pub mod diagnosis;
pub mod error;
pub mod event;
pub mod executor;
pub mod inventory;
pub mod lookups;
pub mod machine;
pub mod modules;
pub mod node;
pub mod playbook;
pub mod pyregex;
pub mod redactor;
pub mod report;
pub mod source;
pub mod template;
pub mod transaction;
pub mod transport;
pub mod value;
pub mod vars;
pub mod vault;
pub mod yaml;
