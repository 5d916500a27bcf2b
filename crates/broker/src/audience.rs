//! The listeners of one topic with the links they came on: what `core` decides is put into the
//! links' outboxes.

use std::sync::Arc;

use fanfare_core::attach::{LinkId, Listener, Listeners, Pushed, Scene, Told};
use fanfare_core::gap::Page;
use fanfare_core::id::ShardId;
use fanfare_core::link::{AttachId, Ended, Live};
use fanfare_core::message::Message;
use fanfare_core::position::Position;

use crate::deliver::{DeliveryLink, Wish};
use crate::metrics::Metrics;

/// Who listens to a topic.
pub(crate) struct Audience {
    listeners: Listeners,
    /// The links of the listeners; one of each.
    links: Vec<Arc<DeliveryLink>>,
    metrics: Arc<Metrics>,
}

impl Audience {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            listeners: Listeners::default(),
            links: Vec::new(),
            metrics,
        }
    }

    /// Answers a wish. `page` is what follows its position, read with `scene`.
    pub(crate) fn attach(
        &mut self,
        link: &Arc<DeliveryLink>,
        shard: ShardId,
        wish: Wish,
        scene: &Scene,
        page: Option<Page>,
    ) {
        let Wish { attach, slot } = wish;
        let who = Listener {
            link: link.id,
            id: attach.id,
        };
        let attached = self.listeners.attach(who, attach.after, scene, page);
        if matches!(attached.live, Live::Yes(_)) {
            self.metrics.attached.inc();
            if !self.links.iter().any(|known| known.id == link.id) {
                self.links.push(Arc::clone(link));
            }
        }
        let topic = attach.topic.hash64();
        link.put(|outbox| outbox.attached(shard, topic, attached));
        drop(slot);
    }

    /// Sends messages just placed to all who do not have them.
    pub(crate) fn offer(&mut self, messages: &[Arc<Message>]) {
        let told = self.listeners.offer(messages);
        self.tell(told);
    }

    /// Sends back whoever stands below what is retained.
    pub(crate) fn trimmed(&mut self, start: Position) {
        let told = self.listeners.trimmed(start);
        self.tell(told);
    }

    /// Sends all away.
    pub(crate) fn end_all(&mut self, why: &Ended) {
        let told = self.listeners.end_all(why);
        self.tell(told);
        self.links.clear();
    }

    pub(crate) fn detach(&mut self, link: LinkId, id: AttachId) {
        if self.listeners.detach(Listener { link, id }) {
            // The edge may have said so before its wish was answered.
            if let Some(link) = self.links.iter().find(|known| known.id == link) {
                link.put(|outbox| outbox.detach(id));
            }
            self.forget_idle_links();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The lowest position of all.
    pub(crate) fn lowest(&self) -> Option<Position> {
        self.listeners.lowest()
    }

    fn tell(&mut self, told: Vec<Told>) {
        let before = self.listeners.len();
        for told in told {
            let who = match &told {
                Told::Run(who, _) | Told::Ended(who, _) => *who,
            };
            let Some(link) = self.links.iter().find(|link| link.id == who.link) else {
                self.listeners.detach(who);
                continue;
            };
            match told {
                Told::Run(who, run) => {
                    let count = run.messages.len() as u64;
                    if link.put(|outbox| outbox.run(who.id, run)) == Pushed::Over {
                        self.listeners.detach(who);
                    } else {
                        self.metrics.runs.inc();
                        self.metrics.run_messages.add(count);
                    }
                }
                Told::Ended(who, why) => {
                    if why == Ended::Lagging {
                        self.metrics.lagging.inc();
                    }
                    link.put(|outbox| outbox.end(who.id, why));
                }
            }
        }
        if self.listeners.len() < before {
            self.forget_idle_links();
        }
    }

    fn forget_idle_links(&mut self) {
        let listeners = &self.listeners;
        self.links
            .retain(|link| listeners.iter().any(|who| who.link == link.id));
    }
}

/// An audience never just disappears: whoever is left attaches again.
impl Drop for Audience {
    fn drop(&mut self) {
        self.end_all(&Ended::StreamEnded);
    }
}
