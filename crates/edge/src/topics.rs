//! Administration of topics over gRPC: `rpc`'s public `TopicAdmin`, each command on the leader of
//! the topic's shard. Rules are the cluster's: a keeper that the node brings proposes them.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::budget;
use fanfare_core::code::Code;
use fanfare_core::id::ShardId;
use fanfare_core::link::NoRead;
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::Epoch;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::{BadRule, RuleLayer};
use fanfare_rpc::public::{Caller, ListTopics, TopicAdmin};
use fanfare_rpc::topics::{TopicCommand, TopicInfo};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};

use crate::grpc_publish::bearer;
use crate::state::EdgeState;

/// How long a command looks for a leader that takes it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a search that found no leader, or one that was none.
const PAUSE: Duration = Duration::from_millis(50);

/// Proposes changes of the cluster's rules.
pub trait RuleKeeper: Send + Sync + 'static {
    /// Sets the rules of a pattern; completes once the change is committed.
    fn put(
        &self,
        pattern: TopicPattern,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<(), Refusal>>;

    /// Forgets the rules of a pattern; no error if there were none.
    fn delete(&self, pattern: TopicPattern) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// The public service of this edge.
#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) state: Arc<EdgeState>,
    pub(crate) rules: Arc<dyn RuleKeeper>,
}

impl Topics {
    fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        admit_admin(&self.state, caller)
    }

    fn check(&self, rules: &RuleLayer) -> Result<(), Refusal> {
        let payload = self.state.publisher.payload_limit();
        rules.check(payload).map_err(bad_rule)
    }

    /// Refuses what no shard could hold (`name`: the topic's), by the nodes' budgets of history.
    fn check_fits(&self, name: Option<&TopicName>, rules: &RuleLayer) -> Result<(), Refusal> {
        // A budget that is not told yet limits nothing.
        const UNTOLD: u64 = u64::MAX;
        let view = self.state.deps.view.borrow();
        let shard = name.and_then(|name| view.shard_of(name));
        let share = match shard {
            Some(shard) => budget::share(&view, shard, UNTOLD),
            None => budget::smallest_share(&view, UNTOLD),
        };
        budget::fits(rules, share).map_err(|bad| {
            let why = format!(
                "`{}` must be at most {}: a shard's share of the nodes' budgets of history",
                bad.rule, bad.high
            );
            Refusal::new(Code::InvalidArgument, why).field(bad.rule)
        })
    }

    /// Runs a command on the leader of the topic's shard.
    async fn of_topic(
        self,
        name: TopicName,
        command: TopicCommand,
    ) -> Result<Vec<TopicInfo>, Refusal> {
        let Some(shard) = self.state.directory.shard_of(&name) else {
            return Err(no_shards());
        };
        let result = self.of_shard(shard, command).await;
        result.map_err(|refusal| refusal.topic(name))
    }

    async fn of_shard(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> Result<Vec<TopicInfo>, Refusal> {
        let clock = &self.state.deps.clock;
        let directory = &self.state.directory;
        let end = clock.now().saturating_add(PATIENCE);
        let mut leader = directory.leader(shard);
        let mut first = true;
        while clock.now() < end {
            if let Some(peer) = leader.and_then(|node| directory.peer(node)) {
                let answer = tokio::select! {
                    biased;
                    answer = peer.topics(shard, command.clone()) => answer,
                    () = clock.sleep_until(end) => break,
                };
                match answer {
                    Ok(rows) => return Ok(rows),
                    Err(NoRead::Refused(refusal)) => return Err(refusal),
                    Err(NoRead::Reroute(redirect)) => {
                        directory.learn(shard, redirect);
                        let other = redirect.leader.filter(|_| first);
                        if other.is_some() && other != leader {
                            leader = other;
                            first = false;
                            continue;
                        }
                    }
                }
            }
            first = false;
            clock.sleep(PAUSE).await;
            leader = directory.seek(shard).await.and_then(|found| found.leader);
        }
        let why = "the shard has no leader that this node can find";
        Err(Refusal::new(Code::NoQuorum, why).retry_after(1_000))
    }

    async fn one(self, name: TopicName, command: TopicCommand) -> Result<TopicInfo, Refusal> {
        let mut rows = self.of_topic(name, command).await?;
        rows.pop()
            .ok_or_else(|| Refusal::new(Code::TopicNotFound, "no such topic"))
    }
}

