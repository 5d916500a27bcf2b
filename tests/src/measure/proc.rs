//! What the system says of a process: memory, CPU time; and on which CPU it may run.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_cli::bench;

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    Ok(bench::resident(pid)?)
}

/// CPU time of a process, all its threads, in user and kernel mode.
pub fn cpu(pid: u32) -> Result<Duration> {
    Ok(bench::cpu(pid)?)
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
