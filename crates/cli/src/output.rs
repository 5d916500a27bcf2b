//! What commands print: lines on stdout for programs, errors on stderr for people. A closed pipe
//! ends a command without noise.

use std::io::{self, Write as _};

use crate::args::Version;
use crate::failure::Failure;
use crate::paint::{Ink, Paint};

/// Writes a line to stdout at once.
pub fn line(text: &str) -> Result<(), Failure> {
    self::text(&format!("{text}\n"))
}

/// Writes text to stdout as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| match e.kind() == io::ErrorKind::BrokenPipe {
        true => Failure::Interrupted,
        false => Failure::from(e),
    })
}

/// Writes a line to stderr; there is nobody to tell if that fails.
pub fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Says why the command failed.
pub fn error(failure: &Failure) {
    if !matches!(failure, Failure::Interrupted) {
        let name = Paint::stderr().ink(Ink::Bad, "fanfare:");
        note(&format!("{name} {}", failure.text()));
    }
}

/// `fanfare version`.
pub fn version(args: &Version) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        line(&serde_json::json!({ "version": version, "protocol": "fanfare.v1" }).to_string())
    } else {
        line(&format!("fanfare {version} (protocol fanfare.v1)"))
    }
}
