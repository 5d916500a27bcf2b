//! One durable topic: append, trim, seal. The same commands give the same offsets everywhere.
