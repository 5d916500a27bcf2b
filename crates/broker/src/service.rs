//! What other nodes and the edge of this one ask of the broker: it finds the shard and hands on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_consensus::{ConfirmError, ProposeError};
use fanfare_core::attach::LinkId;
use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, Gap, GapReason, Page, Standing};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{
    EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest, Redirect,
    StandRequest,
};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::shard::{Command, Entry, Outcome, Unread};
use fanfare_rpc::peer::Peer;
use fanfare_rpc::topics::{TopicCommand, TopicInfo};
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};

use crate::court::Court;
use crate::deliver::{DeliveryLink, Shards};
use crate::directory::Local;
use crate::fate::{of_refused, refusal};
use crate::parts::Parts;
use crate::publish::PublishLink;
use crate::shard::Msg;
use fanfare_host::Gauge;

/// Answers that may wait in the channel of a link, beside what the link itself holds.
const LINK_CHANNEL: usize = 256;
/// How long a change of topics may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);
/// How long an ephemeral topic may take to answer a read: it may have to reserve epochs.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at an ephemeral stream whose head is waited for.
const EPHEMERAL_LOOK: Duration = Duration::from_millis(50);
/// Most messages and bytes of one page, whatever is asked.
const MAX_PAGE: (u32, u64) = (1_000, 1 << 20);
/// Most topics of one list.
const MAX_LIST: u32 = 1_000;

/// This node's broker as a peer.
pub(crate) struct Service {
    parts: Arc<Parts>,
    links: AtomicU64,
}

impl Service {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            links: AtomicU64::new(1),
        }
    }
}

impl Peer for Service {
    fn publish(&self, drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        let (verdicts, answers) = mpsc::channel(LINK_CHANNEL);
        let parts = Arc::clone(&self.parts);
        let link = Arc::new(PublishLink::new(Arc::clone(&parts.metrics)));
        let reading = Arc::clone(&link);
        self.parts.groups.tasks.spawn(async move {
            let _open = Counted::new(&parts.metrics.publish_links);
            let read = reading.read(
                drafts,
                || parts.groups.clock.now(),
                |work| parts.directory.publish(work),
            );
            tokio::select! { biased;
                () = parts.stop.cancelled() => {}
                () = reading.gone() => {}
                () = read => {}
            }
            reading.close();
        });
        self.parts.groups.tasks.spawn(link.write(verdicts));
        answers
    }

