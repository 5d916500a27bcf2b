//! The operator's door: `/healthz`, `/readyz`, `/metrics`, and the one explicit act that makes a
//! cluster. Pages of browsers reach loopback too, so a request from one is refused.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use fanfare_cluster::{Cluster, InitError};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::health::Health;
use crate::metrics::Exposition;

/// What the operator's door shows and does.
pub(crate) struct Ops {
    pub(crate) health: Health,
    pub(crate) metrics: Exposition,
    pub(crate) cluster: Cluster,
    /// True while the log takes drafts.
    pub(crate) log_writable: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The routes; `extra` are those of a mode (`dev`).
pub(crate) fn router(ops: Arc<Ops>, extra: Router) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/cluster/init", post(init))
        .with_state(ops)
        .merge(extra)
        .layer(middleware::from_fn(no_pages))
}

/// Refuses what a browser's page may have sent: an `Origin`, or a `Host` that is no loopback name
/// (DNS rebinding).
async fn no_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let page = headers.contains_key(header::ORIGIN) || !host_is_local(headers);
    if page && !request.uri().path().starts_with("/dev/") {
        let why = "origin_not_allowed: the operator's door answers loopback hosts and no pages\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

/// True if the `Host` is `localhost` or a loopback address. HTTP/2 has it in the URI: absent here.
pub(crate) fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    is_local(host)
}

/// True if `HOST[:PORT]` names this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    match ops.health.ready((ops.log_writable)()) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
            .into_response(),
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, KIND)], ops.metrics.text()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InitQuery {
    shards: u32,
}

async fn init(State(ops): State<Arc<Ops>>, Query(query): Query<InitQuery>) -> Response {
    if !(1..=1024).contains(&query.shards) {
        return problem(
            StatusCode::BAD_REQUEST,
            "invalid_argument",
            "`shards` is from 1 to 1024",
        );
    }
    match ops.cluster.init(query.shards).await {
        Ok(cluster) => {
            Json(json!({ "cluster": cluster.to_string(), "shards": query.shards })).into_response()
        }
        Err(e) => refuse_init(&e),
    }
}

fn refuse_init(error: &InitError) -> Response {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    problem(StatusCode::CONFLICT, "not_ready", &text)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    (status, Json(json!({ "code": code, "detail": detail }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for local in [
            "localhost",
            "localhost:9100",
            "127.0.0.1:9100",
            "127.8.8.8",
            "[::1]:9100",
        ] {
            assert!(is_local(local), "{local}");
        }
        for strange in [
            "evil.example",
            "localhost.evil.example:80",
            "10.0.0.1",
            "[2001::1]:80",
            "",
        ] {
            assert!(!is_local(strange), "{strange}");
        }
    }
}
