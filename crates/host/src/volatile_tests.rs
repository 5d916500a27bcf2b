//! A power cut keeps what was synced and nothing else, on a disk in memory and on the machine's.

use super::*;
use crate::{Faults, FaultyDisk, MemDisk, Operation, RealDisk};

fn write(disk: &dyn Disk, path: &Path, text: &str) -> Box<dyn File> {
    let file = disk.open(path, Open::Create).unwrap();
    file.write_all_at(text.as_bytes(), 0).unwrap();
    file
}

fn read(disk: &dyn Disk, path: &Path) -> Option<String> {
    let file = disk.open(path, Open::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// Runs a story on both kinds of disk below.
fn on_both(story: impl Fn(Arc<dyn Disk>, &Path)) {
    let dir = Path::new("/data");
    let memory = MemDisk::new();
    memory.create_dir_all(dir).unwrap();
    story(Arc::new(memory), dir);
    let dir = tempfile::tempdir().unwrap();
    story(Arc::new(RealDisk), dir.path());
}

#[test]
fn a_file_survives_once_its_bytes_and_its_name_are_synced() {
    on_both(|below, dir| {
        let disk = VolatileDisk::new(Arc::clone(&below));
        write(&disk, &dir.join("none"), "lost");
        write(&disk, &dir.join("bytes"), "kept").sync().unwrap();
        disk.sync_dir(dir).unwrap();
        let both = write(&disk, &dir.join("both"), "kept");
        both.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        both.write_all_at(b"lost", 4).unwrap();
        write(&disk, &dir.join("late"), "lost").sync().unwrap();
        assert_eq!(read(&disk, &dir.join("both")).as_deref(), Some("keptlost"));
        disk.kill();
        let off = both.sync().unwrap_err();
        assert!(PowerLost::is_why(&off), "{off}");

        let again = VolatileDisk::new(below);
        assert_eq!(read(&again, &dir.join("none")).as_deref(), Some(""));
        assert_eq!(read(&again, &dir.join("bytes")).as_deref(), Some("kept"));
        assert_eq!(read(&again, &dir.join("both")).as_deref(), Some("kept"));
        assert_eq!(read(&again, &dir.join("late")), None);
    });
}

#[test]
fn a_rename_over_a_file_is_undone_until_the_directory_is_synced() {
    on_both(|below, dir| {
        let (name, new) = (dir.join("marker"), dir.join("marker.new"));
        let disk = VolatileDisk::new(Arc::clone(&below));
        write(&disk, &name, "one").sync().unwrap();
        disk.sync_dir(dir).unwrap();
        write(&disk, &new, "two").sync().unwrap();
        disk.rename(&new, &name).unwrap();
        assert_eq!(read(&disk, &name).as_deref(), Some("two"));
        disk.kill();

        let disk = VolatileDisk::new(Arc::clone(&below));
        assert_eq!(read(&disk, &name).as_deref(), Some("one"));
        write(&disk, &new, "three").sync().unwrap();
        disk.rename(&new, &name).unwrap();
        disk.sync_dir(dir).unwrap();
        disk.kill();

        let disk = VolatileDisk::new(Arc::clone(&below));
        assert_eq!(read(&disk, &name).as_deref(), Some("three"));
        assert_eq!(disk.list(dir).unwrap(), vec![name]);
    });
}

#[test]
fn a_removal_is_undone_until_the_directory_is_synced() {
    on_both(|below, dir| {
        let name = dir.join("segment");
        let disk = VolatileDisk::new(Arc::clone(&below));
        write(&disk, &name, "old").sync().unwrap();
        disk.sync_dir(dir).unwrap();
        disk.remove(&name).unwrap();
        assert_eq!(read(&disk, &name), None);
        assert_eq!(disk.list(dir).unwrap(), Vec::<PathBuf>::new());
        disk.kill();

        let disk = VolatileDisk::new(Arc::clone(&below));
        assert_eq!(read(&disk, &name).as_deref(), Some("old"));
        disk.remove(&name).unwrap();
        disk.sync_dir(dir).unwrap();
        disk.kill();
        assert_eq!(read(&VolatileDisk::new(below), &name), None);
    });
}

#[test]
fn blocks_of_an_unsynced_write_land_in_any_order() {
    on_both(|below, dir| {
        let name = dir.join("log");
        let disk = VolatileDisk::new(Arc::clone(&below));
        let file = write(&disk, &name, &"-".repeat(3 * BLOCK));
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        file.write_all_at(&vec![b'x'; 3 * BLOCK], 0).unwrap();
        let mut n = 0;
        disk.kill_keeping(|| {
            n += 1;
            n != 2
        })
        .unwrap();
        let found = read(&VolatileDisk::new(below), &name).unwrap();
        let want = ["x".repeat(BLOCK), "-".repeat(BLOCK), "x".repeat(BLOCK)].concat();
        assert_eq!(found, want);
    });
}

#[test]
fn the_call_told_to_fail_fails_and_no_other() {
    let faults = Faults::default();
    let memory = MemDisk::new();
    memory.create_dir_all(Path::new("/d")).unwrap();
    let disk = FaultyDisk::new(Arc::new(memory), faults.clone());
    let file = write(&disk, Path::new("/d/f"), "a");
    faults.fail(Operation::Sync, 2, io::ErrorKind::StorageFull);
    file.sync().unwrap();
    assert_eq!(file.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.sync().unwrap();
    assert_eq!(faults.count(Operation::Sync), 3);
    assert_eq!(faults.count(Operation::Write), 1);
}
