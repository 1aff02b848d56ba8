//! Names in requests and certificates: of subjects, and of whatever a certificate is good for.
//! Pure.

use std::net::IpAddr;

use super::der::{self, Element};
use crate::modules::Failure;
use crate::value::{Map, Value};

/// The attributes of names: short, long, and their object identifiers.
const ATTRIBUTES: [(&str, &str, &str); 21] = [
    ("CN", "commonName", "2.5.4.3"),
    ("SN", "surname", "2.5.4.4"),
    ("serialNumber", "serialNumber", "2.5.4.5"),
    ("C", "countryName", "2.5.4.6"),
    ("L", "localityName", "2.5.4.7"),
    ("ST", "stateOrProvinceName", "2.5.4.8"),
    ("street", "streetAddress", "2.5.4.9"),
    ("O", "organizationName", "2.5.4.10"),
    ("OU", "organizationalUnitName", "2.5.4.11"),
    ("title", "title", "2.5.4.12"),
    ("businessCategory", "businessCategory", "2.5.4.15"),
    ("postalCode", "postalCode", "2.5.4.17"),
    ("GN", "givenName", "2.5.4.42"),
    ("initials", "initials", "2.5.4.43"),
    ("generationQualifier", "generationQualifier", "2.5.4.44"),
    ("x500UniqueIdentifier", "x500UniqueIdentifier", "2.5.4.45"),
    ("dnQualifier", "dnQualifier", "2.5.4.46"),
    ("pseudonym", "pseudonym", "2.5.4.65"),
    ("E", "emailAddress", "1.2.840.113549.1.9.1"),
    ("UID", "userId", "0.9.2342.19200300.100.1.1"),
    ("DC", "domainComponent", "0.9.2342.19200300.100.1.25"),
];

/// One attribute of a name: its object identifier and its text.
pub(super) type Attribute = (String, String);

/// Finds an attribute by any of its names.
pub(super) fn attribute(name: &str) -> Result<String, Failure> {
    let found = ATTRIBUTES
        .iter()
        .find(|(short, long, _)| *short == name || long.eq_ignore_ascii_case(name));
    match found {
        Some((_, _, oid)) => Ok((*oid).to_owned()),
        None if der::oid(name).is_some() => Ok(name.to_owned()),
        None => Err(Failure::new(format!("Cannot find OID for \"{name}\""))),
    }
}

/// Returns the long name of an attribute.
pub(super) fn long_name(oid: &str) -> String {
    let found = ATTRIBUTES.iter().find(|(_, _, known)| *known == oid);
    found.map_or_else(|| oid.to_owned(), |(_, long, _)| (*long).to_owned())
}

/// Reads a dictionary of names; one with a list stands for several.
pub(super) fn attributes(given: &Map) -> Result<Vec<Attribute>, Failure> {
    let mut all = Vec::new();
    for (name, value) in given {
        let oid = attribute(&name.to_string())?;
        match value {
            Value::List(items) => {
                all.extend(items.iter().map(|item| (oid.clone(), item.to_string())));
            }
            Value::Null => {}
            value => all.push((oid, value.to_string())),
        }
    }
    Ok(all)
}

/// Writes a name, one attribute after the other.
pub(super) fn name(attributes: &[Attribute]) -> Vec<u8> {
    let one = |attribute: &Attribute| der::of(der::SET, &[pair(attribute)]);
    der::sequence(&attributes.iter().map(one).collect::<Vec<_>>())
}

pub(super) fn pair((oid, text): &Attribute) -> Vec<u8> {
    let kind = match oid.as_str() {
        "2.5.4.6" | "2.5.4.5" | "2.5.4.46" => der::PRINTABLE,
        "1.2.840.113549.1.9.1" | "0.9.2342.19200300.100.1.25" => der::IA5,
        _ => der::UTF8,
    };
    der::sequence(&[
        der::oid(oid).expect("it was looked up"),
        der::wrap(kind, text.as_bytes()),
    ])
}

/// Reads a name.
pub(super) fn read_name(name: &Element<'_>) -> Option<Vec<Attribute>> {
    let mut all = Vec::new();
    for set in name.inside()? {
        for pair in set.inside()? {
            let parts = pair.inside()?;
            let [oid, text] = parts.as_slice() else {
                return None;
            };
            all.push((oid.dotted()?, text.text()));
        }
    }
    Some(all)
}

/// Writes what a certificate is good for: `DNS:x`, `IP:1.2.3.4`, `email:x@y`, `URI:x`, `RID:1.2`,
/// `dirName:CN = x`, `otherName:1.2;UTF8:x`; in constraints networks too.
pub(super) fn general(text: &str, what: &str) -> Result<Vec<u8>, Failure> {
    let refuse = |why: String| Err(Failure::new(why));
    let Some((kind, value)) = text.split_once(':') else {
        return refuse(format!(
            "Cannot parse {what} \"{text}\" (forgot \"DNS:\" prefix?)"
        ));
    };
    let ascii = |number: u8, value: &str| {
        if value.is_ascii() {
            Ok(der::wrap(der::context_primitive(number), value.as_bytes()))
        } else {
            refuse(format!(
                "Cannot parse {what} \"{text}\": write it in ASCII (punycode)"
            ))
        }
    };
    match kind {
        "DNS" => ascii(2, value),
        "email" => ascii(1, value),
        "URI" => ascii(6, value),
        "IP" => match address(value) {
            Some(bytes) => Ok(der::wrap(der::context_primitive(7), &bytes)),
            None => refuse(format!("Cannot parse {what} \"{text}\"")),
        },
        "RID" => match der::oid(value).as_deref().and_then(Element::only) {
            Some(oid) => Ok(der::wrap(der::context_primitive(8), oid.content)),
            None => refuse(format!("Cannot parse {what} \"{text}\"")),
        },
        "dirName" => {
            let refused = || Failure::new(format!("Cannot parse {what} \"{text}\""));
            let mut attributes = directory(value).ok_or_else(refused)??;
            // Such a text begins with the last (RFC 4514).
            attributes.reverse();
            Ok(der::of(der::context(4), &[name(&attributes)]))
        }
        "otherName" => other(value)
            .ok_or_else(|| Failure::new(format!("Cannot parse {what} otherName \"{text}\""))),
        _ => refuse(format!(
            "Cannot parse {what} \"{text}\" (potentially unsupported by cryptography backend)"
        )),
    }
}

