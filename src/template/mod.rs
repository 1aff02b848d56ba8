//! Templates: Jinja as Ansible speaks it, over lazy marked source, with native types.
//!
//! minijinja reads the syntax; compiling, running and Python's semantics are ours, since
//! templates here change lists in place, know which name was undefined, and stay lazy. Only
//! source text is compiled; a [`Value`](crate::value::Value) never is. Knows nothing of plays,
//! hosts, files or processes: [`Services`] answers for the world.

mod call;
mod checks;
mod compile;
mod condition;
mod engine;
mod error;
mod expressions;
mod filters;
mod finish;
mod format;
mod frame;
mod functions;
mod header;
mod literals;
mod lookup;
mod loops;
mod methods;
mod operators;
mod python;
mod random;
mod run;
mod runtime;
mod scope;
mod services;
mod syntax;
mod trust;
mod version;

pub use engine::{Engine, Rendered, TemplateOptions};
pub use error::TemplateError;
pub use filters::{hash_password, quote};
pub use random::Seeded;
pub use scope::{Binding, Dynamic, Layers, Scope};
pub use services::{Isolated, LookupCall, LookupError, PathState, Reader, Services};
pub use trust::Untrusted;

/// Lists the short names of all filters, sorted.
pub fn filter_names() -> Vec<&'static str> {
    sorted(filters::names())
}

/// Lists the short names of all tests, sorted.
pub fn test_names() -> Vec<&'static str> {
    sorted(checks::names())
}

fn sorted(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Tells whether a text holds template syntax, so that reading it means compiling it.
pub fn is_template(text: &str) -> bool {
    text.starts_with("#jinja2:")
        || text
            .match_indices('{')
            .any(|(at, _)| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}
