//! nginx with the configuration that deploy/nginx ships: names, ports and paths of this machine put in
//! their places, everything else as it is.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_tests::port::free_port;
use fanfare_tests::wait;
use fanfare_tests::wire::http;
use fanfare_tests::wire::session::Node;

const SHIPPED: &str = include_str!("../../../deploy/nginx/fanfare.conf");
const READY: Duration = Duration::from_secs(60);

/// A running nginx.
pub struct Nginx {
    /// Where clients go: in cleartext, over HTTP/1.1, and gRPC.
    pub door: Node,
    /// The port of TLS, with HTTP/2.
    pub tls: String,
    dir: tempfile::TempDir,
    child: Child,
}

impl Nginx {
    /// Starts the shipped configuration, changed by `edit`, before `nodes`.
    pub async fn start(nodes: &[Node], edit: impl Fn(String) -> String) -> Result<Self> {
        let binary = found().context("there is no nginx: `found` was to be asked before")?;
        let dir = tempfile::tempdir()?;
        certificate(dir.path())?;
        let local = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (edge, grpc, tls) = (local()?, local()?, local()?);
        let shipped = adapted(dir.path(), nodes, &edge, &grpc, &tls)?;
        let own = dir.path().join("nginx.conf");
        fs::write(dir.path().join("fanfare.conf"), edit(shipped))?;
        fs::write(&own, around(dir.path()))?;
        let log = fs::File::create(dir.path().join("said"))?;
        let mut command = Command::new(binary);
        command.arg("-e").arg(dir.path().join("error.log"));
        command.arg("-p").arg(dir.path()).arg("-c").arg(&own);
        command.stdin(Stdio::null()).stdout(log.try_clone()?);
        let child = command.stderr(log).spawn().context("starting nginx")?;
        let door = Node { edge, grpc };
        let mut nginx = Self {
            door,
            tls,
            dir,
            child,
        };
        nginx.ready().await?;
        Ok(nginx)
    }

    async fn ready(&mut self) -> Result<()> {
        let edge = self.door.edge.clone();
        let answers = wait::until("nginx to answer", READY, || async {
            let answer = http::get(&edge, "/v1/poll?topic=proxy.ready").await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            Ok(())
        });
        let answered = answers.await;
        answered.with_context(|| format!("nginx:\n{}", self.log()))
    }

    /// What nginx said, for messages.
    pub fn log(&self) -> String {
        ["said", "error.log"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // One process, so nothing of it is left.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The nginx of this machine, if there is one.
pub fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join("nginx"))
        .find(|file| file.is_file())
}

/// What stands around a file of conf.d: one process that writes nowhere but in its directory.
fn around(dir: &Path) -> String {
    let dir = dir.display();
    let mut temp = String::new();
    for kind in ["proxy", "client_body", "fastcgi", "uwsgi", "scgi"] {
        // Writing into a String does not fail.
        writeln!(temp, "    {kind}_temp_path {dir}/{kind};").unwrap_or_default();
    }
    format!(
        "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/error.log warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n{temp}    include {dir}/fanfare.conf;\n}}\n"
    )
}

fn adapted(dir: &Path, nodes: &[Node], edge: &str, grpc: &str, tls: &str) -> Result<String> {
    let listed = |own: fn(&Node) -> &str| {
        let line = |node| format!("    server {} max_fails=2 fail_timeout=5s;\n", own(node));
        nodes.iter().map(line).collect::<String>()
    };
    let three = |port| {
        let line = |n| format!("    server n{n}:{port} max_fails=2 fail_timeout=5s;\n");
        (1..=3).map(line).collect::<String>()
    };
    let at = |name: &str| dir.join(name).display().to_string();
    let both = format!("listen {edge};\n    listen {tls} ssl http2;");
    let places = [
        (three(8080), listed(|node| &node.edge)),
        (three(9090), listed(|node| &node.grpc)),
        ("listen 443 ssl http2;".into(), both),
        (
            "listen 9443 ssl http2;".into(),
            format!("listen {grpc} http2;"),
        ),
        ("/etc/ssl/push.example.pem".into(), at("cert.pem")),
        ("/etc/ssl/push.example.key".into(), at("cert.key")),
        ("/var/log/nginx/fanfare.log".into(), at("access.log")),
    ];
    places
        .iter()
        .try_fold(SHIPPED.to_owned(), |text, (there, here)| {
            ensure!(text.contains(there), "the shipped file has no {there}");
            Ok(text.replace(there, here))
        })
}

fn certificate(dir: &Path) -> Result<()> {
    let (key, cert) = (dir.join("cert.key"), dir.join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=push.example", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(cert)
        .output()
        .context("openssl, for a certificate")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "openssl: {said}");
    Ok(())
}
