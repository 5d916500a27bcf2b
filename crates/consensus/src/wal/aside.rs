//! Setting a segment with bad bytes aside: the file itself goes to a directory of its own, and a
//! copy takes its place in which fillings stand where the bytes were bad.

use std::io;
use std::path::{Path, PathBuf};

use fanfare_host::{Disk, Open};

use super::create_dir;
use super::record::{HEAD, Record};
use super::segment::{self, BODY};
use super::survey::Stretch;

const CLEAN: &str = "clean";

/// Sets aside every segment that `bad` names, into `to`. Each stretch of them must be of an open
/// segment, and at least a record's head long. A crash between leaves the log as it was, or is
/// brought to its end by [`finish`]. The paths of what was set aside. Blocks.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    dir: &Path,
    to: &Path,
    bad: &[Stretch],
) -> io::Result<Vec<PathBuf>> {
    let mut numbers: Vec<u64> = bad.iter().map(|stretch| stretch.segment).collect();
    numbers.dedup();
    let mut moved = Vec::new();
    for number in numbers {
        let path = segment::path(dir, number);
        let stretches = bad.iter().filter(|stretch| stretch.segment == number);
        let clean = copy(disk, &path, number, stretches)?;
        create_dir(disk, to)?;
        let aside = free_name(disk, to, &path)?;
        disk.rename(&path, &aside)?;
        disk.sync_dir(to)?;
        disk.sync_dir(dir)?;
        disk.rename(&clean, &path)?;
        disk.sync_dir(dir)?;
        moved.push(aside);
    }
    Ok(moved)
}

/// Writes the copy beside the segment, durable when it returns.
fn copy<'a>(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    stretches: impl Iterator<Item = &'a Stretch>,
) -> io::Result<PathBuf> {
    let unreadable = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let whole = segment::read(disk, path, number)
        .map_err(io::Error::other)?
        .map_err(unreadable)?;
    let mut bytes = whole.bytes;
    for stretch in stretches.filter(|stretch| stretch.from >= BODY) {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let (from, to) = (place(stretch.from), place(stretch.to));
        let Some(room) = bytes.get_mut(from..to).filter(|room| room.len() >= HEAD) else {
            return Err(unreadable("a bad stretch is too short".to_owned()));
        };
        let mut filling = Vec::with_capacity(room.len());
        Record::filling(room.len()).encode(0, whole.salt, &mut filling);
        room.copy_from_slice(&filling);
    }
    let clean = path.with_extension(format!("wal.{CLEAN}"));
    match disk.remove(&clean) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&clean, Open::Create)?;
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    if let Some(dir) = path.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(clean)
}

/// Brings to its end what a crash left half done.
pub(super) fn finish(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let paths = disk.list(dir)?;
    for clean in &paths {
        let end = clean.extension().and_then(|end| end.to_str());
        if end != Some(CLEAN) {
            continue;
        }
        let path = clean.with_extension("");
        if paths.contains(&path) {
            disk.remove(clean)?;
        } else {
            disk.rename(clean, &path)?;
        }
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// A name in `dir` for `path` that is not taken: nothing set aside is overwritten.
pub(crate) fn free_name(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let taken = disk.list(dir)?;
    let names = (0_u64..).map(|nth| match nth {
        0 => dir.join(&*name),
        nth => dir.join(format!("{name}.{nth}")),
    });
    let mut free = names.filter(|name| !taken.contains(name));
    free.next()
        .ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}
