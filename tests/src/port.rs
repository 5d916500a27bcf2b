//! Ports for the nodes of tests, never given twice over all test processes that run side by side.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Below the ports that the system gives to outgoing connections, so that none takes one.
const FIRST: u16 = 10_000;
const BLOCK: u16 = 64;
const BLOCKS: u16 = 340;

/// A block of ports, this process's own while it listens on the first of them.
struct Block {
    _claim: TcpListener,
    first: u16,
    given: u16,
}

fn claim() -> Result<Block> {
    let begin = u16::try_from(std::process::id() % u32::from(BLOCKS))?;
    let mut blocks = (0..BLOCKS).map(|step| FIRST + (begin + step) % BLOCKS * BLOCK);
    let free = blocks.find_map(|first| {
        Some(Block {
            _claim: TcpListener::bind(("127.0.0.1", first)).ok()?,
            first,
            given: 0,
        })
    });
    free.context("no block of free ports")
}

/// A port that nobody listens on and no other call in any test process is given meanwhile.
pub fn free_port() -> Result<u16> {
    static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(block) = blocks.last_mut() {
            while block.given < BLOCK - 1 {
                block.given += 1;
                let port = block.first + block.given;
                if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                    return Ok(port);
                }
            }
        }
        blocks.push(claim()?);
    }
}
