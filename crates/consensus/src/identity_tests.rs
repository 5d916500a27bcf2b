//! The marker survives power cuts, tells whose the directory is, and never lies after a flip.

use std::sync::Arc;

use fanfare_host::{MemDisk, VolatileDisk};

use super::*;

const CLUSTER: ClusterId = ClusterId(0xC0FFEE);
const NODE: NodeId = NodeId(3);
const DISK: DiskId = DiskId(77);

fn dir() -> &'static Path {
    Path::new("/data")
}

#[test]
fn a_marker_is_made_once_and_counts_starts_over_power_cuts() {
    let below = MemDisk::new();
    for start in 0..4 {
        let disk = VolatileDisk::new(Arc::new(below.clone()));
        let marker = match Identity::read(&disk, dir()) {
            Err(IdentityError::Missing { .. }) => {
                assert_eq!(start, 0);
                Identity::create(&disk, dir(), CLUSTER, NODE, DISK).unwrap()
            }
            found => found.unwrap(),
        };
        assert_eq!(marker.generation, Generation(start));
        let next = marker.next_generation(&disk, dir()).unwrap();
        assert_eq!(next.generation, Generation(start + 1));
        let again = Identity::create(&disk, dir(), CLUSTER, NODE, DISK);
        assert!(matches!(again, Err(IdentityError::Exists { .. })));
        disk.kill();
    }
}

#[test]
fn a_marker_of_another_node_is_named() {
    let disk = MemDisk::new();
    let marker = Identity::create(&disk, dir(), CLUSTER, NODE, DISK).unwrap();
    assert_eq!(marker.expect(dir(), CLUSTER, NODE).unwrap(), marker);
    for (cluster, node) in [(ClusterId(1), NODE), (CLUSTER, NodeId(4))] {
        let refused = marker.expect(dir(), cluster, node).unwrap_err();
        assert!(matches!(
            refused,
            IdentityError::Foreign {
                node: NODE,
                cluster: CLUSTER,
                ..
            }
        ));
    }
}

#[test]
fn a_flipped_or_cut_marker_is_corrupt_and_never_missing() {
    let disk = MemDisk::new();
    Identity::create(&disk, dir(), CLUSTER, NODE, DISK).unwrap();
    let file = disk.open(&dir().join(NAME), Open::Write).unwrap();
    let mut good = [0; SIZE];
    file.read_exact_at(&mut good, 0).unwrap();
    for bit in 0..SIZE * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        file.write_all_at(&bad, 0).unwrap();
        let refused = Identity::read(&disk, dir());
        let refused = refused.expect_err("a flipped bit passed");
        let known = matches!(
            refused,
            IdentityError::Corrupt { .. } | IdentityError::Newer { .. }
        );
        assert!(known, "bit {bit}: {refused}");
    }
    file.write_all_at(&good, 0).unwrap();
    for length in 0..SIZE as u64 {
        file.set_len(length).unwrap();
        assert!(matches!(
            Identity::read(&disk, dir()),
            Err(IdentityError::Corrupt { .. })
        ));
    }
}
