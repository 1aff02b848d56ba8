//! The agent: the same binary on the target, and the controller's end of talking to it.
//!
//! `serve` runs on the target and knows no controller code; `client` runs on the controller over
//! any pair of byte streams and knows no transport.

pub mod bootstrap;
pub mod client;
pub mod contents;
pub mod frame;
pub mod guardian;
pub mod protocol;
pub mod serve;

#[cfg(test)]
mod tests;