    fn deliver(&self, edge: NodeId, says: mpsc::Receiver<EdgeSays>) -> mpsc::Receiver<LeaderSays> {
        let (to_edge, from_leader) = mpsc::channel(LINK_CHANNEL);
        let id = LinkId(self.links.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(DeliveryLink::new(id, edge, self.parts.links.child_token()));
        let shards: Arc<dyn Shards> = Arc::clone(&self.parts.directory) as Arc<dyn Shards>;
        let parts = Arc::clone(&self.parts);
        let reading = Arc::clone(&link);
        self.parts.groups.tasks.spawn(async move {
            let _open = Counted::new(&parts.metrics.delivery_links);
            reading.read(says, shards).await;
        });
        let clock = Arc::clone(&self.parts.groups.clock);
        self.parts.groups.tasks.spawn(link.write(to_edge, clock));
        from_leader
    }

    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            let redirect = parts.directory.redirect(shard);
            let Some(court) = parts.directory.court(shard) else {
                return requests
                    .iter()
                    .map(|_| Err(NoRead::Reroute(redirect)))
                    .collect();
            };
            if let Err(no) = confirm(&court).await {
                return requests.iter().map(|_| Err(no.clone())).collect();
            }
            let wait = Duration::from_millis(u64::from(wait_ms));
            let until = parts.groups.clock.now() + wait;
            let standings = requests
                .into_iter()
                .map(|wish| stand_one(&court, wish, until));
            join_all(standings).await
        })
    }

    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            let redirect = parts.directory.redirect(request.shard);
            let Some(local) = parts.directory.get(request.shard) else {
                return Err(NoRead::Reroute(redirect));
            };
            let serving = local.court.clone().filter(|court| court.reign.serves());
            if request.leader && serving.is_none() {
                return Err(NoRead::Reroute(redirect));
            }
            page(&local, serving, request, redirect).await
        })
    }

    fn leader(&self, shard: ShardId) -> BoxFuture<'static, Redirect> {
        let redirect = self.parts.directory.redirect(shard);
        Box::pin(async move { redirect })
    }

    fn topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            let redirect = parts.directory.redirect(shard);
            let Some(court) = parts.directory.court(shard) else {
                return Err(NoRead::Reroute(redirect));
            };
            match command {
                TopicCommand::Create { name, rules } => {
                    let limit = parts.view.borrow().payload_limit;
                    if let Err(bad) = rules.check(limit) {
                        let refusal = refusal(Code::InvalidArgument, &bad.to_string());
                        return Err(NoRead::Refused(refusal.field(bad.rule)));
                    }
                    let create = Command::Create {
                        topic: name.clone(),
                        own: rules,
                    };
                    match change(&court, create).await? {
                        Outcome::Created(Ok(info)) => Ok(vec![info_of(info)]),
                        Outcome::Created(Err(refused)) => {
                            Err(NoRead::Refused(of_refused(refused).topic(name)))
                        }
                        other @ (Outcome::Done
                        | Outcome::Placed(_)
                        | Outcome::Deleted(_)
                        | Outcome::Reserved(_)) => Err(unexpected(&other)),
                    }
                }
                TopicCommand::Delete { name, epoch } => {
                    let delete = Command::Delete {
                        topic: name.clone(),
                        epoch,
                    };
                    match change(&court, delete).await? {
                        Outcome::Deleted(Ok(_)) => Ok(Vec::new()),
                        Outcome::Deleted(Err(refused)) => {
                            Err(NoRead::Refused(of_refused(refused).topic(name)))
                        }
                        other @ (Outcome::Done
                        | Outcome::Placed(_)
                        | Outcome::Created(_)
                        | Outcome::Reserved(_)) => Err(unexpected(&other)),
                    }
                }
                TopicCommand::Get { name } => {
                    confirm(&court).await?;
                    let info = court.reign.replica.read().get(&name);
                    let info = info.ok_or_else(|| not_found(&name))?;
                    Ok(vec![info_of(info)])
                }
                TopicCommand::List {
                    pattern,
                    after,
                    limit,
                } => {
                    confirm(&court).await?;
                    let shard = court.reign.replica.read();
                    let limit = usize::try_from(limit.min(MAX_LIST)).unwrap_or(0);
                    let infos = shard.list(pattern.as_ref(), after.as_ref(), limit);
                    Ok(infos.into_iter().map(info_of).collect())
                }
            }
        })
    }
}

/// Asks a majority, then looks at the term again (R2).
async fn confirm(court: &Court) -> Result<(), NoRead> {
    match court.confirmer.confirm().await {
        Ok(()) if court.reign.holds() => Ok(()),
        Ok(()) | Err(ConfirmError::NotLeader { .. } | ConfirmError::Stopped) => {
            Err(NoRead::Reroute(court.reign.redirect()))
        }
        Err(ConfirmError::NoQuorum) => {
            let why = "no majority confirmed the shard's leader";
            Err(NoRead::Refused(refusal(Code::NotReady, why)))
        }
    }
}

