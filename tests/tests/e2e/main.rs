//! End to end over real sockets, one node and three in a process: every transport, every resume,
//! judged by clients written against the wire.

mod durable;
mod ephemeral;
mod html;
mod live;
mod operators;
mod poll;
mod publish;
mod refusals;
mod resume;
mod sse;
mod websocket;
