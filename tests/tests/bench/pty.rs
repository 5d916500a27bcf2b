//! A pseudo-terminal for a command's stderr, and what it shows.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What a terminal was shown.
pub struct Terminal {
    shown: String,
    more: Receiver<String>,
}

/// A terminal, and the file that a command writes to.
pub fn open() -> Result<(Terminal, File)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let theirs = File::options().read(true).write(true).open(path)?;
    let (sender, more) = channel();
    let mut ours = File::from(ours);
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        // An error says that the other side is closed.
        while let Ok(n @ 1..) = ours.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let terminal = Terminal {
        shown: String::new(),
        more,
    };
    Ok((terminal, theirs))
}

impl Terminal {
    /// Waits until it was shown this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while !self.shown.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.more.recv_timeout(left) {
                Ok(more) => self.shown.push_str(&more),
                Err(why) => bail!("waited for {text:?}: {why}; shown: {:?}", self.shown),
            }
        }
        Ok(())
    }

    /// All that was shown until the other side was closed.
    pub fn all(mut self) -> String {
        self.shown.extend(self.more.iter());
        self.shown
    }
}
