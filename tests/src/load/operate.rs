//! Planned operations in turn, by the commands of an operator, each begun when all is calm after
//! the one before: shards led and replicated, clients at their rate.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::operation::Operation;
use super::pauses::Window;
use super::plan::Plan;
use super::sight::{self, Sight};
use super::traffic::Traffic;
use crate::operator;
use crate::process::Processes;
use crate::wait;
use crate::wire::grpc::pb;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Share of the rate, in percent, at which the load counts as running at its rate.
const AT_RATE: u64 = 80;

/// Who carries the operations out.
pub(super) struct Operator<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cluster: &'a mut Processes,
    traffic: &'a Traffic,
    windows: Vec<Window>,
}

impl<'a> Operator<'a> {
    pub(super) fn new(plan: &'a Plan, cluster: &'a mut Processes, traffic: &'a Traffic) -> Self {
        Self {
            plan,
            cluster,
            traffic,
            windows: Vec::new(),
        }
    }

    /// Carries all out. Afterwards every node that is left runs, and no other.
    pub(super) async fn carry_out(mut self, operations: &[Operation]) -> Result<Vec<Window>> {
        self.calm().await?;
        let before = self.traffic.book().now();
        self.traffic.acks(self.plan.rate * 5, self.limit()).await?;
        self.windows.push(Window {
            operation: None,
            subject: String::new(),
            from: before,
            to: self.traffic.book().now(),
            touched: (0..self.plan.shards).collect(),
        });
        for operation in operations {
            match operation {
                Operation::Join => self.join().await,
                Operation::Drain => self.drain().await,
                Operation::Remove => self.remove().await,
                Operation::Replace => self.replace().await,
                Operation::Transfer => self.transfer().await,
                Operation::Restart => self.restart().await,
                Operation::Upgrade => self.upgrade().await,
            }
            .with_context(|| format!("{operation}, with the logs in {}", self.logs()))?;
        }
        Ok(self.windows)
    }

    async fn join(&mut self) -> Result<()> {
        let name = self.new_name();
        let begun = self.begin(Operation::Join, &name).await?;
        let at = self.cluster.add(&name)?;
        self.cluster.nodes[at].ready().await?;
        let node = self.cluster.nodes[at].node.clone();
        self.traffic.doors().open(node);
        self.until("the new node to have its share", |sight| {
            let (has, share) = (sight.held_by(&name).len(), sight.share());
            ensure!(has >= share, "{name} has {has} of {share} replicas");
            Ok(())
        })
        .await?;
        self.end(begun).await
    }

    async fn drain(&mut self) -> Result<()> {
        let name = self.cluster.nodes[0].name.clone();
        let begun = self.begin(Operation::Drain, &name).await?;
        let node = self.cluster.nodes[0].node.clone();
        self.traffic.doors().close(&node);
        self.command(&["cluster", "drain", &name]).await?;
        self.until("the node to lead nothing", |sight| {
            let led = sight.led_by(&name);
            ensure!(led.is_empty(), "{name} leads {led:?}");
            Ok(())
        })
        .await?;
        self.end(begun).await
    }

    async fn remove(&mut self) -> Result<()> {
        let name = self.cluster.nodes[0].name.clone();
        let begun = self.begin(Operation::Remove, &name).await?;
        let node = self.cluster.nodes[0].node.clone();
        self.traffic.doors().close(&node);
        self.command(&["cluster", "remove", &name]).await?;
        self.gone(&name).await?;
        let mut process = self.cluster.nodes.remove(0);
        let code = process.exited(self.limit()).await?;
        ensure!(
            code == Some(0),
            "a removed node ended with {code:?}:\n{}",
            process.tail()
        );
        self.end(begun).await
    }

    async fn replace(&mut self) -> Result<()> {
        let old = self.cluster.nodes[0].name.clone();
        let new = self.new_name();
        let begun = self.begin(Operation::Replace, &old).await?;
        let mut process = self.cluster.nodes.remove(0);
        self.traffic.doors().close(&process.node);
        process.signal("TERM")?;
        process.exited(self.limit()).await?;
        std::fs::remove_dir_all(process.data())?;
        process.start()?;
        let code = process.exited(self.limit()).await?;
        ensure!(
            code != Some(0),
            "a node with a wiped disk started:\n{}",
            process.tail()
        );
        let at = self.cluster.add(&new)?;
        self.cluster.nodes[at].ready().await?;
        self.until("the new node to be heard", |sight| {
            ensure!(sight.is_heard(&new), "{new} is not heard by every node");
            Ok(())
        })
        .await?;
        self.command(&["cluster", "replace", &old, &new]).await?;
        self.gone(&old).await?;
        let node = self.cluster.nodes[at].node.clone();
        self.traffic.doors().open(node);
        self.end(begun).await
    }

    async fn transfer(&mut self) -> Result<()> {
        for shard in 0..self.plan.shards {
            let before = sight::look(&sight::doors(self.cluster)).await?;
            let (leader, target) = successor(&before, shard)?;
            let mut begun = self.note(Operation::Transfer, &format!("shard {shard}"), before);
            begun.led = [shard].into();
            let id = shard.to_string();
            self.command(&["cluster", "transfer", &id, &target]).await?;
            self.until("the target to lead", |sight| {
                let led = sight.led_by(&target).contains(&shard);
                ensure!(led, "{target} does not lead shard {shard}, {leader} did");
                Ok(())
            })
            .await?;
            self.traffic.acks(self.plan.rate / 2, self.limit()).await?;
            let mut window = begun.window(&self.traffic.book().now());
            window.touched = [shard].into();
            self.windows.push(window);
        }
        self.calm().await?;
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        for at in 0..self.cluster.nodes.len() {
            self.again(Operation::Restart, at).await?;
        }
        Ok(())
    }

