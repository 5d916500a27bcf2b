//! Refusals as statuses (protocol sections 9 and 11): a code of gRPC, and details of
//! `google.rpc` that say the code of the protocol, the outcome, the advice and what is wrong.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_core::code::{Code, Grpc, Outcome};
use fanfare_core::receipt::Refusal;
use prost::Message as _;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::topic;

/// Domain of every `ErrorInfo` of ours.
pub(crate) const DOMAIN: &str = "fanfare";

/// The canonical code.
pub(crate) fn grpc_code(code: Code) -> tonic::Code {
    match code.grpc() {
        Grpc::Unknown => tonic::Code::Unknown,
        Grpc::InvalidArgument => tonic::Code::InvalidArgument,
        Grpc::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Grpc::NotFound => tonic::Code::NotFound,
        Grpc::AlreadyExists => tonic::Code::AlreadyExists,
        Grpc::PermissionDenied => tonic::Code::PermissionDenied,
        Grpc::ResourceExhausted => tonic::Code::ResourceExhausted,
        Grpc::FailedPrecondition => tonic::Code::FailedPrecondition,
        Grpc::Unimplemented => tonic::Code::Unimplemented,
        Grpc::Internal => tonic::Code::Internal,
        Grpc::Unavailable => tonic::Code::Unavailable,
        Grpc::Unauthenticated => tonic::Code::Unauthenticated,
    }
}

fn details(refusal: &Refusal, request_id: &str) -> ErrorDetails {
    let Refusal {
        code,
        outcome,
        detail,
        field,
        topic,
        head,
        retry_after_ms,
    } = refusal;
    let mut metadata = HashMap::from([
        ("outcome".to_owned(), outcome.as_str().to_owned()),
        (
            "advice".to_owned(),
            code.advice(*outcome).as_str().to_owned(),
        ),
    ]);
    metadata.extend(field.clone().map(|field| ("field".to_owned(), field)));
    metadata.extend(
        topic
            .as_ref()
            .map(|topic| ("topic".to_owned(), topic.to_string())),
    );
    metadata.extend(head.map(|head| ("head".to_owned(), head.to_string())));
    let mut details = ErrorDetails::new();
    details.set_error_info(code.as_str().to_ascii_uppercase(), DOMAIN, metadata);
    if let Some(ms) = retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(*ms)));
    }
    if let Some(field) = field {
        details.add_bad_request_violation(field, detail);
    }
    if !request_id.is_empty() {
        details.set_request_info(request_id, "");
    }
    details
}

/// The status of a refused call.
pub(crate) fn status(refusal: &Refusal, request_id: &str) -> tonic::Status {
    let details = details(refusal, request_id);
    tonic::Status::with_error_details(grpc_code(refusal.code), text(refusal), details)
}

/// The same as a message, for one draft of a publish stream.
pub(crate) fn rpc_status(refusal: &Refusal, request_id: &str) -> tonic_types::Status {
    let status = status(refusal, request_id);
    let bare = || tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    // The details of a status are a whole `google.rpc.Status`.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| bare())
}

fn text(refusal: &Refusal) -> &str {
    match refusal.detail.as_str() {
        "" => refusal.code.title(),
        detail => detail,
    }
}

/// What a client makes of a status. Without our details its outcome is unknown to a publisher:
/// `None`.
pub(crate) fn refusal_of(details: &ErrorDetails, message: &str) -> Option<Refusal> {
    let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
    let code = Code::by_name(&info.reason.to_ascii_lowercase())?;
    let outcome = match info.metadata.get("outcome").map(String::as_str) {
        Some("not_placed") => Outcome::NotPlaced,
        Some("none") => Outcome::None,
        _ => Outcome::Unknown,
    };
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    Some(Refusal {
        code,
        outcome,
        detail: message.to_owned(),
        field: info.metadata.get("field").cloned(),
        topic: info
            .metadata
            .get("topic")
            .and_then(|name| topic(name, "topic").ok()),
        head: info.metadata.get("head").and_then(|head| head.parse().ok()),
        retry_after_ms: retry.and_then(|delay| u64::try_from(delay.as_millis()).ok()),
    })
}

#[cfg(test)]
mod tests {
    use fanfare_core::position::Position;
    use tonic_types::RpcStatusExt as _;

    use super::*;

    #[test]
    fn a_refusal_survives_the_way_to_the_client() {
        for code in Code::ALL {
            for plain in [
                Refusal::new(*code, "why"),
                Refusal::of_publish(*code, "why"),
            ] {
                let full = Refusal {
                    head: Some(Position::new(7, 42)),
                    ..plain
                        .clone()
                        .field("expect")
                        .topic("news".parse().unwrap())
                        .retry_after(1500)
                };
                for refusal in [plain, full] {
                    let status = status(&refusal, "r-1");
                    assert_eq!(status.code(), grpc_code(*code));
                    let details = status.get_error_details();
                    assert_eq!(
                        refusal_of(&details, status.message()),
                        Some(refusal.clone())
                    );
                    assert_eq!(details.request_info().unwrap().request_id, "r-1");
                    let message = rpc_status(&refusal, "");
                    let details = message.get_error_details();
                    assert_eq!(refusal_of(&details, &message.message), Some(refusal));
                }
            }
        }
    }

    #[test]
    fn reasons_are_upper_case_and_name_the_field() {
        let refusal = Refusal::of_publish(Code::NoQuorum, "").field("draft.key");
        let status = status(&refusal, "");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("NO_QUORUM", "fanfare")
        );
        assert_eq!(info.metadata["advice"], "retry_later");
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "draft.key");
    }

    #[test]
    fn a_status_of_someone_else_says_nothing_of_the_outcome() {
        let status = tonic::Status::unavailable("connection reset");
        assert_eq!(
            refusal_of(&status.get_error_details(), status.message()),
            None
        );
    }
}
