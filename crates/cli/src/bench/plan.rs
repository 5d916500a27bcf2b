//! What a run does: who publishes, at which pace, what, to how many, for how long.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_client::{Endpoints, Transport, Via};
use fanfare_core::name::TopicName;
use fanfare_core::rule::RuleLayer;

/// When the next draft is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Open loop: so many a second, whatever becomes of them.
    Rate(f64),
    /// Closed loop: the next one when one is acked, so many at a time over all publishers.
    InFlight(usize),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    pub endpoints: Endpoints,
    pub publishers: usize,
    /// Spread over the publishers.
    pub via: Vec<Via>,
    pub pace: Pace,
    pub topics: usize,
    /// First part of the topics' names; the run's mark and a number follow.
    pub prefix: String,
    /// Rules that the run's topics are made with; `None`: they are made by their first message.
    pub rules: Option<RuleLayer>,
    /// Leave the run's topics where they are.
    pub keep_topics: bool,
    pub subscribers: usize,
    /// Topics of one subscriber, 1–100.
    pub topics_each: usize,
    /// Spread over the subscribers; each session of one takes the next.
    pub transports: Vec<Transport>,
    pub poll_every: Duration,
    /// Bytes of a payload: at least, at most.
    pub payload: (usize, usize),
    /// Each subscriber drops its connection about so often and resumes.
    pub drop_every: Option<Duration>,
    /// Time of load that is judged and not measured.
    pub warmup: Duration,
    /// Time of load that is measured.
    pub time: Duration,
    /// How long subscribers may get nothing at the end while something is missing.
    pub settle: Duration,
    /// Processes whose CPU time and memory are looked at.
    pub servers: Vec<u32>,
    /// Measure the machine's own limits too, the disk's in this directory.
    pub limits: Option<PathBuf>,
}

impl Plan {
    /// A small run: 100 topics, 1,000 messages a second over gRPC, 100 subscribers over WebSocket.
    pub fn new(endpoints: Endpoints) -> Self {
        Self {
            endpoints,
            publishers: 4,
            via: vec![Via::Grpc],
            pace: Pace::Rate(1_000.0),
            topics: 100,
            prefix: "bench".to_owned(),
            rules: None,
            keep_topics: false,
            subscribers: 100,
            topics_each: 1,
            transports: vec![Transport::Ws],
            poll_every: Duration::from_secs(1),
            payload: (128, 128),
            drop_every: None,
            warmup: Duration::from_secs(3),
            time: Duration::from_secs(10),
            settle: Duration::from_secs(30),
            servers: Vec::new(),
            limits: None,
        }
    }

    /// The name of topic `n` of the run with this mark; `None` if the prefix is no name.
    pub fn topic(&self, mark: u32, n: usize) -> Option<TopicName> {
        format!("{}.{mark:08x}.{n}", self.prefix).parse().ok()
    }

    /// Publishers that are of use: in a closed loop no more than drafts in flight.
    pub(super) fn lanes(&self) -> usize {
        match self.pace {
            Pace::Rate(_) => self.publishers.max(1),
            Pace::InFlight(most) => self.publishers.clamp(1, most.max(1)),
        }
    }

    /// Drafts of one publisher in flight at most; `lane` counts from 0.
    pub(super) fn window(&self, lane: usize) -> usize {
        match self.pace {
            Pace::Rate(_) => 1_024,
            Pace::InFlight(most) => {
                let lanes = self.lanes();
                (most / lanes + usize::from(lane < most % lanes)).max(1)
            }
        }
    }

    /// True if somebody goes through an edge, and through a gRPC door.
    pub(super) fn doors(&self) -> (bool, bool) {
        let publishes = |grpc: bool| self.via.iter().any(|via| (*via == Via::Grpc) == grpc);
        let reads = |grpc: bool| {
            let any = self.transports.iter();
            self.subscribers > 0 && any.into_iter().any(|t| (*t == Transport::Grpc) == grpc)
        };
        (
            publishes(false) || reads(false),
            publishes(true) || reads(true),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_in_flight_are_shared_by_the_publishers() {
        let mut plan = Plan::new(Endpoints::default());
        plan.pace = Pace::InFlight(6);
        let windows: Vec<usize> = (0..plan.lanes()).map(|lane| plan.window(lane)).collect();
        assert_eq!(windows, [2, 2, 1, 1]);
        plan.pace = Pace::InFlight(2);
        assert_eq!((plan.lanes(), plan.window(0)), (2, 1));
    }

    #[test]
    fn only_doors_that_are_used_are_needed() {
        let mut plan = Plan::new(Endpoints::default());
        assert_eq!(plan.doors(), (true, true));
        plan.transports = vec![Transport::Grpc];
        assert_eq!(plan.doors(), (false, true));
        plan.via = vec![Via::Http];
        plan.subscribers = 0;
        assert_eq!(plan.doors(), (true, false));
    }

    #[test]
    fn topics_have_names() {
        let mut plan = Plan::new(Endpoints::default());
        assert_eq!(plan.topic(7, 3).unwrap().as_str(), "bench.00000007.3");
        plan.prefix = "no name".to_owned();
        assert_eq!(plan.topic(7, 3), None);
    }
}
