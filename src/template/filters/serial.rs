//! Filters between values and their written forms: JSON, YAML, base64, URLs, UUIDs.

use std::fmt::Write;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::call::Call;
use super::{Filter, data};
use crate::value::{JsonStyle, Map, Origin, Value, bytes_of_text, text_of_bytes, to_json};
use crate::yaml::{self, ScalarStyle, YamlStyle};

pub(super) const FILTERS: &[Filter] = &[
    data(
        "to_json",
        "profile vault_to_text preprocess_unsafe **",
        |call| json(call, None, false),
    ),
    data("to_nice_json", "indent sort_keys **", |call| {
        let indent = match call.given(0) {
            Some(Value::Null) => None,
            Some(_) => call.int(0)?.and_then(|indent| usize::try_from(indent).ok()),
            None => Some(4),
        };
        json(call, indent, call.flag(1, true))
    }),
    data("from_json", "profile **", from_json),
    data("to_yaml", "** *", |call| {
        to_yaml(call, YamlStyle::default())
    }),
    data("to_nice_yaml", "indent ** *", |call| {
        let mut style = YamlStyle::nice();
        if let Some(indent) = call.int(0)? {
            style.indent = usize::try_from(indent).unwrap_or(2);
        }
        to_yaml(call, style)
    }),
    data("from_yaml", "", |call| match &call.input {
        Value::String(text) => yaml::parse_data(text).map_err(|error| error.message),
        other => Ok(other.clone()),
    }),
    data("from_yaml_all", "", |call| match &call.input {
        Value::String(text) => yaml::parse_data_all(text)
            .map(Value::from)
            .map_err(|error| error.message),
        Value::Null => Ok(Value::list(Vec::<Value>::new())),
        other => Ok(other.clone()),
    }),
    data("b64encode", "encoding urlsafe", |call| {
        let bytes = encoded(&call.text(), call.text_at(0).as_deref())?;
        Ok(if call.flag(1, false) {
            URL_SAFE.encode(bytes).into()
        } else {
            STANDARD.encode(bytes).into()
        })
    }),
    data("b64decode", "encoding urlsafe", b64decode),
    data("urlencode", "", urlencode),
    data("urldecode", "", |call| Ok(url_decode(&call.text()).into())),
    data("urlsplit", "query alias", urlsplit),
    data("to_uuid", "namespace", to_uuid),
];

fn json(call: &Call<'_>, indent: Option<usize>, sort_keys: bool) -> Result<Value, String> {
    let mut style = JsonStyle {
        indent,
        sort_keys,
        ensure_ascii: true,
    };
    let mut separators = None;
    for (name, value) in &call.named {
        match name.as_str().unwrap_or_default() {
            "indent" => {
                style.indent = value
                    .as_int()
                    .and_then(|indent| usize::try_from(indent).ok());
            }
            "sort_keys" => style.sort_keys = value.is_truthy(),
            "ensure_ascii" => style.ensure_ascii = value.is_truthy(),
            "separators" => separators = value.as_list().map(<[Value]>::to_vec),
            "default" | "cls" | "skipkeys" | "allow_nan" | "check_circular" => {}
            other => {
                return Err(format!(
                    "JSONEncoder.__init__() got an unexpected keyword argument '{other}'"
                ));
            }
        }
    }
    let text = match separators.as_deref() {
        Some([item, key]) if call.name == "to_json" => {
            compact(&call.input, style, &item.to_string(), &key.to_string())
        }
        _ => to_json(&call.input, style),
    };
    Ok(text.into())
}

/// Writes one-line JSON with separators of the user's choice.
fn compact(value: &Value, style: JsonStyle, item: &str, key: &str) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|v| compact(v, style, item, key)).collect();
            format!("[{}]", items.join(item))
        }
        Value::Map(map) => {
            let mut pairs: Vec<(String, &Value)> = map
                .iter()
                .map(|(name, value)| {
                    let single = Value::Map(Map::from_iter([(name.clone(), Value::Null)]).into());
                    let written = to_json(&single, style);
                    (written[1..].trim_end_matches(": null}").to_owned(), value)
                })
                .collect();
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let pairs: Vec<String> = pairs
                .into_iter()
                .map(|(name, value)| format!("{name}{key}{}", compact(value, style, item, key)))
                .collect();
            format!("{{{}}}", pairs.join(item))
        }
        scalar => to_json(
            scalar,
            JsonStyle {
                indent: None,
                ..style
            },
        ),
    }
}

