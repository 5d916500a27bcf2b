//! A call to another node that got no answer, and its deadline.

use std::time::Duration;

use crate::identity::Misdirected;

use super::channel::not_connected;

/// Why a call got no answer. The first three are definite: the call did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("this node has no identity yet")]
    NoIdentity,
    #[error(transparent)]
    Misdirected(Misdirected),
    #[error("not sent: {0}")]
    NotSent(String),
    /// Sent, maybe done.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// Sent, maybe done.
    #[error("no answer in time")]
    Timeout,
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        if let Some(refused) = Misdirected::of(&status) {
            return Self::Misdirected(refused);
        }
        // tonic ends a call at the deadline that the other node was told, in these words.
        if status.message() == tonic::TimeoutExpired(()).to_string() {
            return Self::Timeout;
        }
        match not_connected(&status) {
            Some(why) => Self::NotSent(why.to_owned()),
            None => Self::NoAnswer(format!("{}: {}", status.code(), status.message())),
        }
    }
}

impl Failure {
    /// True if the call did nothing.
    pub(crate) fn is_definite(&self) -> bool {
        match self {
            Self::NoIdentity | Self::Misdirected(_) | Self::NotSent(_) => true,
            Self::NoAnswer(_) | Self::Timeout => false,
        }
    }
}

/// The answer of a unary call, within `within`.
pub(crate) async fn answer<T>(
    within: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(within, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(Failure::Timeout),
    }
}
