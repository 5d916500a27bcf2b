//! What only each node knows of itself, its sessions and its counts: every node of the view is asked
//! over its own gRPC door, all at once. One that does not answer is told, and hides no other.

use std::time::Duration;

use fanfare_core::view::NodeState;
use fanfare_rpc::client::PublicClient;
use fanfare_rpc::heard::{CallError, Overview};
use fanfare_rpc::roster::{DisconnectWish, NodeCounts, SessionsPage, SessionsWish};
use futures_util::future::join_all;

use crate::admin::{Admin, AdminError, admin_error};
use crate::machine::Machine;

/// How long one node is waited for.
const NODE: Duration = Duration::from_secs(3);

/// Doors of the nodes that are to be asked.
pub struct Everywhere {
    machine: Machine,
    nodes: Vec<(String, Option<PublicClient>)>,
}

/// What one node said, by its name.
pub type Said<T> = (String, Result<T, AdminError>);

impl Admin {
    /// Doors of all nodes that `overview` has and that are not gone; of the node `only` alone, by name
    /// or id, if one is given.
    pub async fn everywhere(&self, overview: &Overview, only: Option<&str>) -> Everywhere {
        let mut nodes = Vec::new();
        for node in &overview.nodes {
            let name = match node.name.as_str() {
                "" => node.id.to_string(),
                name => name.to_owned(),
            };
            let wanted = only.is_none_or(|only| only == name || only == node.id.to_string());
            if wanted && node.state != Some(NodeState::Gone) {
                let client = self.client_of(&node.addresses.grpc).await;
                nodes.push((name, client));
            }
        }
        Everywhere {
            machine: self.machine.clone(),
            nodes,
        }
    }
}

impl Everywhere {
    /// Names of the nodes, in the order of the view.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|(name, _)| name.as_str())
    }

    /// What every node counts.
    pub async fn counts(&self) -> Vec<Said<NodeCounts>> {
        self.ask(async |client| client.counts().await).await
    }

    /// A page of the sessions of one node; none of a node that is not there.
    pub async fn sessions(
        &self,
        node: &str,
        wish: &SessionsWish,
    ) -> Result<SessionsPage, AdminError> {
        match self.nodes.iter().find(|(name, _)| name == node) {
            Some((_, client)) => {
                let call = async |client: PublicClient| client.sessions(wish).await;
                self.one(client.as_ref(), &call).await
            }
            None => Ok(SessionsPage::default()),
        }
    }

    /// Ends sessions wherever they are; how many each node has told.
    pub async fn disconnect(&self, wish: &DisconnectWish) -> Vec<Said<u64>> {
        self.ask(async |client| client.disconnect(wish.clone()).await)
            .await
    }

    async fn ask<T>(
        &self,
        call: impl AsyncFn(PublicClient) -> Result<T, CallError>,
    ) -> Vec<Said<T>> {
        let call = &call;
        let asked = self.nodes.iter().map(async |(name, client)| {
            let said = self.one(client.as_ref(), call).await;
            (name.clone(), said)
        });
        join_all(asked).await
    }

    async fn one<T>(
        &self,
        client: Option<&PublicClient>,
        call: &impl AsyncFn(PublicClient) -> Result<T, CallError>,
    ) -> Result<T, AdminError> {
        let Some(client) = client else {
            let why = "its gRPC address is none that can be called".to_owned();
            return Err(AdminError::Unreachable(why));
        };
        tokio::select! { biased;
            said = call(client.clone()) => said.map_err(admin_error),
            () = self.machine.clock.sleep(NODE) => {
                Err(AdminError::NoAnswer(format!("nothing within {} s", NODE.as_secs())))
            }
        }
    }
}
