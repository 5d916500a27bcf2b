//! Waiting for conditions: a wait has a name and a limit, and says what it last saw.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};

/// Asks `probe` until it gives something, every 20 ms, for at most `limit`. On time-out the error
/// names the condition and what the probe last answered.
pub async fn until<T, E, F>(name: &str, limit: Duration, probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, E>>,
    E: Debug,
{
    until_every(name, limit, Duration::from_millis(20), probe).await
}

/// The same, asked less often, where a probe costs something.
pub async fn until_every<T, E, F>(
    name: &str,
    limit: Duration,
    every: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T, E>>,
    E: Debug,
{
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = None;
    let asked = async {
        loop {
            tick.tick().await;
            match probe().await {
                Ok(value) => return value,
                Err(why) => last = Some(why),
            }
        }
    };
    let given = tokio::time::timeout(limit, asked).await;
    match given {
        Ok(value) => Ok(value),
        Err(_) => bail!("waited {limit:?} for {name}; last: {last:?}"),
    }
}

/// Bounds a future that should complete soon; the error names it.
pub async fn soon<T>(name: &str, limit: Duration, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("{name} took more than {limit:?}"),
    }
}