/// The standing for one wish, once the head is as high as it asks.
async fn stand_one(court: &Court, wish: StandRequest, until: Duration) -> Result<Standing, NoRead> {
    let reign = &court.reign;
    let mut applied = reign.replica.applied();
    let mut late = false;
    loop {
        applied.mark_unchanged();
        if !reign.holds() {
            return Err(NoRead::Reroute(reign.redirect()));
        }
        let read = reign
            .replica
            .read()
            .stand(&wish.topic, wish.since, wish.poll, reign.term);
        // The messages of an ephemeral stream are not applied: it is looked at again and again.
        let ephemeral = matches!(read, Err(Unread::Ephemeral));
        let standing = match read {
            Ok(standing) => Some(standing),
            Err(Unread::Ephemeral) => Some(stand_ephemeral(court, wish.clone()).await?),
            Err(Unread::TopicNotFound) => return Err(not_found(&wish.topic)),
            Err(Unread::NotBegun) => None,
        };
        let low = |head: Position| wish.min_position.is_some_and(|min| head < min);
        if let Some(standing) = standing.filter(|standing| !low(standing.head)) {
            if let Answer::Gap(gap) = standing.answer {
                note_ahead(court, &wish.topic, gap);
            }
            return Ok(standing);
        }
        if late {
            let why = "the topic's head is not at the wanted position yet";
            return Err(NoRead::Refused(
                refusal(Code::NotReady, why).topic(wish.topic),
            ));
        }
        late = tokio::select! { biased;
            () = reign.over.cancelled() => return Err(NoRead::Reroute(reign.redirect())),
            moved = applied.changed() => moved.is_err(),
            () = reign.clock.sleep_until(until) => true,
            () = reign.clock.sleep(EPHEMERAL_LOOK), if ephemeral => false,
        };
    }
}

async fn stand_ephemeral(court: &Court, wish: StandRequest) -> Result<Standing, NoRead> {
    let (reply, standing) = oneshot::channel();
    ask(court, Msg::Stand(wish, reply), standing).await
}

/// A read that the shard's actor hands to an ephemeral topic.
async fn ask<T>(
    court: &Court,
    msg: Msg,
    answer: oneshot::Receiver<Result<T, NoRead>>,
) -> Result<T, NoRead> {
    let reign = &court.reign;
    if court.actor.cast(msg).is_err() {
        return Err(NoRead::Reroute(reign.redirect()));
    }
    tokio::select! { biased;
        answer = answer => answer.unwrap_or_else(|_| Err(NoRead::Reroute(reign.redirect()))),
        () = reign.clock.sleep(READ_WITHIN) => {
            Err(NoRead::Refused(refusal(Code::NotReady, "the topic did not answer in time")))
        }
    }
}

/// A page of this replica. A position it has not reached is the leader's to judge.
async fn page(
    local: &Local,
    serving: Option<Court>,
    request: PageRequest,
    redirect: Redirect,
) -> Result<Page, NoRead> {
    let PageRequest { topic, after, .. } = &request;
    let (limit, bytes) = (request.limit.min(MAX_PAGE.0), request.bytes.min(MAX_PAGE.1));
    let read = || local.replica.read().page(topic, *after, limit, bytes);
    let ahead = |page: &Page| page.gap.is_none() && *after > page.head;
    let first = match read() {
        Ok(page) => page,
        Err(Unread::Ephemeral) => {
            let Some(court) = serving else {
                return Err(NoRead::Reroute(redirect));
            };
            let request = PageRequest {
                limit,
                bytes,
                ..request
            };
            return ephemeral_page(&court, request).await;
        }
        // A replica that lags, or a leader that is none any more, may not know the topic yet.
        Err(Unread::TopicNotFound) => {
            let Some(court) = serving else {
                return Err(NoRead::Reroute(redirect));
            };
            confirm(&court).await?;
            return match read() {
                Ok(page) if !ahead(&page) => Ok(page),
                Err(Unread::TopicNotFound) => Err(not_found(topic)),
                Ok(_) | Err(Unread::Ephemeral | Unread::NotBegun) => Err(NoRead::Reroute(redirect)),
            };
        }
        Err(Unread::NotBegun) => return Err(NoRead::Reroute(redirect)),
    };
    if !ahead(&first) {
        return Ok(first);
    }
    let Some(court) = serving else {
        return Err(NoRead::Reroute(redirect));
    };
    confirm(&court).await?;
    let mut page = read().map_err(|_| NoRead::Reroute(redirect))?;
    if ahead(&page) {
        let (reason, to) = (GapReason::PositionAhead, page.head);
        let gap = Gap {
            reason,
            from: *after,
            to,
            missed: None,
        };
        note_ahead(&court, topic, gap);
        page.gap = Some(gap);
    }
    Ok(page)
}

