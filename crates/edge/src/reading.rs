//! Reads of standings and pages, with redirects: from the leader what only it knows, from any
//! replica the rest. Equal requests for the head of a topic share one answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, Page, Since, Standing};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{NoRead, PageRequest, StandRequest};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_rpc::peer::Peer;
use tokio::sync::oneshot;

use crate::relay::locked;
use crate::state::EdgeState;

/// How long a head is waited for without a known leader (protocol section 2).
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(5);
/// A node that says nothing for so long is passed by.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Pause before another node, or the same, is asked again.
const PAUSE: Duration = Duration::from_millis(25);

/// What a read ends in.
type Read<T> = Result<T, Refusal>;

/// Who wants the head of a topic.
#[derive(Default)]
struct Round {
    waiting: Vec<oneshot::Sender<Read<Standing>>>,
}

/// Rounds that are on. Should they end by a panic, who waits is let go.
struct Asking<'a> {
    reading: &'a Reading,
    key: (TopicName, bool),
    done: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.done {
            locked(&self.reading.rounds).remove(&self.key);
        }
    }
}

/// Reads of this edge.
pub(crate) struct Reading {
    state: Arc<EdgeState>,
    /// Topics whose head is being asked for, by whether a poll asks. Who comes while a request is
    /// out shares the next one: an answer must not be older than its question (C22).
    rounds: Mutex<BTreeMap<(TopicName, bool), Round>>,
}

impl Reading {
    pub(crate) fn new(state: Arc<EdgeState>) -> Arc<Self> {
        Arc::new(Self {
            state,
            rounds: Mutex::default(),
        })
    }

    /// The standing of a subscriber, from the leader. `wait`: how long a `min_position` may take
    /// to be reached. `not_ready` if the leader cannot be asked within [`READY_WITHIN`].
    pub(crate) async fn stand(
        self: &Arc<Self>,
        request: StandRequest,
        wait: Duration,
    ) -> Read<Standing> {
        if request.since != Since::Latest || request.min_position.is_some() {
            return self.stand_alone(&request, wait).await;
        }
        let topic = &request.topic;
        tokio::select! {
            biased;
            // No answer, of a round that failed, is no head.
            answer = self.join_round(&request) => answer.unwrap_or_else(|_| Err(not_ready(topic))),
            // Who comes late to a round waits for its end and for the next.
            () = self.state.deps.clock.sleep(READY_WITHIN) => Err(not_ready(topic)),
        }
    }

    /// Waits for the next answer about a topic's head, beginning a round if none is on.
    fn join_round(self: &Arc<Self>, request: &StandRequest) -> oneshot::Receiver<Read<Standing>> {
        let (answer, answered) = oneshot::channel();
        let key = (request.topic.clone(), request.poll);
        let mut rounds = locked(&self.rounds);
        if let Some(round) = rounds.get_mut(&key) {
            round.waiting.push(answer);
        } else {
            rounds.insert(
                key,
                Round {
                    waiting: vec![answer],
                },
            );
            self.state
                .deps
                .tracker
                .spawn(self.clone().rounds(request.clone()));
        }
        answered
    }

    async fn rounds(self: Arc<Self>, request: StandRequest) {
        let mut asking = Asking {
            reading: &self,
            key: (request.topic.clone(), request.poll),
            done: false,
        };
        while let Some(waiting) = self.next_round(&asking.key) {
            let result = self.stand_alone(&request, Duration::ZERO).await;
            for one in waiting {
                // Who does not wait any more has gone.
                let _gone = one.send(result.clone()).is_err();
            }
        }
        asking.done = true;
    }

    /// Who waits for the next answer; `None`, and the rounds end, if nobody does.
    fn next_round(&self, key: &(TopicName, bool)) -> Option<Vec<oneshot::Sender<Read<Standing>>>> {
        let mut rounds = locked(&self.rounds);
        let waiting = rounds
            .get_mut(key)
            .map(|round| std::mem::take(&mut round.waiting));
        let waiting = waiting.filter(|waiting| !waiting.is_empty());
        if waiting.is_none() {
            rounds.remove(key);
        }
        waiting
    }

