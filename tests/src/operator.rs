//! The binary as an operator uses it: one command, its exit code and what it printed.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::binary;
use crate::wait;

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    pub command: String,
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The same, if the command succeeded; else an error with all that it said.
    pub fn done(self) -> Result<Self> {
        ensure!(self.code == Some(0), "{self}");
        Ok(self)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        write!(f, "{}{}", self.stdout, self.stderr)?;
        match self.code {
            Some(code) => write!(f, "exit code {code}"),
            None => write!(f, "ended by a signal"),
        }
    }
}

/// Runs `fanfare ARGS` with the gRPC doors of nodes to ask, for at most `limit`.
pub async fn fanfare(args: &[&str], doors: &[String], limit: Duration) -> Result<Said> {
    let mut command = Command::new(binary()?);
    let urls: Vec<String> = doors.iter().map(|door| format!("http://{door}")).collect();
    command.args(args).env("FANFARE_GRPC", urls.join(","));
    let shown = format!("fanfare {}", args.join(" "));
    say(command, &shown, limit).await
}

/// Runs any command, `shown` in messages, for at most `limit`; then it is killed.
pub async fn say(mut command: Command, shown: &str, limit: Duration) -> Result<Said> {
    // Files, not pipes: what the command leaves running may keep them open.
    let (out, err) = (
        tempfile::NamedTempFile::new()?,
        tempfile::NamedTempFile::new()?,
    );
    command.stdin(Stdio::null());
    command.stdout(out.reopen()?).stderr(err.reopen()?);
    let mut child = Ended(command.spawn().with_context(|| shown.to_owned())?);
    let told = || -> Result<(String, String)> {
        let read = |file: &tempfile::NamedTempFile| std::fs::read(file.path());
        let (out, err) = (read(&out)?, read(&err)?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&out), text(&err)))
    };
    let status = wait::until(&format!("`{shown}` to end"), limit, || {
        let status = child.0.try_wait();
        async move { status.map_err(anyhow::Error::from)?.context("it runs") }
    })
    .await;
    let (stdout, stderr) = told()?;
    let status = status.with_context(|| format!("{stdout}{stderr}"))?;
    Ok(Said {
        command: shown.to_owned(),
        code: status.code(),
        stdout,
        stderr,
    })
}

/// A child that does not outlive the wait for it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // An error: it has ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
