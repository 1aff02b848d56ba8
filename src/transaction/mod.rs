//! Transactions: what it takes to put a host back where it was.
//!
//! Knows no module, no transport and no executor.

pub mod coordinator;
pub mod generations;
pub mod journal;
pub mod lock;
pub mod log;
mod path_text;
pub mod state;
pub mod store;
