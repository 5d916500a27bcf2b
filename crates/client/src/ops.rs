//! Asking a node's operator's door what a `GET` of it says: health, readiness, metrics.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::admin::AdminError;
use crate::endpoint::Address;
use crate::http::Http;
use crate::machine::Machine;
use crate::told::Ending;

/// What an operator's door answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, without white space at its ends.
    pub text: String,
}

/// Asks the operator's door `ops` for `path` (`/healthz`, `/readyz`, `/metrics`), for at most `limit`.
/// Any status is an answer; errors are `Unreachable` and `NoAnswer`.
pub async fn ask_ops(
    machine: &Machine,
    ops: &Address,
    path: &str,
    limit: Duration,
) -> Result<OpsAnswer, AdminError> {
    let request = Request::get(path)
        .body(Full::<Bytes>::default())
        .map_err(|error| AdminError::Unreachable(error.to_string()))?;
    let mut http = Http::new(machine.clone(), ops.clone());
    let answered = tokio::select! { biased;
        answered = http.ask(request) => answered,
        () = machine.clock.sleep(limit) => Err(Ending::Cut("no answer in time".to_owned())),
    };
    match answered {
        Ok(response) => Ok(OpsAnswer {
            status: response.status().as_u16(),
            text: String::from_utf8_lossy(response.body()).trim().to_owned(),
        }),
        Err(Ending::NotConnected(why)) => Err(AdminError::Unreachable(why)),
        Err(Ending::Cut(why)) => Err(AdminError::NoAnswer(why)),
        Err(Ending::Told(told)) => Err(AdminError::Refused(told)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeEdge, answer, machine, nowhere};

    #[tokio::test]
    async fn what_the_door_says_is_told_whatever_its_status() {
        let door = FakeEdge::start(|_| answer(503, "not ready: draining\n")).await;
        let ops = Address::read(&format!("http://{}", door.address)).unwrap();
        let limit = Duration::from_secs(60);
        let told = ask_ops(&machine(), &ops, "/readyz", limit).await.unwrap();
        assert_eq!(
            (told.status, told.text.as_str()),
            (503, "not ready: draining")
        );
        assert_eq!(door.asked()[0].uri, "/readyz");
        let ops = Address::read(&format!("http://{}", nowhere().await)).unwrap();
        let failed = ask_ops(&machine(), &ops, "/readyz", limit).await;
        assert!(matches!(failed, Err(AdminError::Unreachable(_))));
    }
}
