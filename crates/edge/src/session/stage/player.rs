//! A node of the cluster in memory, as edges call it.

use super::*;

/// One node, as edges see it.
pub(super) struct Player {
    pub(super) node: NodeId,
    pub(super) stage: Stage,
}

impl Peer for Player {
    fn publish(&self, mut drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        let (answers, receiver) = mpsc::channel(64);
        let (stage, node) = (self.stage.clone(), self.node);
        let tracker = stage.with(|scenery| scenery.tracker.clone());
        tracker.spawn(async move {
            while let Some(PublishRequest { seq, draft, .. }) = drafts.recv().await {
                let verdict = stage.with(|scenery| {
                    if scenery.lead.leader != Some(node) {
                        return Verdict::Reroute(scenery.lead);
                    }
                    let topic = draft.topic.clone();
                    Verdict::Placed(Receipt {
                        topic,
                        position: Some(scenery.place(vec![draft])),
                        class: Class::Durable,
                        reached: Reached::Durable,
                        duplicate: false,
                        dedup_remaining_ms: None,
                    })
                });
                if answers.send(PublishAnswer { seq, verdict }).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    fn deliver(
        &self,
        _edge: NodeId,
        mut says: mpsc::Receiver<EdgeSays>,
    ) -> mpsc::Receiver<LeaderSays> {
        let (to, receiver) = mpsc::channel(8);
        let (news, cut) = (Arc::new(Notify::new()), CancellationToken::new());
        let (link, tracker) = self.stage.with(|scenery| {
            scenery.next_link += 1;
            let link = LinkId(scenery.next_link);
            let outbox = Outbox::new();
            let row = Link {
                node: self.node,
                outbox,
                news: news.clone(),
                cut: cut.clone(),
            };
            scenery.links.insert(link, row);
            (link, scenery.tracker.clone())
        });
        let stage = self.stage.clone();
        tracker.spawn(async move {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                while let Some(say) = stage.with(|scenery| scenery.next_say(link)) {
                    if to.send(say).await.is_err() {
                        break;
                    }
                }
                tokio::select! {
                    biased;
                    () = cut.cancelled() => break,
                    said = says.recv() => match said {
                        Some(said) => stage.with(|scenery| scenery.hear(link, said)),
                        None => break,
                    },
                    () = news.notified() => {}
                    _ = second.tick() => {
                        for digest in stage.with(|scenery| scenery.digests(link)) {
                            if to.send(digest).await.is_err() {
                                break;
                            }
                        }
                    }
                }
            }
            stage.with(|scenery| {
                scenery.links.remove(&link);
                scenery
                    .listeners
                    .values_mut()
                    .for_each(|listeners| listeners.unlink(link));
            });
        });
        receiver
    }

    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        _wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        let crashes = self.stage.with(|scenery| {
            let left = scenery.crashes;
            scenery.crashes = left.saturating_sub(1);
            left > 0
        });
        if crashes {
            let soon = tokio::time::sleep(Duration::from_millis(100));
            return soon.map(|()| panic!("as the test wants it")).boxed();
        }
        let answers = self.stage.with(|scenery| {
            scenery.stands += requests.len();
            if scenery.mute.contains(&self.node) {
                return None;
            }
            let answer = |request: &StandRequest| {
                let state = scenery.reads(self.node, shard)?;
                let StandRequest {
                    topic,
                    since,
                    poll,
                    min_position,
                } = request;
                let standing = state
                    .stand(topic, *since, *poll, scenery.lead.term)
                    .map_err(unread)?;
                match min_position {
                    Some(least) if standing.head < *least => {
                        let refusal = Refusal::new(Code::NotReady, "below `min_position`");
                        Err(NoRead::Refused(refusal))
                    }
                    Some(_) | None => Ok(standing),
                }
            };
            Some(requests.iter().map(answer).collect())
        });
        match answers {
            Some(answers) => std::future::ready(answers).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        let page = self.stage.with(|scenery| {
            scenery.pages += 1;
            let PageRequest {
                shard,
                topic,
                after,
                limit,
                bytes,
                leader,
            } = request;
            if leader {
                scenery.reads(self.node, shard)?;
            }
            scenery.shards[&shard]
                .page(&topic, after, limit, bytes)
                .map_err(unread)
        });
        std::future::ready(page).boxed()
    }

    fn leader(&self, _shard: ShardId) -> BoxFuture<'static, Redirect> {
        std::future::ready(self.stage.with(|scenery| scenery.lead)).boxed()
    }

    fn topics(
        &self,
        _shard: ShardId,
        _command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        let refusal = Refusal::new(Code::NotReady, "this cluster is for readers");
        std::future::ready(Err(NoRead::Refused(refusal))).boxed()
    }
}
