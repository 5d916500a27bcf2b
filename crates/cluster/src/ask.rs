//! Calls to other nodes, each with an end.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::NodeId;
use fanfare_core::view::{Command, Outcome};
use fanfare_host::Clock;
use fanfare_rpc::members::{CallError, Card, Envelope, Members, ProposeError, Stage};
use futures_util::future::join_all;

use crate::cluster::Shared;
use crate::routes::Target;

/// The result of `work`, `None` if it takes longer than `time`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    time: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(time) => None,
    }
}

/// The answer of a seed.
pub(crate) struct Answer {
    pub(crate) seed: String,
    pub(crate) card: Result<Card, CallError>,
}

impl Shared {
    /// Asks all seeds at once who they are, in the order of the configuration.
    pub(crate) async fn ask_seeds(&self) -> Vec<Answer> {
        join_all(self.config.seeds.iter().map(async |seed| Answer {
            seed: seed.clone(),
            card: self.identify(seed).await,
        }))
        .await
    }

    pub(crate) async fn identify(&self, address: &str) -> Result<Card, CallError> {
        let asked = self.dial(address).identify(self.config.name.clone());
        let card = within(&**self.deps.clock(), self.config.times.call, asked).await;
        card.unwrap_or(Err(CallError::NoAnswer))
    }

    /// True if a card is that of this node, met at an address of its own.
    pub(crate) fn is_mine(&self, card: &Card) -> bool {
        card.name == self.config.name && card.addresses == self.config.addresses
    }

    /// Notes where members say they are, which may be newer than any view here.
    pub(crate) async fn find_members(&self) {
        let Some(me) = self.member() else { return };
        for card in self
            .ask_seeds()
            .await
            .into_iter()
            .filter_map(|answer| answer.card.ok())
        {
            if let Stage::Member {
                cluster,
                node,
                generation,
                ..
            } = card.stage
                && cluster == me.cluster
            {
                let address = card.addresses.peer;
                self.deps.routes.heard(Target {
                    cluster,
                    node,
                    generation,
                    address,
                });
            }
        }
    }

    /// Proposes at one node. No answer in time means unknown.
    pub(crate) async fn propose_at(
        &self,
        member: &dyn Members,
        envelope: Envelope,
        command: Command,
        time: Duration,
    ) -> Result<Outcome, ProposeError> {
        let asked = member.propose(envelope, command, time);
        let answer = within(&**self.deps.clock(), time, asked).await;
        answer.unwrap_or(Err(ProposeError::Unknown))
    }

    /// A way to the members at `address`.
    pub(crate) fn dial(&self, address: &str) -> Arc<dyn Members> {
        self.deps.dial.members(address)
    }

    /// The envelope of a call from this node, `None` before it is a member.
    pub(crate) fn envelope(&self, to: NodeId) -> Option<Envelope> {
        let me = self.member()?;
        Some(Envelope {
            cluster: me.cluster,
            to,
            from: me.node,
            generation: me.generation,
        })
    }
}
