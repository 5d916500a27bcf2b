//! What the system says of a process: memory, CPU time; and on which CPU it may run.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .context("no VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .trim();
    Ok(kib.parse::<u64>()? * 1_024)
}

/// CPU time of a process, all its threads, in user and kernel mode.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let after = stat.rsplit_once(')').context("no name")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("short")?.parse()?) };
    // utime and stime are the 14th and 15th fields; a tick is 10 ms on Linux.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Binds all threads of a process to one CPU.
pub fn pin(pid: u32, cpu: usize) -> Result<()> {
    let output = Command::new("taskset")
        .args(["-a", "-c", "-p", &cpu.to_string(), &pid.to_string()])
        .output()
        .context("taskset (of util-linux) is needed to bind a process to a CPU")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
