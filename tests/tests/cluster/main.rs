//! Three nodes under load that lose a leader, a follower, everything; and a leader that sleeps.
//! Nothing acked is lost, nobody is told a thing twice, nobody misses what no gap tells.

mod barriers;
mod disks;
mod failing_disks;
mod full_disks;
mod in_process;
mod membership;
mod moving;
mod planned;
mod processes;
mod removals;
mod repair;
mod replacement;
mod retention;
mod snapshots;
mod stage;
