//! A reign on its way to an heir. What comes meanwhile is held in its order: until the heir is named,
//! which sends it there at once, or until the reign goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::HandOverError;
use fanfare_core::attach::LinkId;
use fanfare_core::id::ReplicaId;
use fanfare_core::link::{AttachId, Ended, Redirect};
use fanfare_core::name::TopicName;

use super::{Msg, ShardRef, State};
use crate::deliver::{DeliveryLink, Wish};
use crate::fate;
use crate::publish::Work;

/// Entries an heir may be behind when a handover begins: what is pending, and a little more.
const NEAR: u64 = 64;
/// How long an heir that could not take over at once is waited for, with drafts taken meanwhile.
const WISH_WITHIN: Duration = Duration::from_secs(2);
/// How long what is pending may take to be placed and to reach the heir; then the reign goes on.
const SETTLE_WITHIN: Duration = Duration::from_millis(300);
/// How long the shard may be without a leader once the heir was asked: an heir that dies leaves it
/// to an election.
const TAKE_WITHIN: Duration = Duration::from_secs(5);
/// No handover is tried for so long after one that failed.
const REST: Duration = Duration::from_secs(1);

/// A handover that is under way.
pub(super) struct Handover {
    heir: ReplicaId,
    step: Step,
    began: Duration,
    until: Duration,
    /// Bounded by the permits of what is in it.
    held: VecDeque<Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Batches of this reign are out.
    Settling,
    /// The group asks the heir once it has everything.
    Asking,
    /// The heir was asked: this reign proposes nothing more.
    Asked,
}

enum Held {
    Draft(Box<Work>),
    Wish(Arc<DeliveryLink>, Wish),
}

impl Handover {
    pub(super) fn hold_draft(&mut self, work: Work) {
        self.held.push_back(Held::Draft(Box::new(work)));
    }
}

impl State {
    /// Begins to hand over once the heir could take over at once; drafts are taken until then.
    pub(super) fn on_transfer(&mut self, heir: ReplicaId, me: &ShardRef) {
        self.wish = Some((heir, self.reign.clock.now() + WISH_WITHIN));
        self.begin_handover(me);
    }

    pub(super) fn begin_handover(&mut self, me: &ShardRef) {
        let now = self.reign.clock.now();
        let Some((heir, until)) = self.wish.take().filter(|(_, until)| *until > now) else {
            return;
        };
        if self.handover.is_some() {
            return;
        }
        let near = self.reign.serves() && self.reign.group.could_take_over(heir, NEAR);
        if now < self.handover_at || !near {
            self.wish = Some((heir, until));
            return;
        }
        self.reign.set_handing_over(true);
        let waiting = self.intake.take_waiting().into_iter();
        self.handover = Some(Handover {
            heir,
            step: Step::Settling,
            began: now,
            until: now + SETTLE_WITHIN,
            held: waiting.map(|work| Held::Draft(Box::new(work))).collect(),
        });
        self.advance_handover(me);
    }

    /// Asks the heir once nothing of this reign is pending.
    pub(super) fn advance_handover(&mut self, me: &ShardRef) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.step != Step::Settling || !self.intake.is_settled() {
            return;
        }
        handover.step = Step::Asking;
        let within = handover.until.saturating_sub(self.reign.clock.now());
        let (reign, heir, me) = (Arc::clone(&self.reign), handover.heir, me.clone());
        self.tasks.spawn(async move {
            let done = reign.group.hand_over(heir, within).await;
            // A stopped actor holds nothing.
            me.cast(Msg::HandedOver(done)).ok();
        });
    }

    pub(super) async fn on_handed_over(&mut self, done: Result<(), HandOverError>, me: &ShardRef) {
        let now = self.reign.clock.now();
        let Some(handover) = &mut self.handover else {
            return;
        };
        match done {
            Ok(()) => {
                handover.step = Step::Asked;
                handover.until = now + TAKE_WITHIN;
                let settled = now.saturating_sub(handover.began);
                tracing::debug!(shard = %self.reign.shard, heir = %handover.heir, ?settled, "the heir is asked to take over");
            }
            Err(error) => self.resume(now, &error.to_string(), me).await,
        }
    }

    /// Ends what has waited too long, the handover too.
    pub(super) async fn check_handover(&mut self, now: Duration, me: &ShardRef) {
        self.begin_handover(me);
        let Some(handover) = &mut self.handover else {
            return;
        };
        let (late, held): (VecDeque<_>, _) = std::mem::take(&mut handover.held)
            .into_iter()
            .partition(|held| matches!(held, Held::Draft(work) if work.deadline <= now));
        handover.held = held;
        let over = handover.until <= now && handover.step != Step::Asking;
        for held in late {
            if let Held::Draft(work) = held {
                work.ticket.refuse(fate::too_late());
            }
        }
        if over {
            self.resume(now, "not in time", me).await;
        }
    }

    /// The reign goes on: what was held is judged as if it had just come.
    async fn resume(&mut self, now: Duration, why: &str, me: &ShardRef) {
        let Some(handover) = self.handover.take() else {
            return;
        };
        let Handover { heir, held, .. } = handover;
        tracing::warn!(shard = %self.reign.shard, %heir, why, "a shard was not handed over");
        self.reign.set_handing_over(false);
        self.handover_at = now + REST;
        for held in held {
            match held {
                Held::Draft(work) => self.on_draft(*work, me).await,
                Held::Wish(link, wish) => self.hall.attach(link, wish, me).await,
            }
        }
    }

    /// The reign is over: what was held goes where the redirect says.
    pub(super) fn end_handover(&mut self, redirect: Redirect) {
        let Some(handover) = self.handover.take() else {
            return;
        };
        let took = self.reign.clock.now().saturating_sub(handover.began);
        let (heir, held) = (handover.heir, handover.held.len());
        tracing::info!(shard = %self.reign.shard, %heir, ?took, held, "handed a shard over");
        for held in handover.held {
            match held {
                Held::Draft(work) => work.ticket.reroute(redirect),
                Held::Wish(link, wish) => {
                    link.put(|outbox| outbox.end(wish.attach.id, Ended::NotLeader(redirect)));
                }
            }
        }
    }

    pub(super) async fn on_attach(&mut self, link: Arc<DeliveryLink>, wish: Wish, me: &ShardRef) {
        match &mut self.handover {
            Some(handover) => handover.held.push_back(Held::Wish(link, wish)),
            None => self.hall.attach(link, wish, me).await,
        }
    }

    pub(super) fn on_detach(&mut self, link: LinkId, gone: Vec<(TopicName, AttachId)>) {
        if let Some(handover) = &mut self.handover {
            let ends = |held: &Held| match held {
                Held::Wish(of, wish) => {
                    of.id == link && gone.iter().any(|(_, id)| *id == wish.attach.id)
                }
                Held::Draft(_) => false,
            };
            handover.held.retain(|held| !ends(held));
        }
        self.hall.detach(link, gone);
    }
}