    /// Stops a node in order and starts it again.
    pub(super) async fn again(&mut self, operation: Operation, at: usize) -> Result<()> {
        let name = self.cluster.nodes[at].name.clone();
        let begun = self.begin(operation, &name).await?;
        let limit = self.limit();
        let node = &mut self.cluster.nodes[at];
        node.signal("TERM")?;
        let code = node.exited(limit).await?;
        ensure!(
            code == Some(0),
            "{name} ended with {code:?}:\n{}",
            node.tail()
        );
        node.start()?;
        node.ready().await?;
        self.end(begun).await
    }

    /// A name that no node of the run had.
    fn new_name(&self) -> String {
        let number = |name: &str| name.trim_start_matches('n').parse::<usize>().ok();
        let known = self.cluster.nodes.iter().filter_map(|n| number(&n.name));
        format!("n{}", known.max().unwrap_or(0) + 1)
    }

    /// Asks the others: a removed node ends by itself.
    async fn gone(&self, name: &str) -> Result<()> {
        let others = self.cluster.nodes.iter().filter(|node| node.name != name);
        let doors: Vec<String> = others.map(|node| node.node.grpc.clone()).collect();
        let is = |sight: &Sight| {
            let (state, held) = (sight.state(name), sight.held_by(name));
            let gone = matches!(state, pb::NodeState::Gone | pb::NodeState::Unspecified);
            ensure!(
                gone && held.is_empty(),
                "{name} is {state:?}, holds {held:?}"
            );
            Ok(())
        };
        wait::until_every("the node to be gone", self.limit(), LOOK, || async {
            is(&sight::look(&doors).await?)
        })
        .await
    }

    /// Runs `fanfare ARGS`, asking the nodes that run.
    async fn command(&self, args: &[&str]) -> Result<()> {
        let doors = sight::doors(self.cluster);
        let said = operator::fanfare(args, &doors, self.limit()).await?;
        said.done()?;
        Ok(())
    }

    async fn begin(&self, operation: Operation, subject: &str) -> Result<Begun> {
        let before = self.calm().await?;
        Ok(self.note(operation, subject, before))
    }

    fn note(&self, operation: Operation, subject: &str, before: Sight) -> Begun {
        let from = self.traffic.book().now();
        self.traffic.fault(operation.as_str(), subject);
        tell(&format!(
            "{:>7.1} s   {operation} {subject}",
            from.as_secs_f64()
        ));
        Begun {
            operation,
            subject: subject.to_owned(),
            from,
            led: before.led_by(subject),
            before,
        }
    }

    async fn end(&mut self, begun: Begun) -> Result<()> {
        let after = self.calm().await?;
        let now = self.traffic.book().now();
        let mut window = begun.window(&now);
        window.touched.extend(begun.before.changed(&after));
        tell(&format!(
            "{:>7.1} s   calm again; {} shards were touched",
            now.as_secs_f64(),
            window.touched.len()
        ));
        self.windows.push(window);
        Ok(())
    }

    /// Waits until every shard is calm and the load has run at its rate for a second.
    pub(super) async fn calm(&self) -> Result<Sight> {
        let doors = sight::doors(self.cluster);
        wait::until_every("calm", self.limit(), LOOK, || async {
            sight::look(&doors).await?.calm()?;
            let (before, _) = self.traffic.book().counts();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let acks = self.traffic.book().counts().0 - before;
            let rate = self.plan.rate;
            ensure!(
                acks * 100 >= rate * AT_RATE,
                "{acks} acks in a second, of {rate}"
            );
            let sight = sight::look(&doors).await?;
            sight.calm()?;
            Ok(sight)
        })
        .await
    }

    async fn until(&self, name: &str, is: impl Fn(&Sight) -> Result<()>) -> Result<()> {
        let doors = sight::doors(self.cluster);
        wait::until_every(name, self.limit(), LOOK, || async {
            is(&sight::look(&doors).await?)
        })
        .await
    }

    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.plan.patience)
    }

    fn logs(&self) -> String {
        let log = self.cluster.nodes.first().map(|node| node.log());
        let dir = log.and_then(|log| log.parent().map(|dir| dir.display().to_string()));
        dir.unwrap_or_default()
    }
}

/// An operation under way.
struct Begun {
    operation: Operation,
    subject: String,
    from: Duration,
    /// Shards that its subject led.
    led: BTreeSet<u32>,
    before: Sight,
}

impl Begun {
    fn window(&self, now: &Duration) -> Window {
        Window {
            operation: Some(self.operation),
            subject: self.subject.clone(),
            from: self.from,
            to: *now,
            touched: self.led.clone(),
        }
    }
}

/// The leader of a shard, and the replica after it, which is to lead it.
fn successor(sight: &Sight, shard: u32) -> Result<(String, String)> {
    let row = sight
        .shards
        .get(usize::try_from(shard)?)
        .context("no shard")?;
    let leader = row.leader.context("no leader")?;
    let at = row.replicas.iter().position(|r| r.node == leader);
    let next = at.context("the leader is no replica")? + 1;
    let target = &row.replicas[next % row.replicas.len()];
    Ok((sight.name(leader), sight.name(target.node)))
}

pub(super) fn tell(line: &str) {
    // Progress is a courtesy: a closed stderr stops nothing.
    drop(writeln!(std::io::stderr(), "{line}"));
}
