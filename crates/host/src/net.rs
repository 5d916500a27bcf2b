//! Listener, connector and the byte stream they hand out.
