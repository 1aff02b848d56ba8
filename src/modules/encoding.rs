//! Text files in the encodings that Python's names stand for.

use encoding_rs::Encoding;

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
    let codec = codec(encoding)?;
    match (codec.decode(bytes), codec) {
        (Some(text), _) => Ok(Decoded::Text(text)),
        (None, Codec::Utf8) => Ok(Decoded::Bytes(bytes.to_vec())),
        (None, _) => Err(Failure::new(format!(
            "the text is not in the encoding {encoding}"
        ))),
    }
}

/// Reads bytes that must all be in the encoding; `None` when some are not.
pub(super) fn decode_strictly(bytes: &[u8], encoding: &str) -> Result<Option<String>, Failure> {
    Ok(codec(encoding)?.decode(bytes))
}

/// Writes what was decoded, and perhaps edited, in its encoding again.
pub(super) fn encode(text: Vec<u8>, encoding: &str) -> Result<Vec<u8>, Failure> {
    let no_place = |character| {
        Failure::new(format!(
            "`{character}` has no place in the encoding {encoding}"
        ))
    };
    match codec(encoding)? {
        Codec::Utf8 => Ok(text),
        Codec::Latin1 => String::from_utf8_lossy(&text)
            .chars()
            .map(|character| u8::try_from(u32::from(character)).map_err(|_| no_place(character)))
            .collect(),
        Codec::Other(other) => {
            let text = String::from_utf8_lossy(&text);
            let (bytes, _, has_errors) = other.encode(&text);
            if !has_errors {
                return Ok(bytes.into_owned());
            }
            let wrong = |character: &char| other.encode(character.encode_utf8(&mut [0; 4])).2;
            let character = text.chars().find(wrong);
            Err(no_place(character.unwrap_or(char::REPLACEMENT_CHARACTER)))
        }
    }
}

#[derive(Clone, Copy)]
enum Codec {
    Utf8,
    Latin1,
    Other(&'static Encoding),
}

impl Codec {
    fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).map(str::to_owned).ok(),
            Self::Latin1 => Some(bytes.iter().copied().map(char::from).collect()),
            Self::Other(other) => other
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned),
        }
    }
}

fn codec(encoding: &str) -> Result<Codec, Failure> {
    let name = encoding.to_lowercase().replace(['_', ' '], "-");
    let unknown = || Failure::new(format!("unknown encoding: {encoding}"));
    Ok(match name.as_str() {
        "utf-8" | "utf8" | "u8" | "ascii" | "us-ascii" => Codec::Utf8,
        "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => Codec::Latin1,
        name => {
            let other = Encoding::for_label(name.as_bytes()).ok_or_else(unknown)?;
            // UTF-16 cannot be written by this crate, and the others are no encodings of Python.
            if other.output_encoding() != other || other == encoding_rs::X_USER_DEFINED {
                return Err(unknown());
            }
            Codec::Other(other)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_are_read_and_written() {
        let text = "你好";
        let bytes = encode(text.into(), "gbk").unwrap();
        assert_eq!(bytes, [0xc4, 0xe3, 0xba, 0xc3]);
        assert_eq!(
            decode(&bytes, "gbk").unwrap(),
            Decoded::Text(text.to_owned())
        );
        assert_eq!(decode_strictly(&bytes, "utf-8").unwrap(), None);
        assert_eq!(
            encode("a€é".into(), "cp1251").unwrap_err().msg,
            "`é` has no place in the encoding cp1251"
        );
        for unknown in ["idontexist", "utf-16"] {
            assert_eq!(
                decode(b"", unknown).unwrap_err().msg,
                format!("unknown encoding: {unknown}")
            );
        }
    }
}
