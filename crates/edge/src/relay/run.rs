//! A run as an edge keeps it: the messages, and for each wire format that was asked for their
//! encoded form, made once and shared by all sessions.
