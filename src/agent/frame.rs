//! Frames: how messages and file content share one byte stream.
//!
//! A frame is four bytes of length (big-endian, of what follows the kind), one byte of kind, and
//! that many bytes: kind `0` is a JSON control message, kind `1` is eight bytes of stream number
//! and a piece of that stream. Anything else ends the session. Knows nothing of the messages.

use std::fmt;

/// The longest control message.
pub const MAX_CONTROL: usize = 64 * 1024 * 1024;
/// The longest piece of a stream.
pub const MAX_CHUNK: usize = 256 * 1024;

const HEADER: usize = 5;
const STREAM: usize = 8;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The JSON text of a message.
    Control(Vec<u8>),
    /// A piece of a stream.
    Chunk { stream: u64, bytes: Vec<u8> },
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Control(text) => {
                header(out, text.len(), 0);
                out.extend_from_slice(text);
            }
            Self::Chunk { stream, bytes } => {
                header(out, STREAM + bytes.len(), 1);
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
}

fn header(out: &mut Vec<u8>, length: usize, kind: u8) {
    let length = u32::try_from(length).expect("senders keep to the limits, which fit");
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    UnknownKind(u8),
    TooLong { kind: u8, length: usize },
    TooShort,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::TooLong { kind, length } => {
                write!(f, "a frame of kind {kind} that claims {length} bytes")
            }
            Self::TooShort => f.write_str("a frame without its stream number"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes bytes as they come and gives out whole frames.
///
/// Never holds more than one frame's limit beyond what it was given.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the bytes that are not given out yet start.
    start: usize,
}

impl Decoder {
    /// Adds bytes from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out the next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let waiting = &self.buffer[self.start..];
        let Some((header, rest)) = waiting.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let (length, kind) = parse_header(header)?;
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = parse_payload(kind, payload)?;
        self.start += HEADER + length;
        self.compact();
        Ok(Some(frame))
    }

    /// Tells whether no part of a frame is waiting.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Moves the rest to the front once most of the buffer is given out.
    fn compact(&mut self) {
        if self.start >= 64 * 1024 && self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

/// Checks the length before a single byte of the payload is waited for.
fn parse_header(header: &[u8]) -> Result<(usize, u8), FrameError> {
    let kind = header[4];
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let limit = match kind {
        0 => MAX_CONTROL,
        1 => STREAM + MAX_CHUNK,
        kind => return Err(FrameError::UnknownKind(kind)),
    };
    if length > limit {
        return Err(FrameError::TooLong { kind, length });
    }
    Ok((length, kind))
}

fn parse_payload(kind: u8, payload: &[u8]) -> Result<Frame, FrameError> {
    if kind == 0 {
        return Ok(Frame::Control(payload.to_vec()));
    }
    let (stream, bytes) = payload
        .split_first_chunk::<STREAM>()
        .ok_or(FrameError::TooShort)?;
    Ok(Frame::Chunk {
        stream: u64::from_be_bytes(*stream),
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Control(br#"{"type":"hello"}"#.to_vec()),
            Frame::Chunk {
                stream: 7,
                bytes: vec![1, 2, 3],
            },
            Frame::Control(Vec::new()),
        ]
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_were_cut() {
        let mut wire = Vec::new();
        for frame in frames() {
            frame.encode(&mut wire);
        }
        for size in [1, 2, 7, wire.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames());
            assert!(decoder.is_empty());
        }
    }

    #[test]
    fn garbage_is_refused_by_its_first_bytes() {
        for (bytes, error) in [
            (&b"Welcome to web1!\n"[..], FrameError::UnknownKind(b'o')),
            (
                &[0xff, 0xff, 0xff, 0xff, 0][..],
                FrameError::TooLong {
                    kind: 0,
                    length: 0xffff_ffff,
                },
            ),
            (&[0, 0, 0, 3, 1, 1, 2, 3][..], FrameError::TooShort),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }
}
