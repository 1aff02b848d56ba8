//! Text files in the encodings that Python's names stand for, as far as they are Unicode's own
//! prefixes: UTF-8, ASCII and Latin-1.

use super::Failure;

/// A file's content, ready for a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Text(String),
    /// UTF-8 was said, but some bytes are not; Python would escape those.
    Bytes(Vec<u8>),
}

/// Reads bytes in the encoding of a Python name.
pub(super) fn decode(bytes: &[u8], encoding: &str) -> Result<Decoded, Failure> {
    Ok(match codec(encoding)? {
        Codec::Latin1 => Decoded::Text(bytes.iter().copied().map(char::from).collect()),
        Codec::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => Decoded::Text(text.to_owned()),
            Err(_) => Decoded::Bytes(bytes.to_vec()),
        },
    })
}

/// Writes what was decoded, and perhaps edited, in its encoding again.
pub(super) fn encode(text: Vec<u8>, encoding: &str) -> Result<Vec<u8>, Failure> {
    match codec(encoding)? {
        Codec::Utf8 => Ok(text),
        Codec::Latin1 => String::from_utf8_lossy(&text)
            .chars()
            .map(|character| {
                u8::try_from(u32::from(character)).map_err(|_| {
                    Failure::new(format!(
                        "`{character}` has no place in the encoding {encoding}"
                    ))
                })
            })
            .collect(),
    }
}

enum Codec {
    Utf8,
    Latin1,
}

fn codec(encoding: &str) -> Result<Codec, Failure> {
    match encoding.to_lowercase().replace(['_', ' '], "-").as_str() {
        "utf-8" | "utf8" | "u8" | "ascii" | "us-ascii" => Ok(Codec::Utf8),
        "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => Ok(Codec::Latin1),
        _ => Err(Failure::new(format!(
            "unknown encoding: {encoding} (utf-8, ascii and latin-1 are known)"
        ))),
    }
}
