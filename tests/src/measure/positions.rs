//! A million waiting readers as `core` has them, without sockets: what a position costs at an edge
//! and at the leader, and what a message costs when all who wait for it are at head.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use fanfare_core::attach::{LinkId, Listener, Listeners, Scene};
use fanfare_core::gap::{Answer, Gap, Policy, Standing};
use fanfare_core::id::Term;
use fanfare_core::link::AttachId;
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::relay::{Block, Span, Tail};
use fanfare_core::subscription::{Drained, Phase, Sink, Subscription};

use super::proc;

/// Messages that each topic gets.
const ROUNDS: u64 = 3;

/// Memory and CPU of many waiting readers' positions: values of `core` alone.
#[derive(Clone, Debug, clap::Args)]
pub struct PositionsPlan {
    #[arg(long, default_value_t = 1_000_000)]
    pub readers: usize,
    /// Topics over which they are spread evenly.
    #[arg(long, default_value_t = 100_000)]
    pub topics: usize,
}

type Run = Arc<[u8]>;

/// A subscriber's wire that takes all, and counts.
#[derive(Default)]
struct Taken(u64);

impl Sink<Run> for Taken {
    fn run(&mut self, span: &Span, _: &Run, skip: u32) -> u32 {
        self.0 += u64::from(span.count - skip);
        span.count - skip
    }

    fn gap(&mut self, _: &Gap) -> bool {
        false
    }
}

/// One topic at one edge.
struct Topic {
    tail: Tail<Run>,
    readers: Vec<Subscription<Run>>,
}

/// Measures; prints a few lines.
pub fn positions(plan: &PositionsPlan) -> Result<String> {
    ensure!(
        plan.topics > 0 && plan.readers >= plan.topics,
        "at least one topic, and a reader for each"
    );
    let edge = edge(plan)?;
    let leader = leader(plan)?;
    Ok(format!(
        "{} readers at head of {} topics, as values:\n{edge}\n{leader}",
        plan.readers, plan.topics
    ))
}

fn at(offset: u64) -> Position {
    Position {
        epoch: Epoch(1),
        offset: Offset(offset),
    }
}

/// Positions of subscribers, at an edge.
fn edge(plan: &PositionsPlan) -> Result<String> {
    let own = std::process::id();
    let before = proc::resident(own)?;
    let mut topics: Vec<Topic> = (0..plan.topics)
        .map(|n| {
            let share = plan.readers / plan.topics + usize::from(n < plan.readers % plan.topics);
            let mut tail = Tail::default();
            tail.reset(at(0));
            let mut readers = vec![Subscription::default(); share];
            for reader in &mut readers {
                reader.begin(&standing());
                let drained = reader.drain(&tail, &mut Taken::default());
                debug_assert_eq!(drained, Drained::Head);
            }
            Topic { tail, readers }
        })
        .collect();
    let waiting = topics
        .iter()
        .flat_map(|topic| &topic.readers)
        .filter(|reader| reader.phase() == Phase::Live)
        .count();
    ensure!(waiting == plan.readers, "{waiting} of them wait at head");
    let bytes = proc::resident(own)?.saturating_sub(before);

    let run: Run = Arc::from([0; 128]);
    let (mut taken, mut woken) = (Taken::default(), 0_u64);
    let (cpu, began) = (proc::cpu(own)?, Instant::now());
    for round in 0..ROUNDS {
        let span = Span {
            after: at(round),
            first: at(round + 1),
            count: 1,
        };
        let block = Block::Run(span, Arc::clone(&run));
        for topic in &mut topics {
            let fits = topic.tail.push_run(span, Arc::clone(&run), 128);
            ensure!(fits.is_ok(), "{fits:?}");
            topic.tail.trim(0);
            for reader in &mut topic.readers {
                woken += u64::from(reader.offer(&block, &mut taken));
            }
        }
    }
    let (took, used) = (began.elapsed(), proc::cpu(own)?.saturating_sub(cpu));
    let due = ROUNDS * plan.readers as u64;
    ensure!(
        taken.0 == due && woken == 0,
        "{} taken of {due}, {woken} woken",
        taken.0
    );
    Ok(format!(
        "  edge: {:.0} bytes a reader, its share of a tail with it; {ROUNDS} messages to each topic in {took:.2?}, \
         {:.0} ns of CPU a delivery, nobody woken",
        bytes as f64 / plan.readers as f64,
        used.as_nanos() as f64 / due as f64,
    ))
}

/// Positions of edges, at the leader of all topics. As many as there are readers: that is the worst
/// case, in which no two of them share an edge.
fn leader(plan: &PositionsPlan) -> Result<String> {
    let own = std::process::id();
    let before = proc::resident(own)?;
    let scene = Scene {
        term: Term(1),
        head: at(1),
        start: at(1),
        exists: true,
        policy: Policy::default(),
    };
    let began = Instant::now();
    let mut all = vec![Listeners::default(); plan.topics];
    for n in 0..plan.readers {
        let who = Listener {
            link: LinkId((n / plan.topics) as u64),
            id: AttachId(n as u64),
        };
        all[n % plan.topics].attach(who, Some(scene.head), &scene, None);
    }
    let attached = began.elapsed();
    let count: usize = all.iter().map(Listeners::len).sum();
    ensure!(count == plan.readers, "{count} are attached");
    let bytes = proc::resident(own)?.saturating_sub(before);
    let began = Instant::now();
    for link in 0..=plan.readers / plan.topics {
        for listeners in &mut all {
            listeners.unlink(LinkId(link as u64));
        }
    }
    ensure!(all.iter().all(Listeners::is_empty), "some are left");
    Ok(format!(
        "  leader: {:.0} bytes an attachment; all attached in {attached:.2?}, all links lost in {:.2?}",
        bytes as f64 / plan.readers as f64,
        began.elapsed(),
    ))
}

fn standing() -> Standing {
    Standing {
        answer: Answer::Latest,
        start: at(1),
        head: at(0),
        exists: true,
        policy: Policy::default(),
        term: Term(1),
    }
}
