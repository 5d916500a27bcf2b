//! The machines that the page speaks of, as directories, ports and processes of this one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_tests::operator::{self, Said};
use fanfare_tests::port::free_port;
use fanfare_tests::process::binary;

use crate::page::Page;

/// The hosts of the page.
const HOSTS: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
/// The ports that the page uses on each.
const PORTS: [(&str, u16); 4] = [
    ("edge", 8080),
    ("grpc", 9090),
    ("peer", 7070),
    ("ops", 9100),
];
/// What stands in for commands of the machine.
const STAND_INS: [&str; 3] = ["ssh", "systemctl", "journalctl"];

/// The test's directory: one a host, the commands, what a block leaves to the next.
pub struct World {
    dir: tempfile::TempDir,
    /// `HOST:PORT` of the page, and where that is here.
    addresses: BTreeMap<String, String>,
}

impl World {
    /// All hosts with their configuration; nothing runs.
    pub fn new(page: &Page) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut addresses = BTreeMap::new();
        for host in HOSTS {
            let home = dir.path().join(host);
            fs::create_dir_all(home.join("etc"))?;
            let mut ports = String::new();
            for (name, port) in PORTS {
                let here = free_port()?;
                writeln!(ports, "{name}={here}")?;
                addresses.insert(format!("{host}:{port}"), format!("127.0.0.1:{here}"));
            }
            fs::write(home.join("ports"), ports)?;
        }
        let world = Self { dir, addresses };
        world.commands(page)?;
        for host in HOSTS {
            let home = world.dir.path().join(host);
            fs::write(home.join("etc/node.toml"), world.config(page, host, &home))?;
        }
        Ok(world)
    }

    /// The configuration of the page, which is that of `n1`, as another host has it here.
    fn config(&self, page: &Page, host: &str, home: &Path) -> String {
        let line = |line: &str| {
            let mut line = match line.starts_with("seeds") {
                true => line.to_owned(),
                false => line.replace("n1", host),
            };
            for (_, port) in PORTS {
                let own = &self.addresses[&format!("{host}:{port}")];
                line = line.replace(&format!("0.0.0.0:{port}"), own);
                line = line.replace(&format!("127.0.0.1:{port}"), own);
            }
            let data = home.join("data").display().to_string();
            self.translate(&line.replace("/var/lib/fanfare", &data))
        };
        page.config.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn commands(&self, page: &Page) -> Result<()> {
        let bin = self.dir.path().join("bin");
        fs::create_dir_all(&bin)?;
        let script = bin.join("stand-in");
        fs::write(&script, include_str!("stand_in.sh"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        for name in STAND_INS {
            symlink(&script, bin.join(name))?;
        }
        symlink(fs::canonicalize(binary()?)?, bin.join("fanfare"))?;
        let exec = page.exec_start.replace("/usr/bin/fanfare", "fanfare");
        let exec = exec.replace("--config /etc/fanfare/node.toml", "");
        fs::write(self.dir.path().join("exec-start"), exec)?;
        fs::write(self.env(), "")?;
        Ok(())
    }

    fn env(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    fn translate(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (there, here) in &self.addresses {
            text = text.replace(there, here);
        }
        text
    }

    /// Runs a block; what it exports is there in the next one.
    pub async fn run(&self, script: &str, limit: Duration) -> Result<Said> {
        let world = self.dir.path();
        let env = self.env().display().to_string();
        let text = format!(
            "set -euo pipefail\n. {env}\n{}\nexport -p >{env}",
            self.translate(script)
        );
        let path = std::env::var("PATH").context("no PATH")?;
        let mut command = Command::new("bash");
        command
            .args(["-c", &text])
            .env("WORLD", world)
            // What a test need not wait for: nobody has a session here.
            .env("FANFARE_SHUTDOWN__GRACE", "1s")
            .env("FANFARE_RAFT__ELECTION", "2s")
            .env("PATH", format!("{}:{path}", world.join("bin").display()))
            .env_remove("FANFARE_GRPC")
            .current_dir(world);
        operator::say(command, script, limit).await
    }

    /// The last lines of every host's log, for messages.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for host in HOSTS {
            let log = fs::read_to_string(self.dir.path().join(host).join("log"));
            let lines = log.unwrap_or_default();
            let lines: Vec<&str> = lines.lines().collect();
            let tail = lines[lines.len().saturating_sub(8)..].join("\n");
            if !tail.is_empty() {
                all.push_str(&format!("--- {host}\n{tail}\n"));
            }
        }
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in HOSTS {
            let pid = fs::read_to_string(self.dir.path().join(host).join("pid"));
            if let Ok(pid) = pid {
                // An error: it has ended.
                drop(
                    Command::new("kill")
                        .args(["-s", "KILL", pid.trim()])
                        .status(),
                );
            }
        }
    }
}
