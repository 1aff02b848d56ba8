//! The journal's bytes, version 1.
//!
//! ```text
//! file    = head record*
//! head    = "BACKSTAY" version:u32 !version:u32
//! record  = length:u32 !length:u32 payload:length bytes check:32 bytes
//! check   = sha256(previous check, length, payload); the first "previous" is sha256(head)
//! payload = one `Entry` as JSON
//! ```
//! Numbers are little-endian; `!` is the bitwise complement, so that a damaged length is seen as
//! damage. A record that the file ends in, or that is zeros to the end of the file, was being
//! written when the machine stopped: it is no part of the journal. Anything else that does not
//! check is damage, and the journal is refused.

use sha2::{Digest, Sha256};

use super::{Entry, LogError};

pub(super) const VERSION: u32 = 1;
pub(super) const HEAD: usize = 16;
const MAGIC: &[u8; 8] = b"BACKSTAY";
const LENGTHS: usize = 8;
const CHECK: usize = 32;
/// No entry comes near it; a longer one is damage.
const LONGEST: u32 = 64 << 20;

/// The check of the last record, which the next one hashes in.
pub(super) type Chain = [u8; CHECK];

/// Returns the first bytes of every journal.
pub(super) fn head() -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..].copy_from_slice(&(!VERSION).to_le_bytes());
    head
}

/// Returns the chain that the first record continues.
pub(super) fn first_chain() -> Chain {
    Sha256::digest(head()).into()
}

/// Returns the record of an entry and the chain after it.
pub(super) fn encode(entry: &Entry, chain: &Chain) -> Result<(Vec<u8>, Chain), LogError> {
    let payload = serde_json::to_vec(entry).map_err(|error| LogError::Entry(error.to_string()))?;
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| LogError::Entry(format!("it is {} bytes long", payload.len())))?;
    let check = check(chain, length, &payload);
    let mut record = Vec::with_capacity(LENGTHS + payload.len() + CHECK);
    record.extend(length.to_le_bytes());
    record.extend((!length).to_le_bytes());
    record.extend(payload);
    record.extend(check);
    Ok((record, check))
}

/// What a journal's bytes say.
pub(super) struct Scan {
    pub(super) entries: Vec<Entry>,
    pub(super) chain: Chain,
    /// Where the last whole record ends.
    pub(super) length: usize,
}

/// Reads a journal from its first byte.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, LogError> {
    check_head(bytes)?;
    let mut scan = Scan {
        entries: Vec::new(),
        chain: first_chain(),
        length: HEAD.min(bytes.len()),
    };
    while let Some((payload, chain)) = next(&bytes[scan.length..], &scan.chain, scan.length)? {
        let entry = serde_json::from_slice(payload)
            .map_err(|error| LogError::Entry(format!("{error} at byte {}", scan.length)))?;
        scan.entries.push(entry);
        scan.chain = chain;
        scan.length += LENGTHS + payload.len() + CHECK;
    }
    match scan.entries.first() {
        None => Err(LogError::Unborn),
        Some(Entry::Opened(_)) => Ok(scan),
        Some(_) => Err(LogError::Damaged { at: HEAD }),
    }
}

fn check_head(bytes: &[u8]) -> Result<(), LogError> {
    let expected = head();
    if is_torn(bytes, &expected) {
        return Err(LogError::Unborn);
    }
    if bytes.len() < HEAD {
        return Err(LogError::Foreign);
    }
    if &bytes[..8] != MAGIC {
        return Err(LogError::Foreign);
    }
    let version = number(&bytes[8..]);
    if version != !number(&bytes[12..]) {
        return Err(LogError::Damaged { at: 8 });
    }
    if version != VERSION {
        return Err(LogError::Version(version));
    }
    Ok(())
}

/// Returns the next record's payload and the chain after it; `None` at the end.
fn next<'a>(
    rest: &'a [u8],
    chain: &Chain,
    at: usize,
) -> Result<Option<(&'a [u8], Chain)>, LogError> {
    let damaged = Err(LogError::Damaged { at });
    if rest.len() < LENGTHS || rest[LENGTHS..].iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let length = number(rest);
    if length != !number(&rest[4..]) || length > LONGEST {
        return damaged;
    }
    let end = LENGTHS + usize::try_from(length).map_err(|_| LogError::Damaged { at })?;
    let Some(found) = rest.get(end..end + CHECK) else {
        return Ok(None);
    };
    let payload = &rest[LENGTHS..end];
    let check = check(chain, length, payload);
    if found == check {
        return Ok(Some((payload, check)));
    }
    if is_torn(&rest[end..], &check) {
        return Ok(None);
    }
    damaged
}

/// Tells whether `found` begins as expected and then ends, or is zeros to its end.
fn is_torn(found: &[u8], expected: &[u8]) -> bool {
    let written = found
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    written < expected.len() && expected.starts_with(&found[..written])
}

fn check(chain: &Chain, length: u32, payload: &[u8]) -> Chain {
    Sha256::new()
        .chain_update(chain)
        .chain_update(length.to_le_bytes())
        .chain_update(payload)
        .finalize()
        .into()
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