fn from_json(call: &Call<'_>) -> Result<Value, String> {
    let Some(text) = call.input.as_str() else {
        return Err(format!(
            "the JSON object must be str, bytes or bytearray, not {}",
            call.input.python_type()
        ));
    };
    let value = serde_json::from_str(text).map_err(|error| decode_error(text, &error))?;
    match call.text_at(0).as_deref() {
        None | Some("tagless" | "legacy") => Ok(value),
        Some("inventory_legacy") => {
            let is_trusted = call
                .input
                .as_text()
                .is_some_and(|text| text.tags().contains(&"TrustedAsTemplate"));
            inventory_texts(&value, is_trusted, &mut Vec::new())
        }
        Some(other) => Err(format!("Unknown profile name '{other}'.")),
    }
}

/// Opens what an inventory's JSON says of its texts: `__ansible_unsafe` is one
/// that nobody vouches for, and variables of hosts and groups are as trusted as the whole.
fn inventory_texts(
    value: &Value,
    is_trusted: bool,
    path: &mut Vec<String>,
) -> Result<Value, String> {
    let is_variable = path.get(1).is_some_and(|part| part == "vars") && path.len() >= 3
        || path.len() >= 4 && path[0] == "_meta" && path[1] == "hostvars";
    match value {
        Value::String(text) if is_trusted && is_variable => {
            Ok(text.clone().from_origin(Origin::Trusted).into())
        }
        Value::List(items) => {
            path.push(String::new());
            let items = items
                .iter()
                .map(|item| inventory_texts(item, is_trusted, path));
            let items = items.collect::<Result<Vec<_>, _>>();
            path.pop();
            Ok(items?.into())
        }
        Value::Map(map) => {
            if let (1, Some(inner)) = (map.len(), map.get("__ansible_unsafe")) {
                return match inner {
                    Value::String(_) => Ok(inner.clone()),
                    _ => Err("__ansible_unsafe is not <class 'str'>".into()),
                };
            }
            let mut opened = Map::new();
            for (key, value) in map.iter() {
                path.push(key.to_string());
                let value = inventory_texts(value, is_trusted, path);
                path.pop();
                opened.insert(key.clone(), value?);
            }
            Ok(opened.into())
        }
        other => Ok(other.clone()),
    }
}

/// Words a syntax error as Python's `json` does where the cause is the common one.
fn decode_error(text: &str, error: &serde_json::Error) -> String {
    let line = error.line().max(1);
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(|line| line.chars().count())
        .sum();
    let column = error.column().max(1);
    let words = if text.trim().is_empty() || error.is_syntax() || error.is_eof() {
        "Expecting value"
    } else {
        "Invalid value"
    };
    if text.is_empty() {
        return "Expecting value: line 1 column 1 (char 0)".into();
    }
    format!(
        "{words}: line {line} column {column} (char {})",
        start + column - 1
    )
}