/// A page of an ephemeral stream. One that tells a position ahead is asked for again once a majority
/// has confirmed the leader (C17).
async fn ephemeral_page(court: &Court, request: PageRequest) -> Result<Page, NoRead> {
    let once = || async {
        let (reply, page) = oneshot::channel();
        ask(court, Msg::Page(request.clone(), reply), page).await
    };
    let first = once().await?;
    let ahead = |page: &Page| {
        page.gap
            .filter(|gap| gap.reason == GapReason::PositionAhead)
    };
    if ahead(&first).is_none() {
        return Ok(first);
    }
    confirm(court).await?;
    let page = once().await?;
    if let Some(gap) = ahead(&page) {
        note_ahead(court, &request.topic, gap);
    }
    Ok(page)
}

/// C17: somebody presents more than a confirmed leader has. All are counted; a line a minute is
/// enough, since anybody may make such a position up.
fn note_ahead(court: &Court, topic: &TopicName, gap: Gap) {
    if gap.reason == GapReason::PositionAhead {
        court.metrics.positions_ahead.inc();
        if !court.reign.may_complain() {
            return;
        }
        let (shard, term) = (court.reign.shard, court.reign.term);
        tracing::error!(
            %shard, %term, %topic, position = %gap.from, head = %gap.to,
            "a position above the confirmed head: acked messages may be lost"
        );
    }
}

/// Proposes a change of topics.
async fn change(court: &Court, command: Command) -> Result<Outcome, NoRead> {
    let reign = &court.reign;
    if !reign.holds() {
        return Err(NoRead::Reroute(reign.redirect()));
    }
    if !reign.has_room() {
        let code = Code::StorageFull;
        return Err(NoRead::Refused(refusal(code, code.title())));
    }
    let entry = Entry {
        running_ms: reign.running_ms(),
        command,
    };
    match reign.group.propose(reign.term, entry, CHANGE_WITHIN).await {
        Ok((at, outcome)) if at.term == reign.term => Ok(outcome),
        Ok(_) | Err(ProposeError::Unknown) => {
            let why = "proposed, and the result was not learned: read the topic to see";
            Err(NoRead::Refused(refusal(Code::OutcomeUnknown, why)))
        }
        Err(ProposeError::NoQuorum) => {
            let why = "the shard's leader has no majority";
            Err(NoRead::Refused(refusal(Code::NoQuorum, why)))
        }
        Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => {
            Err(NoRead::Reroute(reign.redirect()))
        }
    }
}

fn not_found(topic: &TopicName) -> NoRead {
    let code = Code::TopicNotFound;
    NoRead::Refused(refusal(code, code.title()).topic(topic.clone()))
}

fn unexpected(outcome: &Outcome) -> NoRead {
    tracing::error!(?outcome, "apply gave the outcome of another command");
    NoRead::Refused(refusal(
        Code::Internal,
        "apply gave the outcome of another command",
    ))
}

fn info_of(info: fanfare_core::shard::TopicInfo) -> TopicInfo {
    let fanfare_core::shard::TopicInfo {
        name,
        start,
        head,
        bytes,
        own: _,
        rules,
    } = info;
    TopicInfo {
        name,
        class: rules.class,
        epoch: head.epoch,
        start,
        head,
        bytes,
        rules,
    }
}

/// Counts something while it is open.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
