//! The filters of ansible.builtin and Jinja, one family a file.
//!
//! Most work on final values alone; those that read lazily, keep `omit` or call other filters
//! run on the values of the render.

mod collections;
mod crypto;
mod links;
mod math;
mod merging;
mod network;
mod ordering;
mod paths;
mod provenance;
pub(super) mod regex;
mod selection;
pub(super) mod serial;
mod sets;
mod text;
mod time;
mod values;

pub use crypto::hash_password;
pub use text::quote;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::call::{Bound, Call, Parameters, Takes};
use super::frame::Frame;
use super::runtime::{Evaluated, Val};
use super::syntax::Place;
use crate::value::Value;

/// One filter.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) parameters: Parameters,
    /// Which inputs and arguments without data are its business.
    pub(super) takes: Takes,
    pub(super) body: FilterBody,
}

#[derive(Debug)]
pub(super) enum FilterBody {
    /// Works on final values.
    Data(fn(&Call<'_>) -> Result<Value, String>),
    /// Works on the values of the render.
    Running(fn(&mut Frame<'_>, Val, Bound<Val>, Place) -> Evaluated),
}

const fn data(
    name: &'static str,
    parameters: &'static str,
    function: fn(&Call<'_>) -> Result<Value, String>,
) -> Filter {
    Filter {
        name,
        parameters: Parameters::new(parameters),
        takes: Takes::Data,
        body: FilterBody::Data(function),
    }
}

const fn running(
    name: &'static str,
    parameters: &'static str,
    function: fn(&mut Frame<'_>, Val, Bound<Val>, Place) -> Evaluated,
) -> Filter {
    Filter {
        name,
        parameters: Parameters::new(parameters),
        takes: Takes::Data,
        body: FilterBody::Running(function),
    }
}

impl Filter {
    const fn with_undefined(mut self) -> Self {
        self.takes = Takes::Undefined;
        self
    }

    const fn with_vaulted(mut self) -> Self {
        self.takes = Takes::Vaulted;
        self
    }
}

const FAMILIES: [&[Filter]; 16] = [
    collections::FILTERS,
    crypto::FILTERS,
    links::FILTERS,
    math::FILTERS,
    merging::FILTERS,
    network::FILTERS,
    ordering::FILTERS,
    paths::FILTERS,
    provenance::FILTERS,
    regex::FILTERS,
    selection::FILTERS,
    serial::FILTERS,
    sets::FILTERS,
    text::FILTERS,
    time::FILTERS,
    values::FILTERS,
];

fn table() -> &'static HashMap<&'static str, &'static Filter> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Filter>> = OnceLock::new();
    TABLE.get_or_init(|| {
        FAMILIES
            .iter()
            .flat_map(|family| family.iter())
            .map(|filter| (filter.name, filter))
            .collect()
    })
}

/// Returns the filter of that name, short or full.
pub(super) fn find(name: &str) -> Option<&'static Filter> {
    let short = name
        .strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name);
    table().get(short).copied()
}

/// Returns the names of all filters.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    table().keys().copied()
}
