//! What releases wrote, read by this one: calls of raft, the log, the marker of a data directory,
//! the file of a snapshot. `tests/golden/vN` are the bytes of format version N.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, Term};
use fanfare_host::golden::{self, Values};
use fanfare_host::{Disk, MemDisk, Open, SeededRng};
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::raft_types::{
    CommittedLeaderId, Encoded, Entry, LogId, Membership, SnapshotMeta, StoredMembership, Types,
    Vote,
};
use crate::snapshot::SnapshotFile;
use crate::testing::{Counter, Numbers};
use crate::wal::{Job, Record, RecordKind, Wal, WalOptions};
use crate::{Codec as _, Identity, LogPosition, StateMachine as _, format};

type Append = AppendEntriesRequest<Types<Counter>>;

fn values(version: &str, file: &str, now: &Values) -> Values {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden::values(&dir.join(version).join(file), now)
}

fn at(term: u64, index: u64) -> LogPosition {
    let term = Term(term);
    LogPosition { term, index }
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(term),
        index,
    }
}

fn vote(committed: bool) -> Vote {
    let mut vote = Vote::new(7, 3);
    vote.committed = committed;
    vote
}

fn members() -> Membership {
    let voters = |ids: [u64; 3]| BTreeSet::from(ids);
    let joint = vec![voters([1, 2, 3]), voters([2, 3, 4])];
    Membership::new_with_defaults(joint, [9])
}

fn append() -> Append {
    let normal = |number: u64| Encoded {
        bytes: Numbers.encode(&number),
        command: Arc::new(number),
    };
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(normal(77)),
        EntryPayload::Membership(members()),
    ];
    let entry = |(index, payload)| Entry::<Counter> {
        log_id: id(7, index),
        payload,
    };
    AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: Some(id(6, 40)),
        entries: (41..).zip(payloads).map(entry).collect(),
        leader_commit: Some(id(6, 39)),
    }
}

fn vote_request() -> VoteRequest<Types<Counter>> {
    let mut request = VoteRequest::new(vote(false), Some(id(6, 40)));
    request.leadership_transfer = true;
    request
}

