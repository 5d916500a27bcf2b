//! What the rest of the node holds of the cluster: propose, view, leader, who is heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{Identity, Status};
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::placement;
use fanfare_core::view::{Command, NodeState, Outcome, Refusal, View};
use fanfare_rpc::members::HandOver;
use fanfare_rpc::members::ProposeError;
use tokio::sync::watch;

use crate::ask::within;
use crate::beats::Seen;
use crate::cluster::{Registration, Shared};
use crate::{ProposeFailed, StartError};

/// Entries a voter may be behind to take the metadata group over.
const HEIR_BEHIND: u64 = 64;
/// How long that, and the heir's election, may take.
const HAND_OVER: Duration = Duration::from_millis(500);

/// A running node's way to the metadata. A clone is the same.
#[derive(Clone)]
pub struct ClusterHandle {
    shared: Arc<Shared>,
    identity: Identity,
}

impl ClusterHandle {
    pub(crate) fn new(shared: Arc<Shared>, identity: Identity) -> Self {
        Self { shared, identity }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Who this node is, with the generation of this run.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Proposes to whoever leads the metadata group, within the time of the configuration. The
    /// outcome may be that the command is refused. It is applied where it was proposed: wait for
    /// its version to see it in [`ClusterHandle::view`].
    pub async fn propose(&self, command: &Command) -> Result<Outcome, ProposeFailed> {
        self.shared
            .propose(command, self.shared.config.times.propose)
            .await
    }

    /// The same, within `within`.
    pub async fn propose_within(
        &self,
        command: &Command,
        within: Duration,
    ) -> Result<Outcome, ProposeFailed> {
        self.shared.propose(command, within).await
    }

    /// The highest feature level that this binary knows.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.shared.config.level
    }

    /// The newest view this node has applied; version 0 until there is one.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.shared.views.subscribe()
    }

    /// The node that leads the metadata group, as far as this one knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.shared.leader()
    }

    /// The metadata group as this node's replica sees it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared
            .group()
            .map(|group| group.status())
            .unwrap_or_default()
    }

    /// Waits until a view that holds this run of the node is applied here. An error means that
    /// the node must exit.
    pub async fn ready(&self) -> Result<Arc<View>, StartError> {
        let mut registration = self.shared.registration.subscribe();
        let ended = tokio::select! {
            biased;
            () = self.shared.deps.stop.cancelled() => return Err(StartError::Stopped),
            ended = registration.wait_for(|r| *r != Registration::Pending) => {
                ended.map_err(|_| StartError::Stopped)?.clone()
            }
        };
        match ended {
            Registration::Refused(Refusal::BinaryTooOld { level }) => {
                let known = self.shared.config.level;
                Err(StartError::BinaryTooOld { level, known })
            }
            Registration::Refused(refusal) => Err(StartError::Refused(refusal)),
            Registration::Done | Registration::Pending => {
                Ok(Arc::clone(&self.shared.views.borrow()))
            }
        }
    }

    /// How the other nodes are, by their heartbeats.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<NodeId, Seen> {
        self.shared.seen()
    }

    /// Nodes whose disk has no room (R15): those that said so in their last heartbeat, and this one.
    #[must_use]
    pub fn full(&self) -> BTreeSet<NodeId> {
        self.shared.full()
    }

    /// Says that this node leaves or pauses: it should lead nothing and get no new sessions. Ends
    /// with the node's next start.
    pub async fn drain(&self) -> Result<Outcome, ProposeFailed> {
        let Identity {
            node, generation, ..
        } = self.identity;
        self.propose(&Command::Draining { node, generation }).await
    }

    /// Leaderships that the metadata leader wants to go to another replica, one at a time. Whoever
    /// leads that shard in that term hands it over; the others need not mind.
    #[must_use]
    pub fn handovers(&self) -> watch::Receiver<Option<HandOver>> {
        self.shared.asked.subscribe()
    }

    /// Hands the metadata group over, if this node leads it and a voter on a node that stays could
    /// take over at once: what is proposed next waits for no election.
    pub async fn hand_over(&self) {
        let Some(group) = self.shared.group() else {
            return;
        };
        let view = Arc::clone(&self.shared.views.borrow());
        let stays = |replica: ReplicaId| {
            let node = view.node_of(replica).and_then(|node| view.nodes.get(&node));
            node.is_some_and(|node| node.state == NodeState::Active)
        };
        let voters = group.status().voters;
        let mut fit = voters.into_iter().filter(|id| stays(*id));
        let Some(heir) = fit.find(|id| group.could_take_over(*id, HEIR_BEHIND)) else {
            return;
        };
        match group.hand_over(heir, HAND_OVER).await {
            Ok(()) => {
                let mut role = group.role();
                // An error: the group has stopped, and leads nothing.
                let led = role.wait_for(|role| role.leader.is_some() && !role.leads);
                within(&**self.shared.deps.clock(), HAND_OVER, led).await;
            }
            Err(why) => tracing::debug!(%heir, %why, "the metadata group was not handed over"),
        }
    }

    /// Stops this node's replica of the metadata group. Cancel the token of the deps as well: it
    /// ends the tasks around it.
    pub async fn stop(&self) {
        if let Some(group) = self.shared.group.send_replace(None) {
            group.stop().await;
        }
    }
}

