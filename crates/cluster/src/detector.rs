//! Who is silent, and for how long. A value: time is an argument. It feeds placement and what
//! operators see, and decides nothing: each group notices the loss of a node by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_core::id::NodeId;

/// When each node was last heard.
#[derive(Clone, Debug)]
pub struct Detector {
    suspect: Duration,
    away: Duration,
    heard: BTreeMap<NodeId, Duration>,
    ticked: Option<Duration>,
}

impl Detector {
    /// Suspects a node after `suspect` of silence, takes it for away after `away`.
    #[must_use]
    pub fn new(suspect: Duration, away: Duration) -> Self {
        Self {
            suspect,
            away,
            heard: BTreeMap::new(),
            ticked: None,
        }
    }

    /// To be called at least twice within `suspect`, with the nodes to watch. A new one counts as
    /// heard now. If this call is late, it was this node that stood still: all count as heard now.
    pub fn tick(&mut self, nodes: &BTreeSet<NodeId>, now: Duration) {
        let paused = self
            .ticked
            .is_some_and(|last| now.saturating_sub(last) >= self.suspect);
        self.ticked = Some(now);
        self.heard.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let at = self.heard.entry(*node).or_insert(now);
            if paused {
                *at = now;
            }
        }
    }

    /// A node gave a sign of life. Ignored for nodes that are not watched.
    pub fn heard(&mut self, node: NodeId, now: Duration) {
        if let Some(at) = self.heard.get_mut(&node) {
            *at = now.max(*at);
        }
    }

    /// How long a node has been silent; `None` if it is not watched.
    #[must_use]
    pub fn silence(&self, node: NodeId, now: Duration) -> Option<Duration> {
        self.heard.get(&node).map(|at| now.saturating_sub(*at))
    }

    /// True if the node is watched and was heard within the time of suspicion.
    #[must_use]
    pub fn is_alive(&self, node: NodeId, now: Duration) -> bool {
        self.silence(node, now)
            .is_some_and(|silence| silence < self.suspect)
    }

    /// The nodes whose replicas should be made anew elsewhere.
    #[must_use]
    pub fn away(&self, now: Duration) -> BTreeSet<NodeId> {
        let gone = |at: &Duration| now.saturating_sub(*at) >= self.away;
        self.heard
            .iter()
            .filter(|(_, at)| gone(at))
            .map(|(node, _)| *node)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watched(nodes: &[u64]) -> (Detector, BTreeSet<NodeId>) {
        let nodes: BTreeSet<NodeId> = nodes.iter().copied().map(NodeId).collect();
        let mut detector = Detector::new(SECOND * 3, SECOND * 60);
        detector.tick(&nodes, SECOND);
        (detector, nodes)
    }

    #[test]
    fn silence_is_suspected_and_one_word_ends_it() {
        let (mut detector, nodes) = watched(&[1, 2]);
        for second in 2..=4 {
            detector.tick(&nodes, SECOND * second);
            detector.heard(NodeId(1), SECOND * second);
        }
        assert!(detector.is_alive(NodeId(1), SECOND * 4));
        assert!(!detector.is_alive(NodeId(2), SECOND * 4));
        detector.heard(NodeId(2), SECOND * 4);
        assert!(detector.is_alive(NodeId(2), SECOND * 4));
    }

    #[test]
    fn a_node_is_away_only_after_minutes() {
        let (mut detector, nodes) = watched(&[1, 2]);
        for second in 2..=61 {
            detector.tick(&nodes, SECOND * second);
            detector.heard(NodeId(1), SECOND * second);
            let away = detector.away(SECOND * second);
            assert_eq!(away.contains(&NodeId(2)), second == 61, "at {second} s");
            assert!(!away.contains(&NodeId(1)));
        }
    }

    #[test]
    fn who_stood_still_itself_suspects_nobody() {
        let (mut detector, nodes) = watched(&[1, 2]);
        detector.tick(&nodes, SECOND * 600);
        assert!(detector.is_alive(NodeId(1), SECOND * 600));
        assert_eq!(detector.away(SECOND * 600), BTreeSet::new());
    }

    #[test]
    fn a_node_that_left_is_not_watched() {
        let (mut detector, _) = watched(&[1, 2]);
        detector.tick(&BTreeSet::from([NodeId(1)]), SECOND * 2);
        detector.heard(NodeId(2), SECOND * 2);
        assert_eq!(detector.silence(NodeId(2), SECOND * 2), None);
    }
}
