//! The lock of one application on one host: a kernel lock, and a record of who holds it.
//!
//! The kernel frees the lock when its last holder dies, so the record is only told, never trusted:
//! a record without a locked file beside it is history. Waiting is the controller's business.

use serde::{Deserialize, Serialize};

use super::state::RunInfo;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The transaction.
    pub id: String,
    pub application: String,
    pub run: RunInfo,
    /// Seconds since the epoch.
    pub since: i64,
    /// The guardian, once it runs.
    pub pid: Option<u32>,
    /// The boot it runs in.
    pub boot_id: String,
}