/// Every kind of raft's calls and answers, and the structs that are stored.
fn frames() -> Values {
    let transfer = TransferLeaderRequest::<Types<Counter>>::new(vote(true), 4, Some(id(6, 40)));
    let granted = VoteResponse::<Types<Counter>>::new(vote(false), Some(id(6, 40)), true);
    let partial = AppendEntriesResponse::<Types<Counter>>::PartialSuccess(Some(id(7, 41)));
    let higher = AppendEntriesResponse::<Types<Counter>>::HigherVote(vote(true));
    let stored = StoredMembership::new(Some(id(5, 1)), members());
    [
        ("append_request", format::append_request(&append())),
        ("append_partial", format::append_response(&partial)),
        ("append_higher", format::append_response(&higher)),
        ("vote_request", format::vote_request(&vote_request())),
        ("vote_response", format::vote_response(&granted)),
        ("transfer_request", format::transfer_request(&transfer)),
        ("vote", format::vote(&vote(true))),
        (
            "snapshot_head",
            format::snapshot_head(Some(&id(6, 40)), &stored),
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .into()
}

#[test]
fn calls_of_raft_and_stored_structs() {
    let old = values("v1", "raft_frames.txt", &frames());
    let of = |name: &str| Bytes::from(old[name].clone());
    let read = format::read_append_request::<Counter>(of("append_request"), &Numbers).unwrap();
    let sent = append();
    assert_eq!(
        (read.vote, read.prev_log_id, read.leader_commit),
        (sent.vote, sent.prev_log_id, sent.leader_commit)
    );
    assert_eq!(read.entries.len(), 3);
    let EntryPayload::Normal(command) = &read.entries[1].payload else {
        panic!("no command");
    };
    assert_eq!(*command.command, 77);
    let EntryPayload::Membership(found) = &read.entries[2].payload else {
        panic!("no members");
    };
    assert_eq!(*found, members());
    let asked = format::read_vote_request::<Counter>(of("vote_request")).unwrap();
    assert!(asked.leadership_transfer && asked.last_log_id == Some(id(6, 40)));
    let granted = format::read_vote_response::<Counter>(of("vote_response")).unwrap();
    assert!(granted.vote_granted);
    assert_eq!(format::read_vote(&of("vote")).unwrap(), vote(true));
    let (last, stored) = format::read_snapshot_head(of("snapshot_head")).unwrap();
    assert_eq!((last, stored.membership()), (Some(id(6, 40)), &members()));
    // Nodes of two releases talk to each other: what is sent is the same, byte by byte.
    assert_eq!(old, frames());
}

/// What is said while a snapshot is sent: offers and chunks, and the answers.
fn transfers() -> Values {
    use format::Reply;
    let group = crate::GroupId::Shard(fanfare_core::id::ShardId(5));
    [
        ("offer", format::offer(&vote(true), &meta(), 70_000)),
        ("chunk", format::chunk(group, 65_536, b"some bytes")),
        (
            "chunk_of_metadata",
            format::chunk(crate::GroupId::Meta, 0, b""),
        ),
        ("reply_busy", format::reply(&Reply::Busy)),
        (
            "reply_corrupt",
            format::reply(&Reply::Corrupt("bad".to_owned())),
        ),
        ("reply_done", format::reply(&Reply::Done(vote(true)))),
        ("reply_taken", format::reply(&Reply::Taken(65_536))),
        ("reply_working", format::reply(&Reply::Working)),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .into()
}

#[test]
fn what_is_said_while_a_snapshot_is_sent() {
    use format::{Part, Reply};
    let old = values("v1", "transfers.txt", &transfers());
    assert_eq!(old, transfers());
    let of = |name: &str| Bytes::from(old[name].clone());
    let Part::Offer {
        vote: by,
        meta: offered,
        length,
    } = format::read_part(of("offer")).unwrap()
    else {
        panic!("no offer");
    };
    assert_eq!((by, length), (vote(true), 70_000));
    assert_eq!(offered.last_log_id, meta().last_log_id);
    assert_eq!(offered.last_membership, meta().last_membership);
    let Part::Chunk { group, at, bytes } = format::read_part(of("chunk")).unwrap() else {
        panic!("no chunk");
    };
    assert_eq!((group, at, &bytes[..]), (5, 65_536, &b"some bytes"[..]));
    let replies = [
        ("reply_busy", Reply::Busy),
        ("reply_corrupt", Reply::Corrupt("bad".to_owned())),
        ("reply_done", Reply::Done(vote(true))),
        ("reply_taken", Reply::Taken(65_536)),
        ("reply_working", Reply::Working),
    ];
    for (name, said) in replies {
        assert_eq!(format::read_reply(of(name)).unwrap(), said);
    }
}

const DIR: &str = "/data";
const SEGMENT: u64 = 4_096;

fn bytes_of(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The files of a directory by name, without the zeros at their ends.
fn files(disk: &dyn Disk) -> Values {
    let whole = |path: PathBuf| {
        let mut bytes = bytes_of(disk, &path);
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        bytes.truncate(end);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, bytes)
    };
    let mut all = disk.list(Path::new(DIR)).unwrap();
    all.retain(|path| path.extension().is_none_or(|end| end != "lock"));
    all.into_iter().map(whole).collect()
}

/// A disk with these files, each at least `length` bytes long.
fn disk_of(files: &Values, length: u64) -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in files {
        let file = disk.open(&Path::new(DIR).join(name), Open::Create).unwrap();
        let mut bytes = bytes.clone();
        bytes.resize(bytes.len().max(usize::try_from(length).unwrap()), 0);
        file.write_all_at(&bytes, 0).unwrap();
    }
    disk
}

fn open(disk: MemDisk) -> Wal {
    let options = WalOptions {
        segment_bytes: SEGMENT,
        carry_bytes: 256,
        ahead: false,
        ..WalOptions::new(Arc::new(SeededRng::new(7)))
    };
    Wal::open(Arc::new(disk), Path::new(DIR), options).unwrap()
}

fn record(kind: RecordKind, term: u64, index: u64) -> Record {
    Record::new(kind, term, index)
}

/// Every kind of record, over two segments.
fn write_log(disk: &MemDisk) {
    let mut wal = open(disk.clone());
    let mut commit = |replica: u64, records: Vec<Record>| {
        let mut job = Job::new(replica, records);
        wal.stage(&mut job);
        wal.commit(&[job]).unwrap();
    };
    let entry = |term, index| Record::entry(term, index, 1, vec![b'x'; 300].into());
    commit(1, (0..8).map(|index| entry(1, index)).collect());
    commit(2, vec![Record::vote(Bytes::from_static(b"a vote"))]);
    commit(1, vec![record(RecordKind::Truncation, 0, 6), entry(2, 6)]);
    commit(2, vec![entry(3, 0), entry(3, 1)]);
    commit(3, vec![entry(1, 0)]);
    commit(1, vec![record(RecordKind::Purge, 1, 2)]);
    commit(1, vec![Record::committed(Some(at(1, 5)))]);
    commit(3, vec![record(RecordKind::Removal, 0, 0)]);
    wal.rest().unwrap();
}

#[test]
fn a_log_with_every_kind_of_record() {
    let written = MemDisk::new();
    write_log(&written);
    let old = values("v1", "log.txt", &files(&written));
    let wal = open(disk_of(&old, SEGMENT));
    let terms = |replica| -> Vec<(u64, u64)> {
        let read = wal.read(replica, 0, u64::MAX, usize::MAX).unwrap();
        assert!(read.iter().all(|entry| entry.payload.len() == 300));
        read.iter().map(|entry| (entry.index, entry.term)).collect()
    };
    assert_eq!(terms(1), [(3, 1), (4, 1), (5, 1), (6, 2)]);
    assert_eq!(terms(2), [(0, 3), (1, 3)]);
    assert_eq!(wal.replicas(), [1, 2]);
    let extent = wal.extent(1);
    assert_eq!(extent.purged, Some(at(1, 2)));
    assert_eq!(extent.committed, Some(at(1, 5)));
    let vote = wal.extent(2).vote;
    assert_eq!(vote.as_deref(), Some(&b"a vote"[..]));
}

#[test]
fn the_marker_of_a_data_directory() {
    let (cluster, node, id) = (ClusterId(0xC0FFEE << 64), NodeId(3), DiskId(77 << 90));
    let written = MemDisk::new();
    let marker = Identity::create(&written, Path::new(DIR), cluster, node, id).unwrap();
    marker.next_generation(&written, Path::new(DIR)).unwrap();
    let old = values("v1", "marker.txt", &files(&written));
    let read = Identity::read(&disk_of(&old, 0), Path::new(DIR)).unwrap();
    let generation = Generation(1);
    assert_eq!(
        read,
        Identity {
            cluster,
            node,
            disk: id,
            generation
        }
    );
    assert_eq!(old, files(&written));
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(id(6, 9)),
        last_membership: StoredMembership::new(Some(id(5, 1)), members()),
    }
}

fn counter() -> Counter {
    let mut counter = Counter::default();
    for index in 0..10 {
        counter.apply(at(1, index), Some(&(index * 1_000)));
    }
    counter
}

fn write_snapshot(disk: &MemDisk) {
    use crate::snapshot::{Haste, NodeShare, Snapshots};
    let share = NodeShare::new(
        Arc::new(disk.clone()),
        Arc::new(fanfare_host::RealClock::new()),
        crate::Reserve::default(),
        Arc::default(),
        Arc::new(|error: &std::io::Error| panic!("{error}")),
    );
    let snapshots = Snapshots::open(share, DIR.into()).unwrap();
    let mut state = counter().freeze();
    snapshots
        .write(&meta(), state.as_mut(), Haste::Hurried)
        .unwrap();
}

fn read_snapshot(disk: &MemDisk) -> SnapshotFile {
    let path = disk.list(Path::new(DIR)).unwrap().pop().unwrap();
    SnapshotFile::open(disk, path).unwrap()
}

#[test]
fn the_file_of_a_snapshot() {
    let written = MemDisk::new();
    write_snapshot(&written);
    let old = values("v1", "snapshot.txt", &files(&written));
    let file = read_snapshot(&disk_of(&old, 0));
    assert_eq!(file.meta.last_log_id, meta().last_log_id);
    assert_eq!(file.meta.last_membership, meta().last_membership);
    let mut restored = Counter::default();
    let mut blocks = file.blocks().unwrap().map(Result::unwrap);
    restored.restore(&mut blocks).unwrap();
    assert_eq!(restored.numbers(), counter().numbers());
}
