//! A message as it goes over the wire: headers, text, attachments.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::modules::Failure;

use super::{MailArgs, given};

/// What is sent.
pub(super) struct Message<'a> {
    pub(super) args: &'a MailArgs,
    /// Names and bytes of what is attached.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Message<'_> {
    /// Returns the addresses of all who get it.
    pub(super) fn recipients(&self) -> Vec<String> {
        let args = self.args;
        let all = args.bcc.iter().chain(&args.to).chain(&args.cc);
        let mut addresses: Vec<String> = Vec::new();
        for address in all.map(|text| address(text)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Returns the message with line ends as SMTP has them.
    pub(super) fn text(&self, warnings: &mut Vec<String>) -> Result<Vec<u8>, Failure> {
        let args = self.args;
        let charset = Charset::named(&args.charset)?;
        let boundary = format!("==============={}==", random_digits(19));
        let date = jiff::ZonedDateTime::now().strftime("%a, %d %b %Y %H:%M:%S %z");
        let mut lines = vec![
            format!(
                "Content-Type: multipart/mixed; charset=\"{}\"; boundary=\"{boundary}\"",
                args.charset
            ),
            "MIME-Version: 1.0".into(),
            format!("From: {}", mailbox(&args.sender, charset)?),
            format!("Date: {date}"),
            format!("Subject: {}", charset.header(&args.subject)?),
            format!(
                "Message-ID: <{}.{}@{}>",
                random_digits(14),
                random_digits(10),
                one_line(&args.message_id_domain)
            ),
        ];
        let mut has_mailer = false;
        for header in args.headers.iter().flat_map(|header| header.split('|')) {
            let header = header.trim();
            match header.split_once('=') {
                Some((name, value)) if is_header(name) => {
                    has_mailer |= name.eq_ignore_ascii_case("X-Mailer");
                    lines.push(format!("{name}: {}", charset.header(value)?));
                }
                _ => warnings.push(format!("Skipping header '{header}', unable to parse")),
            }
        }
        if !has_mailer {
            lines.push("X-Mailer: Ansible mail module".into());
        }
        for (name, people) in [("To", &args.to), ("Cc", &args.cc)] {
            let people: Result<Vec<_>, _> =
                people.iter().map(|one| mailbox(one, charset)).collect();
            lines.push(format!("{name}: {}", people?.join(", ")));
        }
        let body = given(args.body.as_ref()).unwrap_or(&args.subject);
        lines.extend([
            String::new(),
            "Multipart message".into(),
            format!("--{boundary}"),
            format!(
                "Content-Type: text/{}; charset=\"{}\"",
                args.subtype, args.charset
            ),
            "MIME-Version: 1.0".into(),
            "Content-Transfer-Encoding: base64".into(),
            String::new(),
        ]);
        lines.extend(folded(&charset.bytes(&format!("{body}\n\n"))?));
        for (name, bytes) in &self.files {
            lines.extend([
                format!("--{boundary}"),
                "Content-Type: application/octet-stream".into(),
                "MIME-Version: 1.0".into(),
                "Content-Transfer-Encoding: base64".into(),
                format!(
                    "Content-disposition: attachment; filename=\"{}\"",
                    one_line(name).replace('"', "\\\"")
                ),
                String::new(),
            ]);
            lines.extend(folded(bytes));
        }
        lines.push(format!("--{boundary}--"));
        Ok((lines.join("\r\n") + "\r\n").into_bytes())
    }
}

/// Returns the address in `Phrase <address>`.
pub(super) fn address(text: &str) -> String {
    let inside = text
        .rsplit_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    let address = inside.map_or(text, |(address, _)| address);
    one_line(address.trim())
}

/// Writes an address with the phrase it came with.
fn mailbox(text: &str, charset: Charset) -> Result<String, Failure> {
    let phrase = text.rsplit_once('<').map_or("", |(phrase, _)| phrase);
    let phrase = phrase.trim().trim_matches('"');
    let address = address(text);
    if phrase.is_empty() {
        return Ok(address);
    }
    let is_plain = phrase.is_ascii()
        && !phrase.contains([
            '(', ')', '<', '>', '@', ',', ';', ':', '\\', '"', '.', '[', ']',
        ]);
    let phrase = if !phrase.is_ascii() {
        charset.header(phrase)?
    } else if is_plain {
        one_line(phrase)
    } else {
        let escaped = phrase.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{}\"", one_line(&escaped))
    };
    Ok(format!("{phrase} <{address}>"))
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// Keeps a value from becoming a header of its own.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn folded(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(57).map(|chunk| BASE64.encode(chunk)).collect()
}

fn random_digits(n: usize) -> String {
    (0..n)
        .map(|_| char::from(b'0' + rand::random_range(0..10u8)))
        .collect()
}

/// How text becomes bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
    Ascii,
}

impl Charset {
    fn named(name: &str) -> Result<Self, Failure> {
        Ok(match name.to_lowercase().as_str() {
            "utf-8" | "utf8" => Self::Utf8,
            "iso-8859-1" | "latin-1" | "latin1" => Self::Latin1,
            "us-ascii" | "ascii" => Self::Ascii,
            _ => {
                return Err(Failure::new(format!(
                    "charset `{name}` is not known (utf-8, iso-8859-1 and us-ascii are)"
                )));
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Latin1 => "iso-8859-1",
            Self::Ascii => "us-ascii",
        }
    }

    fn bytes(self, text: &str) -> Result<Vec<u8>, Failure> {
        let highest = match self {
            Self::Utf8 => return Ok(text.as_bytes().to_vec()),
            Self::Latin1 => 0xff,
            Self::Ascii => 0x7f,
        };
        text.chars()
            .map(|letter| {
                let byte = u8::try_from(u32::from(letter)).ok();
                byte.filter(|byte| *byte <= highest).ok_or_else(|| {
                    Failure::new(format!("`{letter}` cannot be written in {}", self.name()))
                })
            })
            .collect()
    }

    /// Writes a header's value, in encoded words where it is more than plain text.
    fn header(self, text: &str) -> Result<String, Failure> {
        if text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Ok(text.to_owned());
        }
        let mut words = Vec::new();
        let mut chunk = String::new();
        for letter in text.chars() {
            if chunk.len() + letter.len_utf8() > 42 {
                words.push(std::mem::take(&mut chunk));
            }
            chunk.push(letter);
        }
        words.push(chunk);
        let encoded = words.iter().map(|word| {
            let bytes = BASE64.encode(self.bytes(word)?);
            Ok(format!("=?{}?b?{bytes}?=", self.name()))
        });
        let encoded: Result<Vec<_>, Failure> = encoded.collect();
        Ok(encoded?.join("\r\n "))
    }
}
