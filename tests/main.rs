//! The one integration test binary; each file below is a user-visible feature.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod cut;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod deploy;
#[cfg(test)]
mod diagnosis;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod modules;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod notices;
#[cfg(test)]
mod play;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod playbooks;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod runners;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod secrets;
#[cfg(test)]
mod template;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program and writes what it needs"
)]
mod transaction;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod yaml;
