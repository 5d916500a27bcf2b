//! Compiles the protobuf files with protox, so that nobody installs protoc. Bytes fields are
//! `Bytes`: a payload is a slice of the frame it came in.

use std::path::{Path, PathBuf};

use prost::Message as _;

type Fallible = Result<(), Box<dyn std::error::Error>>;

const ROOT: &str = "../../proto";
const PUBLIC: [&str; 6] = [
    "fanfare/v1/message.proto",
    "fanfare/v1/publisher.proto",
    "fanfare/v1/subscriber.proto",
    "fanfare/v1/history.proto",
    "fanfare/v1/topic_admin.proto",
    "fanfare/v1/cluster_admin.proto",
];

fn main() -> Fallible {
    println!("cargo:rerun-if-changed={ROOT}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    public(&out)?;
    subscriber(&out.join("subscriber"))?;
    internal()
}

/// The public services, and their descriptors for reflection.
#[expect(
    clippy::disallowed_methods,
    reason = "a build script writes its output"
)]
fn public(out: &Path) -> Fallible {
    let files = protox::compile(PUBLIC, [ROOT])?;
    std::fs::write(out.join("public.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(files)?;
    Ok(())
}

/// The server of sessions once more, whose answers are sent as they are: encoded already.
#[expect(
    clippy::disallowed_methods,
    reason = "a build script writes its output"
)]
fn subscriber(out: &Path) -> Fallible {
    std::fs::create_dir_all(out)?;
    let files = protox::compile(["fanfare/v1/subscriber.proto"], [ROOT])?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".fanfare.v1", "crate::pb::v1")
        .extern_path(".fanfare.v1.SubscribeResponse", "crate::codec::Ready")
        .codec_path("crate::codec::ReadyCodec")
        .out_dir(out)
        .compile_fds(files)?;
    Ok(())
}

/// What nodes store and what they say to each other.
fn internal() -> Fallible {
    let stored = protox::compile(
        [
            "fanfare/stored/v1/shard.proto",
            "fanfare/stored/v1/view.proto",
        ],
        [ROOT],
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(stored)?;
    let peer = protox::compile(
        [
            "fanfare/peer/v1/peer.proto",
            "fanfare/peer/v1/raft.proto",
            "fanfare/peer/v1/members.proto",
        ],
        [ROOT],
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".fanfare.stored.v1", "crate::pb::stored")
        .compile_fds(peer)?;
    Ok(())
}
