//! `GET /dev/cluster` and `POST /dev/nodes/{i}/{kill,start,stop,pause,resume}`: only in `dev`, only
//! for this machine's own pages and programs.

use std::sync::Weak;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{Act, Cluster, picture};
use crate::ops::{host_is_local, is_local};

/// The routes, which act on a cluster as long as it is there.
pub(super) fn router(cluster: Weak<Cluster>) -> Router {
    Router::new()
        .route("/dev/cluster", get(cluster_now))
        .route("/dev/nodes/{node}/{act}", post(act))
        .with_state(cluster)
        .route_layer(middleware::from_fn(only_here))
}

/// Refuses pages of other machines: any page can send a request to loopback. Those of this machine
/// may come from any port: a node's page goes on when its node is gone.
async fn only_here(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    let local_page = origin.as_ref().is_none_or(|origin| {
        let name = origin.to_str().ok().and_then(|o| o.split_once("://"));
        name.is_some_and(|(_, host)| is_local(host))
    });
    if !local_page || !host_is_local(headers) {
        let why = "origin_not_allowed: only pages and programs of this machine\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Names with commas between them.
    #[serde(default)]
    topics: String,
}

async fn cluster_now(State(cluster): State<Weak<Cluster>>, Query(asked): Query<Asked>) -> Response {
    match cluster.upgrade() {
        Some(cluster) => Json(picture::take(&cluster, &asked.topics)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the cluster ends\n").into_response(),
    }
}

async fn act(
    State(cluster): State<Weak<Cluster>>,
    Path((node, act)): Path<(String, String)>,
) -> Response {
    let number: Option<usize> = node.parse().ok().filter(|n| *n > 0);
    let act = match act.as_str() {
        "kill" => Some(Act::Kill),
        "start" => Some(Act::Start),
        "stop" => Some(Act::Stop),
        "pause" => Some(Act::Pause),
        "resume" => Some(Act::Resume),
        _ => None,
    };
    let (Some(number), Some(act), Some(cluster)) = (number, act, cluster.upgrade()) else {
        let how = "POST /dev/nodes/NUMBER/kill, start, stop, pause or resume\n";
        return (StatusCode::NOT_FOUND, how).into_response();
    };
    // On a thread of its own: the node acted on may be the one that answers.
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whoever asked may be gone, killed by what was asked.
        drop(done.send(cluster.act(number - 1, act)));
    });
    match result.await {
        Ok(Ok(())) => "done\n".into_response(),
        Ok(Err(why)) => (StatusCode::CONFLICT, format!("{why:#}\n")).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not done\n").into_response(),
    }
}
