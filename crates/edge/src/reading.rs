//! Reads of standings and pages, shared by sessions.
