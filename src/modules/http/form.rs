//! Request bodies of forms: `application/x-www-form-urlencoded` and `multipart/form-data`.

use std::fmt::Write;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::machine::{Content, Machine};
use crate::modules::Failure;
use crate::modules::offer::content_id;
use crate::value::{Map, Value};

/// Encodes a dictionary or a list of pairs as Ansible does; a list as value repeats its key.
pub(in crate::modules) fn urlencoded(body: &Value) -> Result<String, Failure> {
    let mut fields = Vec::new();
    match body {
        Value::String(text) => return Ok(text.to_string()),
        Value::Map(map) => {
            for (key, value) in map.iter() {
                add_field(&mut fields, key, value);
            }
        }
        Value::List(pairs) => {
            for pair in pairs.iter() {
                let [key, value] = pair.as_list().unwrap_or_default() else {
                    return Err(Failure::new(
                        "failed to parse body as form_urlencoded: a list of pairs is needed",
                    ));
                };
                add_field(&mut fields, key, value);
            }
        }
        _ => return Ok(body.to_string()),
    }
    Ok(fields.join("&"))
}

fn add_field(fields: &mut Vec<String>, key: &Value, value: &Value) {
    let key = quoted(&key.to_string());
    let mut add = |value: &Value| {
        if *value != Value::Null {
            fields.push(format!("{key}={}", quoted(&value.to_string())));
        }
    };
    match value {
        Value::List(values) => values.iter().for_each(add),
        Value::Map(map) => map.keys().for_each(add),
        value => add(value),
    }
}

/// Encodes as `urllib.parse.quote_plus`.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}

/// Makes a multipart body; returns its content type too.
///
/// A field is a text, or a dictionary with `content` or `filename`, `mime_type` and
/// `multipart_encoding`. Files of the controller are `offered` by field.
pub(in crate::modules) fn multipart(
    machine: &mut Machine,
    fields: &Value,
    offered: &Map,
) -> Result<(String, Vec<u8>), Failure> {
    let Some(fields) = fields.as_map() else {
        let kind = fields.python_type();
        return Err(wrong(&format!(
            "Mapping is required, cannot be type {kind}"
        )));
    };
    let boundary = format!("==============={:016x}{:03x}==", rand::random::<u64>(), 7);
    let mut sorted: Vec<_> = fields
        .iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut body = Vec::new();
    for (name, value) in sorted {
        body.extend(format!("--{boundary}\r\n").bytes());
        let offer = offered.get(name.as_str()).and_then(Value::as_map);
        body.extend(part(machine, &name, value, offer)?);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    Ok((kind, body))
}

fn part(
    machine: &mut Machine,
    name: &str,
    value: &Value,
    offer: Option<&Map>,
) -> Result<Vec<u8>, Failure> {
    let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
    let empty = Map::new();
    let map = match value {
        Value::String(text) => {
            let head = format!("Content-Type: text/plain\r\n{disposition}\r\n\r\n");
            return Ok([head.as_bytes(), text.as_bytes()].concat());
        }
        Value::Map(map) => map.as_ref(),
        _ => &empty,
    };
    let text = |key: &str| {
        map.get(key)
            .map(ToString::to_string)
            .filter(|text| !text.is_empty())
    };
    let (file, content) = (text("filename"), text("content"));
    if map.is_empty() {
        let kind = value.python_type();
        return Err(wrong(&format!(
            "value must be a string, or mapping, cannot be type {kind}"
        )));
    }
    let kind = text("mime_type").unwrap_or_else(|| guessed_type(file.as_deref()).to_owned());
    let mut head = format!("Content-Type: {kind}\r\n");
    let bytes = match (&file, content) {
        (_, Some(content)) => content.into_bytes(),
        (Some(file), None) => {
            let bytes = if let Some(offer) = offer {
                machine.read_content(&Content::Remote(content_id(offer)?))?
            } else {
                let path = machine.expand(Path::new(file));
                machine.read(&path)?
            };
            match text("multipart_encoding").as_deref() {
                None | Some("base64") => {
                    head.push_str("Content-Transfer-Encoding: base64\r\n");
                    base64_lines(&bytes)
                }
                Some("7or8bit") => {
                    let encoding = if bytes.is_ascii() { "7bit" } else { "8bit" };
                    head = format!("{head}Content-Transfer-Encoding: {encoding}\r\n");
                    bytes
                }
                Some(_) => {
                    return Err(wrong(
                        "multipart_encoding must be one of dict_keys(['base64', '7or8bit']).",
                    ));
                }
            }
        }
        (None, None) => {
            return Err(wrong(
                "at least one of filename or content must be provided",
            ));
        }
    };
    head.push_str(&disposition);
    if let Some(file) = file {
        let file = file.rsplit('/').next().unwrap_or_default().to_owned();
        head = format!("{head}; filename=\"{file}\"");
    }
    head.push_str("\r\n\r\n");
    Ok([head.as_bytes(), &bytes].concat())
}

/// Encodes in lines of 76 characters, as mail does.
fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(bytes);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
    lines.join(&b"\r\n"[..])
}

/// Guesses a file's type by its name, for the types that forms are given most.
fn guessed_type(name: Option<&str>) -> &'static str {
    let extension = name
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, extension)| extension);
    match extension.unwrap_or_default().to_lowercase().as_str() {
        "txt" | "text" | "log" | "conf" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "js" => "text/javascript",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "tar" | "gz" | "tgz" => "application/x-tar",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn wrong(why: &str) -> Failure {
    Failure::new(format!("failed to parse body as form-multipart: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn fields_are_encoded_and_lists_repeat_their_key() {
        let body = value(r#"{"a b": "c&d", "l": [1, "é"], "n": null, "t": true}"#);
        assert_eq!(urlencoded(&body).unwrap(), "a+b=c%26d&l=1&l=%C3%A9&t=True");
        let pairs = value(r#"[["a", "1"], ["a", "2"]]"#);
        assert_eq!(urlencoded(&pairs).unwrap(), "a=1&a=2");
        assert_eq!(urlencoded(&"raw=1".into()).unwrap(), "raw=1");
    }

    #[test]
    fn parts_have_names_types_and_files_are_base64() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), b"hi").unwrap();
        let path = file.path().display().to_string();
        let fields = value(&format!(
            r#"{{"text": "x", "file": {{"filename": "{path}", "mime_type": "text/plain"}},
                 "inline": {{"content": "{{}}", "filename": "a.json"}}}}"#
        ));
        let mut machine = Machine::new(MachineOptions::default());
        let (kind, body) = multipart(&mut machine, &fields, &Map::new()).unwrap();
        let boundary = kind
            .strip_prefix("multipart/form-data; boundary=\"")
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap();
        let body = String::from_utf8(body).unwrap().replace(boundary, "B");
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(
            body.replace(name, "NAME"),
            "--B\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"NAME\"\r\n\r\naGk=\r\n\
             --B\r\nContent-Type: application/json\r\n\
             Content-Disposition: form-data; name=\"inline\"; filename=\"a.json\"\r\n\r\n{}\r\n\
             --B\r\nContent-Type: text/plain\r\n\
             Content-Disposition: form-data; name=\"text\"\r\n\r\nx\r\n--B--\r\n"
        );
    }
}