fn to_yaml(call: &Call<'_>, mut style: YamlStyle) -> Result<Value, String> {
    style.vault_tags = true;
    let mut is_canonical = false;
    for (name, value) in &call.named {
        let size = || -> Result<usize, String> {
            match value {
                Value::Int(number) => Ok(usize::try_from(*number).unwrap_or(usize::MAX)),
                Value::Float(number) if *number > 1e9 => Ok(usize::MAX / 2),
                other => Err(format!(
                    "an integer is required, not {}",
                    other.python_type()
                )),
            }
        };
        match name.as_str().unwrap_or_default() {
            "indent" => style.indent = size()?,
            "width" => style.width = size()?,
            "sort_keys" => style.sort_keys = value.is_truthy(),
            "explicit_start" => style.explicit_start = value.is_truthy(),
            "explicit_end" => style.explicit_end = value.is_truthy(),
            "allow_unicode" => style.allow_unicode = value.is_truthy(),
            "default_flow_style" => {
                style.default_flow_style = match value {
                    Value::Null => None,
                    value => Some(value.is_truthy()),
                };
            }
            "default_style" => {
                style.scalars = match value {
                    Value::Null => None,
                    _ => Some(scalar_style(&value.to_string())?),
                };
            }
            "canonical" => is_canonical = value.is_truthy(),
            // It is text all the same.
            "encoding" => {}
            "line_break" | "version" | "tags" if matches!(value, Value::Null) => {}
            "line_break" | "version" | "tags" => {
                return Err(format!("the option '{name}' is not known here"));
            }
            "dump_vault_tags" => style.vault_tags = value.is_truthy(),
            other => {
                return Err(format!(
                    "dump_all() got an unexpected keyword argument '{other}'"
                ));
            }
        }
    }
    Ok(if is_canonical {
        yaml::to_canonical(&call.input, &style).into()
    } else {
        yaml::to_yaml(&call.input, &style).into()
    })
}

fn scalar_style(name: &str) -> Result<ScalarStyle, String> {
    match name {
        "'" => Ok(ScalarStyle::Single),
        "\"" => Ok(ScalarStyle::Double),
        "|" => Ok(ScalarStyle::Literal),
        other => Err(format!("the style '{other}' is not known here")),
    }
}

fn encoded(text: &str, encoding: Option<&str>) -> Result<Vec<u8>, String> {
    let units =
        |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let name = encoding.unwrap_or("utf-8").to_lowercase();
    match &*name {
        "utf-8" | "utf8" | "ascii" => Ok(bytes_of_text(text).into_owned()),
        "latin-1" | "latin1" | "iso-8859-1" => Ok(text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect()),
        "utf-16-le" | "utf-16le" => Ok(units(u16::to_le_bytes)),
        "utf-16-be" | "utf-16be" => Ok(units(u16::to_be_bytes)),
        "utf-16" | "utf16" => {
            let mut bytes = vec![0xff, 0xfe];
            bytes.extend(units(u16::to_le_bytes));
            Ok(bytes)
        }
        _ => Err(format!("unknown encoding: {name}")),
    }
}

fn decoded(bytes: &[u8], encoding: Option<&str>) -> Result<String, String> {
    let name = encoding.unwrap_or("utf-8").to_lowercase();
    let units = |bytes: &[u8], join: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes
            .chunks_exact(2)
            .map(|pair| join([pair[0], pair[1]]))
            .collect()
    };
    match &*name {
        "latin-1" | "latin1" | "iso-8859-1" => Ok(bytes.iter().map(|b| char::from(*b)).collect()),
        "utf-16-le" | "utf-16le" => Ok(String::from_utf16_lossy(&units(bytes, u16::from_le_bytes))),
        "utf-16-be" | "utf-16be" => Ok(String::from_utf16_lossy(&units(bytes, u16::from_be_bytes))),
        "utf-16" | "utf16" => {
            let body = bytes.strip_prefix(&[0xff, 0xfe]).unwrap_or(bytes);
            Ok(String::from_utf16_lossy(&units(body, u16::from_le_bytes)))
        }
        "utf-8" | "utf8" | "ascii" => Ok(text_of_bytes(bytes)),
        _ => Err(format!("unknown encoding: {name}")),
    }
}

