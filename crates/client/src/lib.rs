//! A well-behaved client: publisher, subscriber over every transport, admin.
