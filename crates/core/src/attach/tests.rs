//! Attachments: the seam, lagging, credit, digests; and over any order of events no slot is
//! skipped or repeated.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::ShardId;
use crate::link::{LeaderSays, digest_term};
use crate::message::{Content, Meta};

const EPOCH: u64 = 7;
const TOPIC: u64 = 99;

fn message(epoch: u64, offset: u64, bytes: usize) -> Arc<Message> {
    let content = Content {
        payload: Bytes::from(vec![0; bytes]),
        meta: Arc::new(Meta::default()),
    };
    Arc::new(Message {
        position: Position::new(epoch, offset),
        wall_ms: 0,
        content,
    })
}

fn messages(offsets: std::ops::RangeInclusive<u64>) -> Vec<Arc<Message>> {
    offsets.map(|offset| message(EPOCH, offset, 1)).collect()
}

fn scene(head: u64) -> Scene {
    Scene {
        term: Term(1),
        head: Position::new(EPOCH, head),
        start: Position::new(EPOCH, 1),
        exists: true,
        policy: Policy::default(),
    }
}

fn page(after: u64, to: u64, head: u64) -> Option<Page> {
    let head = Position::new(EPOCH, head);
    let messages = messages(after + 1..=to);
    Some(Page {
        gap: None,
        messages,
        head,
        start: Position::new(EPOCH, 1),
    })
}

fn alice() -> Listener {
    Listener {
        link: LinkId(1),
        id: AttachId(1),
    }
}

fn offsets(told: &[Told]) -> Vec<u64> {
    let runs = told.iter().filter_map(|told| match told {
        Told::Run(_, run) => Some(run.messages.iter().map(|m| m.position.offset.0)),
        Told::Ended(..) => None,
    });
    runs.flatten().collect()
}

#[test]
fn an_attachment_at_its_head_is_live_at_once() {
    let mut listeners = Listeners::default();
    let answer = listeners.attach(alice(), None, &scene(5), None);
    let empty = Run {
        after: Position::new(EPOCH, 5),
        messages: Vec::new(),
    };
    assert_eq!(answer.live, Live::Yes(empty));
    assert_eq!(offsets(&listeners.offer(&messages(6..=7))), [6, 7]);
}

#[test]
fn offers_at_or_below_the_position_are_dropped() {
    let mut listeners = Listeners::default();
    let after = Some(Position::new(EPOCH, 3));
    let answer = listeners.attach(alice(), after, &scene(5), page(3, 5, 5));
    assert!(matches!(answer.live, Live::Yes(run) if run.end() == Position::new(EPOCH, 5)));
    assert_eq!(offsets(&listeners.offer(&messages(4..=6))), [6]);
    assert_eq!(offsets(&listeners.offer(&messages(5..=6))), []);
}

#[test]
fn an_offer_that_is_not_the_next_sends_the_listener_back() {
    let mut listeners = Listeners::default();
    listeners.attach(alice(), None, &scene(5), None);
    let told = listeners.offer(&messages(7..=8));
    assert_eq!(told, [Told::Ended(alice(), Ended::Lagging)]);
    assert!(listeners.is_empty());
}

#[test]
fn too_far_behind_ahead_or_of_another_stream_is_not_live() {
    let mut listeners = Listeners::default();
    let mut live = |after: Position, page: Option<Page>| {
        listeners
            .attach(alice(), Some(after), &scene(500), page)
            .live
    };
    assert_eq!(live(Position::new(EPOCH, 3), page(3, 259, 500)), Live::No);
    assert_eq!(
        live(Position::new(EPOCH, 501), page(501, 500, 500)),
        Live::No
    );
    assert_eq!(live(Position::new(EPOCH - 1, 3), None), Live::No);
    assert!(listeners.is_empty());
}

#[test]
fn a_listener_of_no_topic_gets_the_stream_from_its_first_message() {
    let mut listeners = Listeners::default();
    let nothing = Scene {
        exists: false,
        head: Position::new(4, 0),
        ..scene(0)
    };
    listeners.attach(alice(), None, &nothing, None);
    assert_eq!(offsets(&listeners.offer(&messages(1..=2))), [1, 2]);
    let told = listeners.offer(&[message(EPOCH + 1, 1, 1)]);
    assert_eq!(
        told,
        [Told::Ended(alice(), Ended::Lagging)],
        "a stream opens but once"
    );
}

