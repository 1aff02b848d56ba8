//! Ansible's own tests of where a value came from, by the names of its tags.

use super::{Check, data};
use crate::error::nearest;
use crate::value::Text;

pub(super) const CHECKS: &[Check] = &[
    data("ansible._protomatter.tagged", "", |call| {
        Ok(call
            .input
            .as_text()
            .is_some_and(|text| !text.tags().is_empty()))
    }),
    data("ansible._protomatter.tagged_with", "tag_name!", |call| {
        let name = call.required(0).to_string();
        if !Text::TAGS.contains(&&*name) {
            let near = nearest(&name, Text::TAGS)
                .map(|near| format!(" Did you mean '{near}'?"))
                .unwrap_or_default();
            return Err(format!("Unknown tag name '{name}'.{near}"));
        }
        let tags = call.input.as_text().map_or_else(Vec::new, Text::tags);
        Ok(tags.contains(&&*name))
    }),
];
