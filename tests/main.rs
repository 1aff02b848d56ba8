//! The one integration test binary; each file below is a user-visible feature.

mod agent;
mod arrows;
mod inventory;
#[cfg(test)]
mod modules;
mod template;
#[cfg(test)]
mod transport;
mod yaml;
