//! What prost and tonic generate. Nothing outside of this crate sees it.
#![expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// The public services, package `fanfare.v1`.
pub(crate) mod v1 {
    tonic::include_proto!("fanfare.v1");
}

/// The server of `fanfare.v1.Subscriber` that sends encoded answers.
pub(crate) mod subscriber {
    include!(concat!(env!("OUT_DIR"), "/subscriber/fanfare.v1.rs"));
}

/// What nodes say to each other, package `fanfare.peer.v1`.
pub(crate) mod peer {
    tonic::include_proto!("fanfare.peer.v1");
}

/// What nodes store, package `fanfare.stored.v1`.
pub(crate) mod stored {
    tonic::include_proto!("fanfare.stored.v1");
}

/// The public services' descriptors, for reflection.
pub(crate) const PUBLIC: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.bin"));
