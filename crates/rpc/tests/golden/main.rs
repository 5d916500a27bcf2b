//! What releases stored, read by this one: `vN/*.txt` are the bytes of format version N. Nothing
//! that was ever written stops being read; the same log gives the same state in every release.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod v1;
mod v2;

use std::path::PathBuf;

use fanfare_host::golden::{self, Values};

/// The values of a file of a version; `now`: what this release writes.
fn values(version: &str, file: &str, now: &Values) -> Values {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden::values(&dir.join(version).join(file), now)
}