impl Shared {
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leader = self.group()?.role().borrow().leader;
        self.leader_node(leader)
    }

    /// Proposes here or where the leader is, until it has an outcome or `within` has passed. What
    /// was surely not proposed is sent again.
    pub(crate) async fn propose(
        &self,
        command: &Command,
        within: Duration,
    ) -> Result<Outcome, ProposeFailed> {
        let clock = self.deps.clock();
        let deadline = clock.now().saturating_add(within);
        loop {
            let left = deadline.saturating_sub(clock.now());
            if left == Duration::ZERO {
                return Err(ProposeFailed::NoLeader);
            }
            let round = tokio::select! {
                biased;
                () = self.deps.stop.cancelled() => return Err(ProposeFailed::Stopped),
                round = self.propose_round(command, left) => round,
            };
            match round {
                Ok(outcome) => return Ok(outcome),
                Err(ProposeError::Unknown) => return Err(ProposeFailed::Unknown),
                Err(
                    ProposeError::NotLeader { .. }
                    | ProposeError::NoQuorum
                    | ProposeError::NotForMe
                    | ProposeError::Unreachable(_),
                ) => {}
            }
            let left = deadline.saturating_sub(clock.now());
            clock.sleep(self.config.times.retry.min(left)).await;
        }
    }

    /// Asks this node, then whom it takes for the leader, then those that may be it.
    async fn propose_round(
        &self,
        command: &Command,
        left: Duration,
    ) -> Result<Outcome, ProposeError> {
        let here = self.propose_here(command.clone(), left).await;
        let mut told = match here {
            Err(ProposeError::NotLeader { leader }) => leader,
            done => return done,
        };
        let Some(me) = self.member() else {
            return Err(ProposeError::NotLeader { leader: None });
        };
        let voters = placement::meta_voters(&self.newest_view());
        let mut voters: Vec<NodeId> = voters.into_iter().map(|r| r.node).collect();
        let mut asked = BTreeSet::from([me.node]);
        let mut last = ProposeError::NotLeader { leader: None };
        loop {
            let next = told
                .take()
                .filter(|node| !asked.contains(node))
                .or_else(|| voters.pop());
            let Some(node) = next else { return Err(last) };
            let (true, Some(target)) = (asked.insert(node), self.deps.routes.node(node)) else {
                continue;
            };
            let Some(envelope) = self.envelope(node) else {
                return Err(last);
            };
            let member = self.dial(&target.address);
            let time = left.min(self.config.times.call);
            match self
                .propose_at(&*member, envelope, command.clone(), time)
                .await
            {
                Err(ProposeError::NotLeader { leader }) => {
                    told = leader;
                    last = ProposeError::NotLeader { leader };
                }
                Err(
                    error @ (ProposeError::NoQuorum
                    | ProposeError::NotForMe
                    | ProposeError::Unreachable(_)),
                ) => last = error,
                done @ (Ok(_) | Err(ProposeError::Unknown)) => return done,
            }
        }
    }
}
