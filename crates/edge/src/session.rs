//! One session: its actor and pump.
