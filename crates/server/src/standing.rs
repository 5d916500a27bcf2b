//! How a node stands, as numbers that an alert is made of: ready, what it leads, who lags behind it.

use fanfare_core::view::View;
use fanfare_host::Gauge;
use fanfare_rpc::members::ReplicaStatus;

/// Written once a report, read at each scrape.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// 1 while clients should be sent here.
    pub(crate) ready: Gauge,
    /// Most sessions of this node.
    pub(crate) sessions_limit: Gauge,
    /// Shards of the cluster, by the newest view this node has.
    pub(crate) shards: Gauge,
    /// Replicas here.
    pub(crate) replicas: Gauge,
    /// Of these, those that lead and hear a majority.
    pub(crate) shards_led: Gauge,
    /// Most entries that a replica lacks of a shard that is led here.
    pub(crate) replica_lag: Gauge,
}

impl Standing {
    /// Notes what the node's replicas are now.
    pub(crate) fn note(&self, ready: bool, view: &View, rows: &[ReplicaStatus]) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let led = || rows.iter().filter(|row| row.leads);
        let lag = led().flat_map(|row| row.behind.iter().map(|(_, entries)| *entries));
        self.ready.set(u64::from(ready));
        self.shards.set(count(view.shards.len()));
        self.replicas.set(count(rows.len()));
        self.shards_led.set(count(led().count()));
        self.replica_lag.set(lag.max().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::{ReplicaId, ShardId, Term};

    use super::*;

    #[test]
    fn only_what_is_led_here_is_counted_as_led_and_tells_of_lag() {
        let row = |shard, leads, lags: &[u64]| ReplicaStatus {
            shard: ShardId(shard),
            replica: ReplicaId(u64::from(shard)),
            term: Term(1),
            leads,
            applied: 9,
            behind: lags.iter().map(|lag| (ReplicaId(*lag), *lag)).collect(),
        };
        let standing = Standing::default();
        let rows = [
            row(1, true, &[0, 7]),
            row(2, false, &[900]),
            row(3, true, &[]),
        ];
        standing.note(true, &View::empty(), &rows);
        let seen = [
            &standing.ready,
            &standing.replicas,
            &standing.shards_led,
            &standing.replica_lag,
            &standing.shards,
        ];
        assert_eq!(seen.map(Gauge::get), [1, 3, 2, 7, 0]);
        standing.note(false, &View::empty(), &[]);
        assert_eq!(seen.map(Gauge::get), [0; 5]);
    }
}