#[test]
fn a_batch_is_cut_into_runs_within_their_bounds() {
    let mut listeners = Listeners::default();
    listeners.attach(alice(), None, &scene(0), None);
    let told = listeners.offer(&messages(1..=600));
    assert_eq!(offsets(&told), (1..=600).collect::<Vec<_>>());
    assert_eq!(told.len(), 3);
    let large: Vec<_> = (601..=603).map(|o| message(EPOCH, o, 40 << 10)).collect();
    assert_eq!(listeners.offer(&large).len(), 3);
}

#[test]
fn unlinking_forgets_the_links_listeners_alone() {
    let mut listeners = Listeners::default();
    let bob = Listener {
        link: LinkId(2),
        id: AttachId(1),
    };
    listeners.attach(alice(), None, &scene(0), None);
    listeners.attach(bob, None, &scene(0), None);
    listeners.unlink(LinkId(1));
    assert_eq!(listeners.iter().collect::<Vec<_>>(), [bob]);
}

#[test]
fn answers_pass_runs_that_have_no_credit() {
    let mut outbox = Outbox::new();
    let mut listeners = Listeners::default();
    outbox.attached(
        ShardId(0),
        TOPIC,
        listeners.attach(alice(), None, &scene(0), None),
    );
    let big = |offset| Run {
        after: Position::new(EPOCH, offset - 1),
        messages: vec![message(EPOCH, offset, 3 << 20)],
    };
    for offset in 1..=2 {
        assert_eq!(outbox.run(AttachId(1), big(offset)), Pushed::Queued);
    }
    assert!(matches!(outbox.next_say(), Some(LeaderSays::Attached(_))));
    assert!(matches!(outbox.next_say(), Some(LeaderSays::Run(..))));
    assert!(
        matches!(outbox.next_say(), Some(LeaderSays::Run(..))),
        "the last one overdraws"
    );
    assert_eq!(outbox.run(AttachId(1), big(3)), Pushed::Queued);
    assert_eq!(outbox.next_say(), None);
    outbox.end(AttachId(9), Ended::Overloaded);
    assert_eq!(
        outbox.next_say(),
        Some(LeaderSays::Ended(AttachId(9), Ended::Overloaded))
    );
    outbox.credit(4 << 20);
    assert!(matches!(outbox.next_say(), Some(LeaderSays::Run(..))));
}

#[test]
fn too_much_waiting_ends_the_attachment_as_lagging() {
    let mut outbox = Outbox::new();
    let mut listeners = Listeners::default();
    outbox.attached(
        ShardId(0),
        TOPIC,
        listeners.attach(alice(), None, &scene(0), None),
    );
    let pushed: Vec<_> = (1..=8)
        .map(|offset| {
            let after = Position::new(EPOCH, offset - 1);
            outbox.run(
                AttachId(1),
                Run {
                    after,
                    messages: vec![message(EPOCH, offset, 1 << 20)],
                },
            )
        })
        .collect();
    assert_eq!(pushed.iter().filter(|p| **p == Pushed::Queued).count(), 4);
    let said: Vec<_> = std::iter::from_fn(|| outbox.next_say()).collect();
    assert!(matches!(
        said[..],
        [
            LeaderSays::Attached(_),
            LeaderSays::Ended(_, Ended::Lagging)
        ]
    ));
    assert_eq!(outbox.digests().count(), 0);
}

/// One thing that happens to a topic, its listeners and their link.
#[derive(Clone, Debug)]
enum Event {
    Publish(u64),
    /// Attachment `id`, so many messages behind the head; `None`: at the head.
    Attach(u64, Option<u64>),
    Detach(u64),
    Credit(u64),
    Send,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..400_u64).prop_map(Event::Publish),
        2 => (0..1_000_u64, prop::option::of(0..400_u64)).prop_map(|(id, b)| Event::Attach(id, b)),
        1 => (0..1_000_u64).prop_map(Event::Detach),
        1 => (1..400_000_u64).prop_map(Event::Credit),
        4 => Just(Event::Send),
    ]
}

