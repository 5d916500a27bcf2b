//! What every public call has: its caller, its id, its deadline, and refusals that carry the id.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::receipt::Refusal;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::convert::Malformed;
use crate::convert::refusal::status;
use crate::public::{Caller, Remote};

/// The deadline of a call without one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// A later one is cut: the server's is never later than the client's.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30);

/// Gives calls their ids.
#[derive(Clone)]
pub(super) struct Calls(pub(super) Arc<dyn Fn() -> String + Send + Sync>);

impl Calls {
    /// Who calls, and the message.
    pub(super) fn take<T>(&self, request: Request<T>) -> (Caller, T) {
        let header = request.metadata().get("authorization");
        let caller = Caller {
            // Not text is not a credential; it is handed on as one that cannot be good.
            authorization: header.map(|value| value.to_str().unwrap_or("").to_owned()),
            remote: request.extensions().get::<Remote>().map(|remote| remote.0),
            request_id: (self.0)(),
        };
        (caller, request.into_inner())
    }
}

/// What is left of the caller's deadline.
pub(super) fn deadline(metadata: &MetadataMap) -> Duration {
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout);
    asked.unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(raw: &str) -> Option<Duration> {
    let (digits, unit) = raw.split_at_checked(raw.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// The status of a message that is not what it must be; of a publish, it says `not_placed`.
pub(super) fn malformed(bad: Malformed, caller: &Caller) -> Status {
    status(&bad.into(), &caller.request_id)
}

/// A refusal's status, with the call's id.
pub(super) fn refused(id: &str) -> impl Fn(Refusal) -> Status {
    move |refusal| status(&refusal, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_the_clients_or_five_seconds_and_never_above_thirty() {
        let of = |raw: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", raw.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(deadline(&MetadataMap::new()), Duration::from_secs(5));
        assert_eq!(of("1500m"), Duration::from_millis(1500));
        assert_eq!(of("2S"), Duration::from_secs(2));
        assert_eq!(of("99999999H"), Duration::from_secs(30));
        for bad in ["S", "5", "-5S", "123456789S", "5s"] {
            assert_eq!(of(bad), Duration::from_secs(5), "{bad}");
        }
    }
}
