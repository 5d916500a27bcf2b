//! Shards of this node: admission, batches, replies, attachments, ephemeral topics.