/// Refuses callers of admin services without the grant `admin`.
pub(crate) fn admit_admin(state: &EdgeState, caller: &Caller) -> Result<(), Refusal> {
    if bearer(state, caller)?.grants.admin {
        return Ok(());
    }
    Err(Refusal::new(Code::Forbidden, "needs the grant `admin`"))
}

fn bad_rule(bad: BadRule) -> Refusal {
    Refusal::new(Code::InvalidArgument, bad.to_string()).field(bad.rule)
}

fn no_shards() -> Refusal {
    Refusal::new(
        Code::NotReady,
        "this node does not know the cluster's shards yet",
    )
}

impl TopicAdmin for Topics {
    fn create(
        &self,
        caller: Caller,
        name: TopicName,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>> {
        let topics = self.clone();
        async move {
            topics.admit(&caller)?;
            if name.is_system() {
                let why = "topics that begin with `$` are the system's";
                return Err(Refusal::new(Code::InvalidTopic, why).field("name"));
            }
            topics.check(&rules)?;
            topics.check_fits(Some(&name), &rules)?;
            let command = TopicCommand::Create {
                name: name.clone(),
                rules,
            };
            topics.one(name, command).await
        }
        .boxed()
    }

    fn get(
        &self,
        caller: Caller,
        name: TopicName,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>> {
        let topics = self.clone();
        async move {
            topics.admit(&caller)?;
            topics.one(name.clone(), TopicCommand::Get { name }).await
        }
        .boxed()
    }

    fn list(
        &self,
        caller: Caller,
        ListTopics {
            pattern,
            after,
            limit,
        }: ListTopics,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, Refusal>> {
        let topics = self.clone();
        async move {
            topics.admit(&caller)?;
            let shards = topics.state.directory.shards();
            if shards.is_empty() {
                return Err(no_shards());
            }
            let command = TopicCommand::List {
                pattern,
                after,
                limit,
            };
            let pages = shards
                .into_iter()
                .map(|shard| topics.of_shard(shard, command.clone()));
            let mut rows: Vec<TopicInfo> =
                try_join_all(pages).await?.into_iter().flatten().collect();
            rows.sort_by(|a, b| a.name.cmp(&b.name));
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(rows)
        }
        .boxed()
    }

    fn delete(
        &self,
        caller: Caller,
        name: TopicName,
        epoch: Option<Epoch>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let topics = self.clone();
        async move {
            topics.admit(&caller)?;
            let command = TopicCommand::Delete {
                name: name.clone(),
                epoch,
            };
            topics.of_topic(name, command).await.map(drop)
        }
        .boxed()
    }

    fn put_rule(
        &self,
        caller: Caller,
        pattern: TopicPattern,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let checked = self
            .admit(&caller)
            .and_then(|()| self.check(&rules))
            .and_then(|()| self.check_fits(None, &rules));
        match checked {
            Ok(()) => self.rules.put(pattern, rules),
            Err(refusal) => std::future::ready(Err(refusal)).boxed(),
        }
    }

    fn delete_rule(
        &self,
        caller: Caller,
        pattern: TopicPattern,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        match self.admit(&caller) {
            Ok(()) => self.rules.delete(pattern),
            Err(refusal) => std::future::ready(Err(refusal)).boxed(),
        }
    }

    fn list_rules(
        &self,
        caller: Caller,
    ) -> BoxFuture<'static, Result<Vec<(TopicPattern, RuleLayer)>, Refusal>> {
        let rules = self.admit(&caller).map(|()| {
            let view = self.state.deps.view.borrow();
            view.rules.rows().to_vec()
        });
        std::future::ready(rules).boxed()
    }
}

#[cfg(test)]
mod tests;
