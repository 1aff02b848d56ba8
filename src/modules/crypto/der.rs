//! The distinguished encoding rules: enough to read requests and certificates, and to write them.
//! Pure; foreign bytes are refused, never trusted.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const PRINTABLE: u8 = 0x13;
pub(super) const IA5: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERAL_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Returns the tag of a part that its context names.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Returns the tag of such a part that holds no others.
pub(super) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With its tag and length.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads bytes that are one element and nothing else.
    pub(super) fn only(bytes: &'a [u8]) -> Option<Self> {
        let (element, rest) = Self::first(bytes)?;
        rest.is_empty().then_some(element)
    }

    /// Reads the first element; returns what follows it too.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&length, rest) = rest.split_first()?;
        let (length, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            let n_bytes = usize::from(length & 0x7f);
            if !(1..=4).contains(&n_bytes) || rest.len() < n_bytes {
                return None;
            }
            let (digits, rest) = rest.split_at(n_bytes);
            let length = digits
                .iter()
                .fold(0, |length, digit| (length << 8) | usize::from(*digit));
            (length, rest)
        };
        if rest.len() < length {
            return None;
        }
        let (content, after) = rest.split_at(length);
        let element = Self {
            tag,
            content,
            whole: &bytes[..bytes.len() - after.len()],
        };
        Some((element, after))
    }

    /// Reads the elements inside.
    pub(super) fn inside(&self) -> Option<Vec<Element<'a>>> {
        let mut all = Vec::new();
        let mut rest = self.content;
        while !rest.is_empty() {
            let (element, after) = Self::first(rest)?;
            all.push(element);
            rest = after;
        }
        Some(all)
    }

    /// Returns the bytes of a bit string that has whole bytes.
    pub(super) fn bits(&self) -> Option<&'a [u8]> {
        let (&unused, bytes) = self.content.split_first()?;
        (self.tag == BITS && unused == 0).then_some(bytes)
    }

    /// Returns the dotted numbers of an object identifier.
    pub(super) fn dotted(&self) -> Option<String> {
        if self.tag != OID {
            return None;
        }
        let mut numbers: Vec<u64> = Vec::new();
        let mut number = 0_u64;
        for byte in self.content {
            number = number.checked_mul(128)? + u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                numbers.push(number);
                number = 0;
            }
        }
        let first = *numbers.first()?;
        let top = (first / 40).min(2);
        let mut text = format!("{top}.{}", first - top * 40);
        for number in &numbers[1..] {
            text += &format!(".{number}");
        }
        Some(text)
    }

    /// Returns a text of any of the usual kinds.
    pub(super) fn text(&self) -> String {
        match self.tag {
            // Two bytes a letter.
            0x1e => {
                let pairs: Vec<u16> = self
                    .content
                    .chunks_exact(2)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .collect();
                String::from_utf16_lossy(&pairs)
            }
            _ => String::from_utf8_lossy(self.content).into_owned(),
        }
    }
}

/// Writes one element.
pub(super) fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let start = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = &digits[start..];
            bytes.push(0x80 | u8::try_from(digits.len()).expect("a length has few digits"));
            bytes.extend(digits);
        }
    }
    bytes.extend(content);
    bytes
}

/// Writes an element of elements.
pub(super) fn of(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    wrap(tag, &parts.concat())
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    of(SEQUENCE, parts)
}

/// Writes a positive whole number from its bytes, the greatest first.
pub(super) fn number(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[start..];
    let mut content = Vec::new();
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend(digits);
    wrap(INTEGER, &content)
}

/// Writes a bit string of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    wrap(BITS, &[&[0], bytes].concat())
}

/// Writes bits by their numbers, as short as can be.
pub(super) fn named_bits(numbers: &[usize]) -> Vec<u8> {
    let Some(last) = numbers.iter().max() else {
        return wrap(BITS, &[0]);
    };
    let mut bytes = vec![0_u8; last / 8 + 1];
    for number in numbers {
        bytes[number / 8] |= 0x80 >> (number % 8);
    }
    let unused = u8::try_from(7 - last % 8).expect("less than eight");
    wrap(BITS, &[&[unused], bytes.as_slice()].concat())
}

/// Writes an object identifier from its dotted numbers.
pub(super) fn oid(dotted: &str) -> Option<Vec<u8>> {
    let numbers: Option<Vec<u64>> = dotted.split('.').map(|part| part.parse().ok()).collect();
    let numbers = numbers?;
    let [first, second, rest @ ..] = numbers.as_slice() else {
        return None;
    };
    if *first > 2 || (*first < 2 && *second > 39) {
        return None;
    }
    let mut content = Vec::new();
    for number in std::iter::once(first * 40 + second).chain(rest.iter().copied()) {
        let mut digits = vec![u8::try_from(number & 0x7f).expect("seven bits")];
        let mut left = number >> 7;
        while left > 0 {
            digits.push(0x80 | u8::try_from(left & 0x7f).expect("seven bits"));
            left >>= 7;
        }
        content.extend(digits.iter().rev());
    }
    Some(wrap(OID, &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for dotted in [
            "2.5.4.3",
            "1.2.840.113549.1.1.11",
            "0.9.2342.19200300.100.1.25",
        ] {
            let bytes = oid(dotted).unwrap();
            assert_eq!(Element::only(&bytes).unwrap().dotted().unwrap(), dotted);
        }
        let long = wrap(OCTETS, &[7; 300]);
        assert_eq!(&long[..4], [OCTETS, 0x82, 1, 44]);
        assert_eq!(Element::only(&long).unwrap().content.len(), 300);
        assert_eq!(number(&[0, 0x80]), [INTEGER, 2, 0, 0x80]);
        assert_eq!(number(&[0]), [INTEGER, 1, 0]);
        assert_eq!(named_bits(&[0, 2]), [BITS, 2, 5, 0xa0]);
        assert_eq!(named_bits(&[5, 6]), [BITS, 2, 1, 0x06]);
        assert_eq!(named_bits(&[8]), [BITS, 3, 7, 0, 0x80]);
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x1f, 1, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Element::first(bytes), None, "{bytes:?}");
        }
        assert_eq!(oid("3.1"), None);
        assert_eq!(oid("x"), None);
    }
}
