//! What the system says of a process: CPU time and memory, and both over a stretch of a run.

use std::io;
use std::time::Duration;

use super::outcome::Used;

/// CPU time of a process, all its threads, in user and kernel mode. In steps of 10 ms.
#[expect(
    clippy::disallowed_methods,
    reason = "what the kernel tells of processes is no node's disk"
)]
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces; utime and stime are the 14th and 15th fields.
    let fields = stat.rsplit_once(')').map_or("", |split| split.1);
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    match (ticks.next(), ticks.next()) {
        (Some(Ok(user)), Some(Ok(kernel))) => Ok(Duration::from_millis((user + kernel) * 10)),
        _ => Err(strange("stat", pid)),
    }
}

/// Resident memory of a process, in bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "what the kernel tells of processes is no node's disk"
)]
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.map(|kib| kib * 1_024)
        .ok_or_else(|| strange("status", pid))
}

fn strange(file: &str, pid: u32) -> io::Error {
    let why = format!("/proc/{pid}/{file} is not as Linux writes it");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Processes over a stretch of time. One that ends meanwhile is left as it was last seen.
pub(super) struct Usage(Vec<(u32, Duration, Used)>);

impl Usage {
    /// Begins the stretch.
    pub(super) fn begin(pids: &[u32]) -> io::Result<Self> {
        let begin = |pid: &u32| {
            let used = Used {
                cpu: Duration::ZERO,
                resident: resident(*pid)?,
            };
            Ok((*pid, cpu(*pid)?, used))
        };
        Ok(Self(pids.iter().map(begin).collect::<io::Result<_>>()?))
    }

    /// Looks again.
    pub(super) fn look(&mut self) {
        for (pid, began, used) in &mut self.0 {
            if let (Ok(cpu), Ok(resident)) = (cpu(*pid), resident(*pid)) {
                used.cpu = cpu.saturating_sub(*began);
                used.resident = used.resident.max(resident);
            }
        }
    }

    /// What was used so far, by process.
    pub(super) fn used(&self) -> Vec<(u32, Used)> {
        self.0.iter().map(|(pid, _, used)| (*pid, *used)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_cpu_time() {
        let own = std::process::id();
        assert!(resident(own).unwrap() > 100_000);
        let mut usage = Usage::begin(&[own]).unwrap();
        while usage.used()[0].1.cpu.is_zero() {
            (0..1_000_000).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n));
            usage.look();
        }
        assert!(cpu(own).unwrap() >= usage.used()[0].1.cpu);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Usage::begin(&[u32::MAX]).is_err());
    }
}