    async fn stand_alone(&self, request: &StandRequest, wait: Duration) -> Read<Standing> {
        let topic = &request.topic;
        // Anything else is answered at once, by whoever can.
        let wait = if request.min_position.is_some() {
            wait
        } else {
            Duration::ZERO
        };
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.ask(
            topic,
            true,
            READY_WITHIN.max(wait),
            wait,
            |_, shard, peer| {
                let answers = peer.stand(shard, vec![request.clone()], wait_ms);
                async move { answers.await.pop() }
            },
        )
        .await
    }

    /// A page: of the leader if the request says so, else of any replica, this node's first. Only
    /// the leader's says that a position is ahead (C17).
    pub(crate) async fn page(
        self: &Arc<Self>,
        topic: &TopicName,
        request: PageRequest,
    ) -> Read<Page> {
        self.state.deps.metrics.pages.inc();
        let leader = request.leader;
        let mut page = self
            .ask(
                topic,
                leader,
                READY_WITHIN,
                Duration::ZERO,
                |_, shard, peer| {
                    let answer = peer.page(PageRequest {
                        shard,
                        ..request.clone()
                    });
                    async move { Some(answer.await) }
                },
            )
            .await?;
        let after = request.after;
        if leader && page.gap.is_none() && page.messages.is_empty() && page.head < after {
            let since = Since::After(after);
            let wish = StandRequest {
                topic: topic.clone(),
                since,
                poll: false,
                min_position: None,
            };
            if let Answer::Gap(gap) = self.stand(wish, Duration::ZERO).await?.answer {
                page.gap = Some(gap);
            }
        }
        Ok(page)
    }

    /// Asks until somebody answers or the time is over. `None` of a call: the node was not reached.
    async fn ask<T, F>(
        &self,
        topic: &TopicName,
        leader: bool,
        within: Duration,
        patience: Duration,
        call: impl Fn(NodeId, ShardId, Arc<dyn Peer>) -> F,
    ) -> Read<T>
    where
        F: Future<Output = Option<Result<T, NoRead>>>,
    {
        let clock = &self.state.deps.clock;
        let deadline = clock.now() + within;
        let mut attempt = 0;
        loop {
            if let Some(shard) = self.state.directory.shard_of(topic)
                && let Some(node) = self.target(shard, leader, attempt).await
                && let Some(peer) = self.state.directory.peer(node)
            {
                let answer_within = clock.now() + ANSWER_WITHIN + patience;
                let answer = tokio::select! {
                    biased;
                    answer = call(node, shard, peer) => answer,
                    () = clock.sleep_until(answer_within.min(deadline)) => None,
                };
                match answer {
                    Some(Ok(read)) => return Ok(read),
                    Some(Err(NoRead::Refused(refusal))) => return Err(refusal),
                    Some(Err(NoRead::Reroute(redirect))) => {
                        let news = self.state.directory.learn(shard, redirect);
                        if news && redirect.leader.is_some() && attempt == 0 {
                            attempt = 1;
                            continue;
                        }
                    }
                    None => {}
                }
            }
            attempt += 1;
            let now = clock.now();
            if now >= deadline || self.state.deps.stop.is_cancelled() {
                return Err(not_ready(topic));
            }
            clock.sleep_until((now + PAUSE).min(deadline)).await;
        }
    }

    async fn target(&self, shard: ShardId, leader: bool, attempt: usize) -> Option<NodeId> {
        let directory = &self.state.directory;
        if !leader {
            let readers = directory.readers(shard);
            return readers.get(attempt % readers.len().max(1)).copied();
        }
        if attempt <= 1
            && let Some(leader) = directory.leader(shard)
        {
            return Some(leader);
        }
        match directory.seek(shard).await {
            Some(redirect) => redirect.leader,
            None => directory.leader(shard),
        }
    }
}

fn not_ready(topic: &TopicName) -> Refusal {
    let detail = "this node cannot ask the topic's leader now: try another node";
    let refusal = Refusal::new(Code::NotReady, detail).retry_after(500);
    refusal.topic(topic.clone())
}