fn address(text: &str) -> Option<Vec<u8>> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if text.contains('/') {
        let network: ipnet::IpNet = text.parse().ok()?;
        return Some([bytes(network.network()), bytes(network.netmask())].concat());
    }
    text.parse().ok().map(bytes)
}

fn directory(text: &str) -> Option<Result<Vec<Attribute>, Failure>> {
    let mut all = Vec::new();
    let (separator, text) = match text.strip_prefix('/') {
        Some(rest) => ('/', rest),
        None => (',', text),
    };
    for part in text.split(separator) {
        let (name, value) = part.split_once('=')?;
        match attribute(name.trim()) {
            Ok(oid) => all.push((oid, value.trim().to_owned())),
            Err(failure) => return Some(Err(failure)),
        }
    }
    Some(Ok(all))
}

fn other(text: &str) -> Option<Vec<u8>> {
    let (oid, value) = text.split_once(';')?;
    let value = match value.split_once(':') {
        Some(("UTF8" | "UTF8String", text)) => der::wrap(der::UTF8, text.as_bytes()),
        // Bytes in hexadecimal digits are the value itself.
        _ => super::unhex(&value.replace(':', ""))?,
    };
    Some(der::of(
        der::context(0),
        &[der::oid(oid)?, der::of(der::context(0), &[value])],
    ))
}

/// Says what a general name is.
pub(super) fn shown(element: &Element<'_>) -> String {
    let text = || String::from_utf8_lossy(element.content).into_owned();
    match element.tag {
        0x81 => format!("email:{}", text()),
        0x82 => format!("DNS:{}", text()),
        0x86 => format!("URI:{}", text()),
        0x87 => format!("IP:{}", shown_address(element.content)),
        0x88 => {
            let oid = der::wrap(der::OID, element.content);
            let dotted = Element::only(&oid).and_then(|oid| oid.dotted());
            format!("RID:{}", dotted.unwrap_or_default())
        }
        0xa4 => {
            let inner = Element::only(element.content);
            let attributes = inner.and_then(|name| read_name(&name)).unwrap_or_default();
            let parts: Vec<_> = attributes
                .iter()
                .rev()
                .map(|(oid, text)| format!("{}={}", short_name(oid), escaped(text)))
                .collect();
            format!("dirName:{}", parts.join(","))
        }
        0xa0 => {
            let parts = element.inside().unwrap_or_default();
            let oid = parts.first().and_then(Element::dotted).unwrap_or_default();
            let value = parts.get(1).map(|part| super::colons(part.content));
            format!("otherName:{oid};{}", value.unwrap_or_default())
        }
        _ => super::colons(element.whole),
    }
}

/// Escapes a value as RFC 4514 says.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (at, letter) in text.char_indices() {
        let is_first = at == 0 && " #".contains(letter);
        let is_last = at + 1 == text.len() && letter == ' ';
        if is_first || is_last || "\\,+<>;\"".contains(letter) {
            out.push('\\');
        }
        match letter {
            '\0' => out.push_str("\\00"),
            letter => out.push(letter),
        }
    }
    out
}

fn short_name(oid: &str) -> &str {
    let found = ATTRIBUTES.iter().find(|(_, _, known)| *known == oid);
    found.map_or(oid, |(short, _, _)| match *short {
        "E" => "emailAddress",
        short => short,
    })
}

fn shown_address(bytes: &[u8]) -> String {
    let single = |bytes: &[u8]| -> Option<IpAddr> {
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            return Some(IpAddr::from(four));
        }
        <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
    };
    if let Some(address) = single(bytes) {
        return address.to_string();
    }
    let (network, mask) = bytes.split_at(bytes.len() / 2);
    let n_ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    single(network).map_or_else(
        || super::colons(bytes),
        |address| format!("{address}/{n_ones}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_names_are_said_as_they_are_written() {
        for text in [
            "DNS:*.example.com",
            "IP:10.0.0.1",
            "IP:fe80::1",
            "IP:10.0.0.0/8",
            "email:me@example.com",
            "URI:https://example.com/a",
            "RID:1.2.3.4",
            "dirName:C=DE,CN=a b",
        ] {
            let bytes = general(text, "subject alternative name").unwrap();
            assert_eq!(shown(&Element::only(&bytes).unwrap()), text);
        }
        assert_eq!(
            general("example.com", "name").unwrap_err().msg,
            "Cannot parse name \"example.com\" (forgot \"DNS:\" prefix?)"
        );
        assert!(general("IP:1.2.3", "name").is_err());
        assert!(general("DNS:münchen.de", "name").is_err());
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let given = Value::map([("C", "DE"), ("commonName", "ä"), ("1.2.3", "x")]);
        let attributes = attributes(given.as_map().unwrap()).unwrap();
        let bytes = name(&attributes);
        assert_eq!(
            read_name(&Element::only(&bytes).unwrap()).unwrap(),
            attributes
        );
        assert_eq!(
            attribute("nonsense").unwrap_err().msg,
            "Cannot find OID for \"nonsense\""
        );
    }
}
