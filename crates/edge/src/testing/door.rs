//! The edge listener of a test's cluster, without a socket.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::World;
use crate::Edge;
use crate::config::EdgeConfig;

pub(crate) struct Door {
    pub(crate) world: World,
    pub(crate) edge: Edge,
    pub(crate) router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code, outcome, advice.
    pub(crate) fn problem(&self) -> (u16, String, String, String) {
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], self.status);
        assert_eq!(json["type"], format!("/v1/errors/{}", text("code")));
        assert_eq!(json["request_id"], self.header("fanfare-request-id"));
        (self.status, text("code"), text("outcome"), text("advice"))
    }
}

pub(crate) async fn door(config: EdgeConfig) -> Door {
    let world = World::default();
    let (edge, _deps, view) = world.edge(config).await;
    // The view outlives the door: an edge keeps the last one it saw.
    drop(view);
    let router = edge.router();
    Door {
        world,
        edge,
        router,
    }
}

impl Door {
    pub(crate) async fn send(&self, request: request::Builder, body: impl Into<Body>) -> Answer {
        let request = request
            .header("host", "edge.example")
            .body(body.into())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        assert_eq!(answer.header("fanfare-request-id").len(), 16);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        answer
    }
}
