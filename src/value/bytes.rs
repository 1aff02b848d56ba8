//! Bytes that are no UTF-8 inside texts, where Python has its surrogates: what was read as such a
//! text is written as the bytes that it was.
//!
//! Each such byte stands as a character at the end of the last private plane, which no text uses.

use std::borrow::Cow;

/// Where the byte 0 would stand; those that are no ASCII come after it.
const BASE: u32 = 0x10_ff00;

/// Makes a text of bytes, whatever they are.
pub fn text_of_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let escaped = chunk.invalid().iter().map(|byte| BASE + u32::from(*byte));
        text.extend(escaped.filter_map(char::from_u32));
    }
    text
}

/// Returns the bytes that a text stands for.
pub fn bytes_of_text(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|character| escaped(character).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match escaped(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// Returns what is shown of a text: `�` for each byte that is none.
pub fn shown_text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| escaped(character).is_some()) {
        return Cow::Borrowed(text);
    }
    let shown = |character| match escaped(character) {
        Some(_) => char::REPLACEMENT_CHARACTER,
        None => character,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

fn escaped(character: char) -> Option<u8> {
    let offset = u32::from(character).checked_sub(BASE)?;
    u8::try_from(offset).ok().filter(|byte| !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_come_out_as_they_went_in() {
        for bytes in [
            &b"Caf\xe9 E\xf1e"[..],
            b"\xff\x80\x00",
            "é\u{fffd}".as_bytes(),
        ] {
            assert_eq!(&*bytes_of_text(&text_of_bytes(bytes)), bytes);
        }
        assert_eq!(text_of_bytes("Café".as_bytes()), "Café");
        assert_eq!(shown_text(&text_of_bytes(b"Caf\xe9")), "Caf\u{fffd}");
    }
}