/// What the edge knows of an attachment.
#[derive(Default)]
struct Edge {
    live: BTreeMap<AttachId, Position>,
}

impl Edge {
    fn hear(&mut self, say: LeaderSays) {
        match say {
            LeaderSays::Attached(Attached {
                id,
                live: Live::Yes(run),
                ..
            }) => {
                self.check(run.after, &run);
                assert!(self.live.insert(id, run.end()).is_none(), "attached twice");
            }
            LeaderSays::Attached(_) | LeaderSays::Digest { .. } => {}
            LeaderSays::Run(id, run) => {
                let at = *self.live.get(&id).expect("a run of a live attachment");
                self.check(at, &run);
                self.live.insert(id, run.end());
            }
            LeaderSays::Ended(id, _) => {
                self.live.remove(&id);
            }
        }
    }

    fn check(&self, at: Position, run: &Run) {
        assert_eq!(run.after, at, "neither skipped nor repeated");
        for (i, message) in run.messages.iter().enumerate() {
            assert_eq!(message.position.offset.0, at.offset.0 + i as u64 + 1);
        }
    }
}

proptest! {
    #[test]
    fn no_slot_is_skipped_or_repeated_over_any_order_of_events(
        events in prop::collection::vec(event(), 1..120),
        payload in prop::sample::select(vec![1_usize, 5_000]),
    ) {
        let (mut listeners, mut outbox) = (Listeners::default(), Outbox::new());
        let (mut edge, mut head) = (Edge::default(), 0_u64);
        let mut used = std::collections::BTreeSet::new();
        let who = |id| Listener { link: LinkId(1), id: AttachId(id) };
        for event in events {
            match event {
                Event::Publish(count) => {
                    let new: Vec<_> =
                        (head + 1..=head + count).map(|o| message(EPOCH, o, payload)).collect();
                    head += count;
                    for told in listeners.offer(&new) {
                        let Told::Run(to, run) = told else {
                            return Err(TestCaseError::fail("nobody lags behind whole offers"));
                        };
                        if outbox.run(to.id, run) == Pushed::Over {
                            listeners.detach(to);
                        }
                    }
                }
                Event::Attach(id, _) if !used.insert(id) => {}
                Event::Attach(id, behind) => {
                    let after = behind.map(|by| Position::new(EPOCH, head.saturating_sub(by)));
                    let (limit, _) = Listeners::CATCH_UP;
                    let page = after.and_then(|after| {
                        let from = after.offset.0;
                        page(from, head.min(from + u64::from(limit)), head)
                    });
                    let attached = listeners.attach(who(id), after, &scene(head), page);
                    outbox.attached(ShardId(0), TOPIC, attached);
                }
                Event::Detach(id) => {
                    // The edge still hears what was sent before the leader saw this.
                    listeners.detach(who(id));
                    outbox.detach(AttachId(id));
                    while let Some(say) = outbox.next_say() {
                        if !matches!(&say, LeaderSays::Run(of, _) if of.0 == id) {
                            edge.hear(say);
                        }
                    }
                    edge.live.remove(&AttachId(id));
                }
                Event::Credit(bytes) => outbox.credit(bytes),
                Event::Send => {
                    if let Some(say) = outbox.next_say() {
                        edge.hear(say);
                    }
                }
            }
            outbox.credit(0);
        }
        // With credit enough, all that still listen come to the head, and both ends agree on it.
        loop {
            while let Some(say) = outbox.next_say() {
                edge.hear(say);
            }
            outbox.credit(Outbox::WINDOW);
            let Some(say) = outbox.next_say() else { break };
            edge.hear(say);
        }
        for (id, at) in &edge.live {
            prop_assert_eq!(at.offset.0, head);
            prop_assert_eq!(listeners.position(who(id.0)), Some(*at));
        }
        prop_assert_eq!(edge.live.len(), listeners.len());
        let sum = edge.live.values().fold(0_u64, |sum, at| {
            sum.wrapping_add(digest_term(TOPIC, *at))
        });
        let digest = LeaderSays::Digest { shard: ShardId(0), count: edge.live.len() as u64, sum };
        let said: Vec<_> = outbox.digests().collect();
        prop_assert_eq!(said, if edge.live.is_empty() { vec![] } else { vec![digest] });
    }
}
