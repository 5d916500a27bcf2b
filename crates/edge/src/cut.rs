//! How the stream that carries an answer is ended from outside the answer.

use tokio_util::sync::CancellationToken;

/// Ends the HTTP/2 stream of one request; the accept loop puts it into the request's extensions. A
/// client that gives a stream no window stops its body from being looked at: then this is the only
/// way to let go of what it holds.
#[derive(Clone, Debug)]
pub struct Cut(CancellationToken);

impl Cut {
    /// `token` is cancelled to end the stream.
    pub fn new(token: CancellationToken) -> Self {
        Self(token)
    }

    /// Ends it.
    pub fn now(&self) {
        self.0.cancel();
    }
}
