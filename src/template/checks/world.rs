//! Tests that ask about paths of the controller, URLs and vaulted text.

use std::rc::Rc;

use super::super::call::Call;
use super::super::filters::serial::Url;
use super::super::runtime::{Val, Words};
use super::super::services::PathState;
use super::{Check, data, running};
use crate::value::Value;

pub(super) const CHECKS: &[Check] = &[
    data("directory", "", |call| {
        Ok(at(call, true, |state| state.is_dir))
    }),
    data("is_dir", "", |call| {
        Ok(at(call, true, |state| state.is_dir))
    }),
    data("file", "", |call| Ok(at(call, true, |state| state.is_file))),
    data("is_file", "", |call| {
        Ok(at(call, true, |state| state.is_file))
    }),
    data("link", "", |call| {
        Ok(at(call, false, |state| state.is_link))
    }),
    data("is_link", "", |call| {
        Ok(at(call, false, |state| state.is_link))
    }),
    data("exists", "", |call| Ok(at(call, true, |_| true))),
    data("link_exists", "", |call| Ok(at(call, false, |_| true))),
    data("mount", "", |call| {
        Ok(at(call, false, |state| state.is_mount))
    }),
    data("is_mount", "", |call| {
        Ok(at(call, false, |state| state.is_mount))
    }),
    data("abs", "", |call| Ok(call.text().starts_with('/'))),
    data("is_abs", "", |call| Ok(call.text().starts_with('/'))),
    data("same_file", "other!", same_file),
    data("is_same_file", "other!", same_file),
    data("uri", "schemes", |call| Ok(is_uri(call))),
    data("url", "schemes", |call| {
        let text = call.text();
        let url = Url::split(&text);
        Ok(is_uri(call) && (!url.netloc.is_empty() || url.scheme == "file"))
    }),
    data("urn", "", |call| {
        Ok(Url::split(&call.text()).scheme == "urn")
    }),
    data("vaulted_file", "", |call| {
        let path = call.text();
        let is_vaulted = call.services.is_vaulted_file(&path);
        is_vaulted.map_err(|why| format!("Cannot test if the file '{path}' is a vault: {why}"))
    }),
    running("vault_encrypted", "", |_, subject, _, _| match subject {
        Val::Undefined(fault) => match &fault.words {
            Words::Undecryptable { .. } => Ok(true),
            _ => Err(Rc::clone(fault)),
        },
        Val::Data(value) => Ok(value
            .as_text()
            .is_some_and(|text| text.ciphertext().is_some())),
        _ => Ok(false),
    })
    .with_vaulted(),
];

fn at(call: &Call<'_>, follow: bool, wanted: fn(PathState) -> bool) -> bool {
    call.services
        .path_state(&call.text(), follow)
        .is_some_and(wanted)
}

fn same_file(call: &Call<'_>) -> Result<bool, String> {
    let identity = |path: &str| {
        call.services
            .path_state(path, true)
            .map(|state| state.identity)
            .ok_or_else(|| format!("[Errno 2] No such file or directory: '{path}'"))
    };
    Ok(identity(&call.text())? == identity(&call.required(0).to_string())?)
}

fn is_uri(call: &Call<'_>) -> bool {
    let text = call.text();
    let scheme = Url::split(&text).scheme;
    match call.get(0) {
        Some(Value::List(schemes)) if !schemes.is_empty() => {
            schemes.iter().any(|known| known.as_str() == Some(&*scheme))
        }
        Some(Value::String(known)) => known.contains(&*scheme),
        _ => true,
    }
}
