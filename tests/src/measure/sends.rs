//! The machine's own price of a delivery: a server that does nothing but one `send` of the same
//! bytes to each of so many sockets, on one CPU, to clients on the other.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::proc;

/// The hidden subcommand's work: accepts `sockets`, sends `rounds` messages of `bytes` to each.
pub fn serve(sockets: usize, rounds: usize, bytes: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let mut peers = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let (peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        peers.push(peer);
    }
    let mut go = [0];
    std::io::stdin().read_exact(&mut go)?;
    let frame = vec![b'x'; bytes];
    for _ in 0..rounds {
        for peer in &mut peers {
            peer.write_all(&frame)?;
        }
    }
    writeln!(out, "done")?;
    out.flush()?;
    // The parent reads this process's CPU time, then closes stdin.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// CPU time of one bare `send` of `bytes`, measured with the parent's clients on the other CPU.
pub fn price(sockets: usize, rounds: usize, bytes: usize) -> Result<Duration> {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};
    let own = std::env::current_exe()?;
    let mut child = Command::new(own)
        .args([
            "bare-sends",
            &sockets.to_string(),
            &rounds.to_string(),
            &bytes.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    proc::pin(child.id(), 0)?;
    let mut lines = std::io::BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let address = lines.next().context("no address")??;
    let mut clients: Vec<TcpStream> = (0..sockets)
        .map(|_| TcpStream::connect(&address))
        .collect::<Result<_, _>>()?;
    let before = proc::cpu(child.id())?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(b"g")?;
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let wanted = rounds * bytes;
        let mut left: Vec<usize> = vec![wanted; clients.len()];
        while left.iter().any(|l| *l > 0) {
            for (client, left) in clients.iter_mut().zip(&mut left) {
                if *left > 0 {
                    *left -= client.read(&mut buffer)?.min(*left);
                }
            }
        }
        Ok::<_, std::io::Error>(())
    });
    ensure!(lines.next().context("no end")?? == "done");
    reading
        .join()
        .map_err(|_| anyhow::anyhow!("the reader failed"))??;
    let used = proc::cpu(child.id())?.saturating_sub(before);
    drop(stdin);
    child.wait()?;
    Ok(used / u32::try_from(sockets * rounds)?)
}
