//! Transactions: what it takes to put a host back where it was.
//!
//! Knows no module, no transport and no executor.

pub mod coordinator;
pub mod journal;
pub mod lock;
pub mod state;
