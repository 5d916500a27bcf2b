//! The metadata group: bootstrap, membership, failure detector, controller.
