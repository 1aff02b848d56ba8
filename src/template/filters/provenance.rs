//! Ansible's own filters over where a value came from.
//!
//! They tell and name what is known of a text. No text becomes a template by being called good.

use super::super::finish::Finish;
use super::{Filter, data, running};
use crate::value::{Origin, Text, Value};

pub(super) const FILTERS: &[Filter] = &[
    data("ansible._protomatter.apply_trust", "", |call| {
        Ok(match &call.input {
            Value::String(text) => text.clone().from_origin(Origin::Trusted).into(),
            other => other.clone(),
        })
    }),
    data("ansible._protomatter.origin", "", |call| {
        let origin = call.input.as_text().and_then(Text::origin);
        Ok(match origin {
            Some(Origin::Written(mark)) => mark.to_string().into(),
            Some(Origin::Named(words)) => (&**words).into(),
            Some(Origin::Trusted) | None => Value::Null,
        })
    }),
    data("ansible._protomatter.tag_names", "", |call| {
        Ok(Value::list(
            call.input.as_text().map_or_else(Vec::new, Text::tags),
        ))
    }),
    running("ansible._protomatter.finalize", "", |frame, input, _, _| {
        Ok(frame.run.finish(&input)?.unwrap_or_default().into())
    }),
];
