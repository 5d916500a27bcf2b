//! The shard's table of idempotency keys.
