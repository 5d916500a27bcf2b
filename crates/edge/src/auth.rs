//! The door for credentials: where they may stand in a request, and what their bearer may do.

use std::sync::Arc;

use fanfare_core::code::Code;
use fanfare_core::grant::Grants;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::header;
use fanfare_protocol::secret::Secret;
use http::{HeaderMap, Method, header as names};

use crate::config::Policy;

/// Who asks, as far as the node needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) grants: Arc<Grants>,
    /// Of limits, revocation and `refresh`; `None` for anonymous bearers.
    pub(crate) subject: Option<Arc<str>>,
    /// Wall clock, ms since 1970, at which the rights end.
    pub(crate) expires_ms: Option<u64>,
}

/// Tells credentials apart.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    policy: Policy,
    open: Arc<Grants>,
}

impl Door {
    /// A door with this policy.
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            open: Arc::new(Grants::open()),
        }
    }

    /// True if the cookie counts. It comes with requests unasked, so an open door overlooks it.
    pub(crate) fn reads_cookies(&self) -> bool {
        match self.policy {
            Policy::Open => false,
        }
    }

    /// Who presents this credential (a token or key as it was sent), or none. Bad ones are refused
    /// even where none are needed; without a key to check them with, all are bad.
    pub(crate) fn bearer(&self, credential: Option<&Secret>) -> Result<Bearer, Refusal> {
        match (self.policy, credential) {
            (Policy::Open, None) => Ok(Bearer {
                grants: self.open.clone(),
                subject: None,
                expires_ms: None,
            }),
            (Policy::Open, Some(_)) => Err(Refusal::new(
                Code::Unauthenticated,
                "this node is open and has no key to check a credential with: send none",
            )),
        }
    }
}

/// Finds the one credential of an HTTP request. `token` is the query's, where the route takes one.
/// The cookie counts on GET alone, only without the others, and only with `trusted`: an `Origin`
/// that is allowed, or none and a request that is not from another site.
pub(crate) fn presented(
    method: &Method,
    headers: &HeaderMap,
    token: Option<Secret>,
    trusted: bool,
) -> Result<Option<Secret>, Refusal> {
    let mut authorization = headers.get_all(names::AUTHORIZATION).iter();
    let (first, second) = (authorization.next(), authorization.next());
    if second.is_some() || (first.is_some() && token.is_some()) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            "a request presents one credential, in one place",
        )
        .field(if token.is_some() {
            "token"
        } else {
            "Authorization"
        }));
    }
    if let Some(value) = first {
        return header::bearer(value.as_bytes()).map(Some);
    }
    if token.is_some() || method != Method::GET || !trusted {
        return Ok(token);
    }
    let mut cookies = headers.get_all(names::COOKIE).iter();
    Ok(cookies.find_map(|value| header::cookie_token(value.as_bytes())))
}