fn b64decode(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let urlsafe = call.flag(1, false);
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_'))
        .filter(|c| urlsafe || !matches!(c, '-' | '_'))
        .collect();
    let padding = text
        .chars()
        .rev()
        .take_while(|c| matches!(c, '=' | '\n'))
        .filter(|c| *c == '=')
        .count();
    if letters.len() % 4 == 1 {
        return Err(format!(
            "Invalid base64-encoded string: number of data characters ({}) cannot be 1 more than a multiple of 4",
            letters.len()
        ));
    }
    if !letters.len().is_multiple_of(4) && letters.len() % 4 + padding < 4 {
        return Err("Incorrect padding".into());
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if urlsafe {
        &alphabet::URL_SAFE
    } else {
        &alphabet::STANDARD
    };
    let bytes = GeneralPurpose::new(alphabet, config)
        .decode(letters)
        .map_err(|error| error.to_string())?;
    decoded(&bytes, call.text_at(0).as_deref()).map(Value::from)
}

fn url_quote(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let character = char::from(byte);
        if byte.is_ascii_alphanumeric() || "_.-~".contains(character) || safe.contains(character) {
            out.push(character);
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

fn urlencode(call: &Call<'_>) -> Result<Value, String> {
    let part = |value: &Value| url_quote(&value.to_string(), "").replace("%20", "+");
    let pair = |key: &Value, value: &Value| format!("{}={}", part(key), part(value));
    match &call.input {
        Value::Map(map) => Ok(map
            .iter()
            .map(|(key, value)| pair(key, value))
            .collect::<Vec<_>>()
            .join("&")
            .into()),
        Value::List(items) => {
            let pairs: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.as_list() {
                    Some([key, value]) => Some(pair(key, value)),
                    _ => None,
                })
                .collect();
            pairs
                .map(|pairs| pairs.join("&").into())
                .ok_or_else(|| "not enough values to unpack (expected 2, got 1)".into())
        }
        value => Ok(url_quote(&value.to_string(), "/").into()),
    }
}

fn url_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The parts of a URL as Python's `urlsplit` names them.
pub(in crate::template) struct Url<'a> {
    pub(in crate::template) scheme: String,
    pub(in crate::template) netloc: &'a str,
    pub(in crate::template) path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Url<'a> {
    pub(in crate::template) fn split(text: &'a str) -> Self {
        let text = text.trim_start_matches(|c: char| c <= ' ');
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_lowercase(), rest),
            _ => (String::new(), text),
        };
        let (netloc, rest) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self {
            scheme,
            netloc,
            path,
            query,
            fragment,
        }
    }
}

fn urlsplit(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let url = Url::split(&text);
    let (login, address) = match url.netloc.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, url.netloc),
    };
    let (username, password) = match login.and_then(|login| login.split_once(':')) {
        Some((username, password)) => (Some(username), Some(password)),
        None => (login, None),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => (rest, None),
        },
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port.filter(|port| !port.is_empty()) {
        None => Value::Null,
        Some(port) => match port.parse::<i64>() {
            Ok(number) if (0..=65535).contains(&number) => number.into(),
            Ok(_) => return Err("Port out of range 0-65535".into()),
            Err(_) => {
                return Err(format!(
                    "Port could not be cast to integer value as '{port}'"
                ));
            }
        },
    };
    let parts: Vec<(&str, Value)> = vec![
        ("fragment", url.fragment.into()),
        (
            "hostname",
            Some(host.to_lowercase())
                .filter(|host| !host.is_empty())
                .into(),
        ),
        ("netloc", url.netloc.into()),
        ("password", password.into()),
        ("path", url.path.into()),
        ("port", port),
        ("query", url.query.into()),
        ("scheme", url.scheme.into()),
        ("username", username.into()),
    ];
    match call.text_at(0).filter(|wanted| !wanted.is_empty()) {
        None => Ok(Value::map(parts)),
        Some(wanted) => parts
            .into_iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
            .ok_or_else(|| {
                let alias = call.text_at(1).unwrap_or_else(|| "urlsplit".into());
                format!("{alias}: unknown URL component: {wanted}")
            }),
    }
}

fn to_uuid(call: &Call<'_>) -> Result<Value, String> {
    const ANSIBLE: uuid::Uuid = uuid::uuid!("361E6D51-FAEC-444A-9079-341386DA8E2E");
    let namespace = match call.text_at(0) {
        None => ANSIBLE,
        Some(text) => uuid::Uuid::try_parse(&text).map_err(|_| {
            format!("Invalid value '{text}' for 'namespace': badly formed hexadecimal UUID string")
        })?,
    };
    let id = uuid::Uuid::new_v5(&namespace, call.text().as_bytes());
    Ok(id.hyphenated().to_string().into())
}
