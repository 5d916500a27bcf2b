//! Control of a session: hello, subscribe, ping, close.
