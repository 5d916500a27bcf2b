//! The machine's own limits, beside which a run is read: one bare `send` on loopback, one `write`
//! and fdatasync on a disk.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use super::outcome::Latency;

const SENDS: u32 = 100_000;
const ROUNDS: u32 = 2_000;
/// How long each writer syncs.
const SYNCING: Duration = Duration::from_secs(2);
const BLOCK: [u8; 4_096] = [b'x'; 4_096];

/// What the machine can do by itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// CPU time of the sender for one `send` of these bytes to a loopback socket.
    pub send_cpu: Duration,
    /// There and back over loopback, thread to thread, µs.
    pub round: Latency,
    /// A write of 4 KiB and its fdatasync by one writer, µs.
    pub fdatasync: Latency,
    /// Bytes of a `send`.
    pub bytes: usize,
}

impl Limits {
    /// Measures for some seconds; `bytes` of a send, a directory on the disk in question.
    pub(super) fn measure(dir: &Path, bytes: usize) -> io::Result<Self> {
        Ok(Self {
            send_cpu: send_cpu(bytes)?,
            round: Latency::of(&rounds(bytes)?),
            fdatasync: Latency::of(&fdatasync(dir, 1, SYNCING)?),
            bytes,
        })
    }
}

/// Latencies in µs of a 4 KiB append and its fdatasync, over so many writers in `dir` for `time`.
/// The files are removed.
pub fn fdatasync(dir: &Path, writers: usize, time: Duration) -> io::Result<Histogram<u64>> {
    let mut all = empty()?;
    let running: Vec<_> = (0..writers)
        .map(|n| {
            let path = dir.join(format!("fdatasync-{}-{n}", std::process::id()));
            std::thread::spawn(move || {
                let taken = sync(&path, time);
                remove(&path)?;
                taken
            })
        })
        .collect();
    for writer in running {
        let taken = writer.join().map_err(|_| failed("a writer failed"))??;
        all.add(taken).map_err(failed)?;
    }
    Ok(all)
}

fn sync(path: &Path, time: Duration) -> io::Result<Histogram<u64>> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    let mut taken = empty()?;
    let end = now().saturating_add(time);
    while now() < end {
        file.write_all(&BLOCK)?;
        let before = now();
        file.sync_data()?;
        taken.saturating_record(micros(now().saturating_sub(before)));
    }
    Ok(taken)
}

#[expect(clippy::disallowed_methods, reason = "a file of this measurement")]
fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

fn send_cpu(bytes: usize) -> io::Result<Duration> {
    let (mut here, mut there) = pair()?;
    let reading = std::thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while there.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let frame = vec![b'x'; bytes];
    let before = cpu();
    for _ in 0..SENDS {
        here.write_all(&frame)?;
    }
    let used = cpu().saturating_sub(before);
    drop(here);
    reading.join().map_err(|_| failed("the reader failed"))??;
    Ok(used / SENDS)
}

fn rounds(bytes: usize) -> io::Result<Histogram<u64>> {
    let (mut here, mut there) = pair()?;
    let echoing = std::thread::spawn(move || -> io::Result<()> {
        let mut frame = vec![0; bytes];
        for _ in 0..ROUNDS {
            there.read_exact(&mut frame)?;
            there.write_all(&frame)?;
        }
        Ok(())
    });
    let mut frame = vec![b'x'; bytes];
    let mut taken = empty()?;
    for _ in 0..ROUNDS {
        let before = now();
        here.write_all(&frame)?;
        here.read_exact(&mut frame)?;
        taken.saturating_record(micros(now().saturating_sub(before)));
    }
    echoing.join().map_err(|_| failed("the echo failed"))??;
    Ok(taken)
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

fn empty() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(failed)
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(why)
}

fn now() -> Duration {
    span(ClockId::Monotonic)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    span(ClockId::ThreadCPUTime)
}

fn span(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_costs_something_and_a_disk_takes_its_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(send_cpu(128).unwrap() > Duration::ZERO);
        assert_eq!(rounds(128).unwrap().len(), u64::from(ROUNDS));
        let synced = fdatasync(dir.path(), 2, Duration::from_millis(50)).unwrap();
        assert!(synced.len() >= 2);
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "files are removed");
    }
}
