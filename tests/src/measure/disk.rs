//! The disk's own latency: three writers, each appending 4 KiB and calling fdatasync.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// Latencies of `fdatasync` in µs, over three writers in `dir` for `time`.
pub fn three_writers(dir: &Path, time: Duration) -> Result<Histogram<u64>> {
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let path = dir.join(format!("fdatasync-{n}"));
            std::thread::spawn(move || -> Result<Histogram<u64>> {
                let mut file = std::fs::File::create(path)?;
                let mut taken = Histogram::new_with_bounds(1, 60_000_000, 3)?;
                let block = [b'x'; 4_096];
                let began = Instant::now();
                while began.elapsed() < time {
                    file.write_all(&block)?;
                    let before = Instant::now();
                    file.sync_data()?;
                    taken.saturating_record(u64::try_from(before.elapsed().as_micros())?);
                }
                Ok(taken)
            })
        })
        .collect();
    let mut all = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    for writer in writers {
        all.add(
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer failed"))??,
        )?;
    }
    Ok(all)
}
