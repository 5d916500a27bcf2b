//! The door for credentials: where they may stand in a request, and what their bearer may do.

use fanfare_core::code::Code;
use fanfare_core::grant::Grants;
use fanfare_core::receipt::Refusal;

use crate::config::Policy;
use crate::transport::{Authenticate, Bearer};

/// Tells credentials apart.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    policy: Policy,
}

impl Door {
    /// A door with this policy.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// Who presents this credential, or none. Bad ones are refused even where none are needed.
    pub(crate) fn admit(&self, credential: Option<&str>) -> Result<Bearer, Refusal> {
        match (self.policy, credential) {
            (Policy::Open, None) => Ok(Bearer {
                subject: None,
                grants: Grants::open(),
                expires_at_ms: None,
            }),
            (Policy::Open, Some(_)) => Err(Refusal::new(
                Code::Unauthenticated,
                "this node has no key to check a credential with: send none",
            )),
        }
    }
}

impl Authenticate for Door {
    fn bearer(&self, token: &str) -> Result<Bearer, Refusal> {
        self.admit(Some(token))
    }
}
