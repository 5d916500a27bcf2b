//! `fanfare doctor DIR`: what a stopped node's data directory holds, and what is wrong with it.

use std::io;
use std::path::Path;

use fanfare_host::{Disk as _, RealDisk};
use fanfare_server::doctor::{Fault, GroupId, LogPosition, ReplicaFacts, Report, inspect};
use serde_json::{Value, json};

use crate::args::Doctor;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: &Doctor) -> Result<(), Failure> {
    let (disk, dir) = (RealDisk, Path::new(&args.target));
    let shown = dir.display();
    let entries = disk.list(dir);
    let entries = entries.map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
    let ours = ["identity", "log", "replicas"].map(|name| dir.join(name));
    if !entries.iter().any(|entry| ours.contains(entry)) {
        let text = format!("{shown} is no data directory of a node: it has no identity and no log");
        return Err(Failure::Usage(text));
    }
    // Held until all is read, so that no node starts on it meanwhile.
    let _held = disk.lock(dir, false).map_err(|error| {
        Failure::Usage(match error.kind() == io::ErrorKind::WouldBlock {
            true => format!(
                "a running node has {shown} open: stop it first, or look at it with \
                 `fanfare cluster status`"
            ),
            false => format!("cannot lock {shown}: {error}"),
        })
    })?;
    let report = inspect(&disk, dir).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Failure::Usage(text)
    })?;
    output::line(&match args.json {
        true => as_json(dir, &report).to_string(),
        false => text(dir, &report),
    })?;
    match report.faults.len() {
        0 => Ok(()),
        faults => Err(Failure::No(format!("{faults} faults in {shown}"))),
    }
}

fn group(group: GroupId) -> String {
    match group {
        GroupId::Meta => "metadata".to_owned(),
        GroupId::Shard(shard) => format!("shard {shard}"),
    }
}

fn at(position: Option<LogPosition>) -> String {
    position.map_or_else(|| "-".to_owned(), |at| format!("{}@{}", at.index, at.term))
}

fn replica(facts: &ReplicaFacts) -> String {
    let vote = facts.vote.map_or_else(
        || "no vote".to_owned(),
        |(term, voted, _)| format!("term {term}, voted for {voted}"),
    );
    let first = facts
        .first
        .map_or_else(|| "-".to_owned(), |at| at.to_string());
    let snapshot = facts.snapshot.map_or_else(
        || "no snapshot".to_owned(),
        |(last, bytes)| format!("snapshot to {} of {bytes} B, sound", at(last)),
    );
    let lost = if facts.lost {
        ", LOST: the cluster makes another"
    } else {
        ""
    };
    format!(
        "  {} replica {}: {vote}, entries {first}..{}, committed {}, {snapshot}, {} B of log{lost}",
        group(facts.group),
        facts.replica,
        at(facts.last),
        at(facts.committed),
        facts.bytes,
    )
}

fn fault(fault: &Fault) -> String {
    let at = fault
        .offset
        .map_or_else(String::new, |at| format!(" at byte {at}"));
    format!(
        "  {}{at}: {}\n    -> {}",
        fault.path.display(),
        fault.what,
        fault.advice
    )
}

fn text(dir: &Path, report: &Report) -> String {
    let mut lines = vec![match &report.marker {
        Some(marker) => format!(
            "{}: node {} of cluster {}, disk {}, started {} times",
            dir.display(),
            marker.node,
            marker.cluster,
            marker.disk,
            marker.generation
        ),
        None => format!("{}: no marker that can be used", dir.display()),
    }];
    lines.push(format!("replicas: {}", report.replicas.len()));
    lines.extend(report.replicas.iter().map(replica));
    lines.push(format!("log segments: {}", report.segments.len()));
    lines.extend(report.segments.iter().map(|segment| {
        let (path, live) = (segment.path.display(), segment.live);
        format!(
            "  {path}: {} of {} B written, {live} B needed",
            segment.used, segment.bytes
        )
    }));
    for (what, entries) in [
        ("set aside in quarantine", &report.quarantine),
        ("unknown replicas put aside", &report.unknown),
    ] {
        if !entries.is_empty() {
            lines.push(format!(
                "{what}: {} (yours to remove once they are of no use)",
                entries.len()
            ));
            let entry = |(path, bytes): &(std::path::PathBuf, u64)| {
                format!("  {}: {bytes} B", path.display())
            };
            lines.extend(entries.iter().map(entry));
        }
    }
    if report.faults.is_empty() {
        lines.push("sound".to_owned());
    } else {
        lines.push(format!("FAULTS: {}", report.faults.len()));
        lines.extend(report.faults.iter().map(fault));
    }
    lines.join("\n")
}

fn as_json(dir: &Path, report: &Report) -> Value {
    let position =
        |at: Option<LogPosition>| at.map(|at| json!({ "index": at.index, "term": at.term.0 }));
    let replica = |facts: &ReplicaFacts| {
        let shard = match facts.group {
            GroupId::Meta => None,
            GroupId::Shard(shard) => Some(shard.0),
        };
        json!({
            "shard": shard,
            "replica": facts.replica.0,
            "term": facts.vote.map(|(term, _, _)| term.0),
            "voted_for": facts.vote.map(|(_, voted, _)| voted.0),
            "first": facts.first,
            "last": position(facts.last),
            "committed": position(facts.committed),
            "snapshot": facts.snapshot.map(|(last, bytes)| json!({ "last": position(last), "bytes": bytes })),
            "log_bytes": facts.bytes,
            "lost": facts.lost,
        })
    };
    let entries = |entries: &[(std::path::PathBuf, u64)]| {
        let entry = |(path, bytes): &(std::path::PathBuf, u64)| json!({ "path": path.display().to_string(), "bytes": bytes });
        entries.iter().map(entry).collect::<Vec<_>>()
    };
    json!({
        "dir": dir.display().to_string(),
        "marker": report.marker.map(|marker| json!({
            "cluster": marker.cluster.to_string(),
            "node": marker.node.0,
            "disk": marker.disk.to_string(),
            "generation": marker.generation.0,
        })),
        "replicas": report.replicas.iter().map(replica).collect::<Vec<_>>(),
        "segments": report.segments.iter().map(|segment| json!({
            "path": segment.path.display().to_string(),
            "bytes": segment.bytes,
            "used": segment.used,
            "live": segment.live,
        })).collect::<Vec<_>>(),
        "quarantine": entries(&report.quarantine),
        "unknown": entries(&report.unknown),
        "faults": report.faults.iter().map(|fault| json!({
            "path": fault.path.display().to_string(),
            "offset": fault.offset,
            "what": fault.what,
            "advice": fault.advice,
        })).collect::<Vec<_>>(),
        "sound": report.faults.is_empty(),
    })
}
