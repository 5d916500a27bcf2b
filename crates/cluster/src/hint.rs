//! A copy of a view in the data directory: where the members were when it was written, and which
//! replica of the metadata group this node has. Never served: the group's log is the truth.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_consensus::Codec;
use fanfare_core::view::View;
use fanfare_host::{Disk, Open};
use tokio::sync::Mutex;

use crate::HintError;
use crate::cluster::Shared;

const MAGIC: &[u8; 8] = b"ffview1\n";
/// Magic, begun, crc32c of all that follows the checksum's place and of `begun`.
const HEAD: usize = 13;
/// Longest file that is read, in bytes.
const MAX: u64 = 64 << 20;

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// True once this node's replica of the metadata group has a log: from then on an empty log
    /// is a lost one.
    pub(crate) begun: bool,
    pub(crate) view: View,
}

impl Hint {
    /// Reads the copy in `dir`; `None` if there is none, or none that can be trusted.
    pub(crate) fn read(
        disk: &dyn Disk,
        dir: &Path,
        codec: &dyn Codec<View>,
    ) -> Result<Option<Self>, HintError> {
        let path = path(dir);
        match read_all(disk, &path) {
            Ok(stored) => Ok(parse(&stored, codec)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HintError::Disk { path, source }),
        }
    }

    /// Replaces the copy in `dir`. Durable when it returns.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        codec: &dyn Codec<View>,
    ) -> Result<(), HintError> {
        let view = codec.encode(&self.view);
        let mut stored = Vec::with_capacity(HEAD + view.len());
        stored.extend_from_slice(MAGIC);
        stored.push(u8::from(self.begun));
        stored.extend_from_slice(&checksum(self.begun, &view).to_be_bytes());
        stored.extend_from_slice(&view);
        let path = path(dir);
        let write = || {
            let temporary = path.with_extension("new");
            match disk.remove(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = disk.open(&temporary, Open::Create)?;
            file.write_all_at(&stored, 0)?;
            file.sync()?;
            disk.rename(&temporary, &path)?;
            disk.sync_dir(dir)
        };
        write().map_err(|source| HintError::Disk {
            path: path.clone(),
            source,
        })
    }
}

/// Who writes the copy takes a turn, and keeps it until the disk is done: a write goes on though
/// nobody waits for it any more.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Waits for a turn; it ends with the work that is returned.
    pub(crate) async fn take<T, F: FnOnce(&dyn Disk) -> T>(
        &self,
        work: F,
    ) -> impl FnOnce(&dyn Disk) -> T + use<T, F> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        move |disk| {
            let _turn = turn;
            work(disk)
        }
    }
}

/// Keeps the copy near the view: written when the members, their addresses or the level change.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut views = shared.views.subscribe();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let old = shared.hint();
        let stale = old.as_ref().is_none_or(|hint| {
            view.version > hint.view.version
                && (view.nodes != hint.view.nodes
                    || view.meta != hint.view.meta
                    || view.level != hint.view.level)
        });
        if stale && view.is_bootstrapped() {
            let hint = Hint {
                begun: true,
                view: View::clone(&view),
            };
            if let Err(error) = shared.write_hint(hint).await {
                tracing::warn!(%error, "the copy of the view is not written");
            }
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Where the copy is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("view.hint")
}

fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = file.len()?.min(MAX);
    let mut stored = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut stored, 0)?;
    Ok(stored)
}

fn parse(stored: &[u8], codec: &dyn Codec<View>) -> Option<Hint> {
    let (head, view) = stored.split_at_checked(HEAD)?;
    let (magic, rest) = head.split_at_checked(MAGIC.len())?;
    let (begun, crc) = rest.split_first()?;
    let begun = match begun {
        0 => false,
        1 => true,
        _ => return None,
    };
    if magic != MAGIC || crc != checksum(begun, view).to_be_bytes() {
        return None;
    }
    let view = codec.decode(&Bytes::copy_from_slice(view)).ok()?;
    Some(Hint { begun, view })
}

fn checksum(begun: bool, view: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[u8::from(begun)]), view)
}

#[cfg(test)]
mod tests {
    use fanfare_host::MemDisk;
    use futures_util::{FutureExt as _, pin_mut};

    use super::*;

    /// As nodes store it.
    struct Stored;

    impl Codec<View> for Stored {
        fn encode(&self, view: &View) -> Bytes {
            fanfare_rpc::convert::stored::encode_view(view)
        }

        fn decode(&self, bytes: &Bytes) -> Result<View, fanfare_consensus::Malformed> {
            let read = fanfare_rpc::convert::stored::decode_view(bytes);
            read.map_err(|bad| fanfare_consensus::Malformed {
                what: bad.to_string(),
            })
        }
    }

    fn hint() -> Hint {
        use fanfare_core::id::{ClusterId, DiskId, NodeId, ReplicaId};
        use fanfare_core::view::{Addresses, Bootstrap, Command, NewNode, Replica};
        let node = NodeId(2);
        let mut view = View::empty();
        view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(7 << 100),
            level: 2,
            payload_limit: 65_536,
            nodes: vec![NewNode {
                id: node,
                name: "n2".to_owned(),
                disk: DiskId(4 << 90),
                level: 2,
                addresses: Addresses {
                    peer: "10.0.0.2:7070".to_owned(),
                    ..Addresses::default()
                },
            }],
            meta: vec![Replica {
                id: ReplicaId(3),
                node,
            }],
            shards: fanfare_core::placement::first(&[node].into(), 2),
        }));
        Hint { begun: true, view }
    }

    #[test]
    fn a_copy_that_a_release_wrote_is_read_by_this_one() {
        let dir = Path::new("/data");
        let disk = MemDisk::new();
        disk.create_dir_all(dir).unwrap();
        hint().write(&disk, dir, &Stored).unwrap();
        let now = read_all(&disk, &path(dir)).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/hint.txt");
        let now = [("view.hint".to_owned(), now)].into();
        let old = fanfare_host::golden::values(Path::new(file), &now);
        assert_eq!(parse(&old["view.hint"], &Stored), Some(hint()));
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_any_more_keeps_its_turn() {
        let (turns, disk) = (Turns::default(), MemDisk::new());
        let first = turns.take(|_| 1).await;
        let second = turns.take(|_| 2);
        pin_mut!(second);
        assert!((&mut second).now_or_never().is_none(), "two writes at once");
        assert_eq!(first(&disk), 1);
        assert_eq!(second.await(&disk), 2);
    }
}
