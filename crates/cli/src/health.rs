//! `fanfare health`: whether a node is ready, by its operator's door. Also what `cluster init --wait`
//! asks before and after it makes the cluster.

use std::time::Duration;

use fanfare_client::{Address, AdminError, Machine, ask_ops};

use crate::args::Health;
use crate::failure::Failure;
use crate::{output, reach};

/// How long one answer may take: less than a container's health check waits.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

pub fn run(args: &Health) -> Result<(), Failure> {
    let ops = address(&args.ops)?;
    reach::run(async move |machine| {
        let path = if args.live { "/healthz" } else { "/readyz" };
        let look = async || look(&machine, &ops, path).await;
        let said = match args.wait {
            None => look().await?,
            Some(limit) => again(&machine, limit, look).await?,
        };
        output::line(&said)
    })
}

/// The address of an operator's door.
pub fn address(ops: &str) -> Result<Address, Failure> {
    Address::read(ops).map_err(|e| Failure::Usage(format!("--ops: {e}")))
}

/// Asks once; what the node says if it says yes.
pub async fn look(machine: &Machine, ops: &Address, path: &str) -> Result<String, Failure> {
    match ask_ops(machine, ops, path, ANSWER).await {
        Ok(answer) if answer.status == 200 => Ok(answer.text),
        Ok(answer) => Err(Failure::No(answer.text)),
        Err(AdminError::Refused(told)) => Err(reach::refused(&told)),
        Err(AdminError::Unreachable(why) | AdminError::NoAnswer(why)) => {
            let ops = format!("http://{}", ops.as_str());
            Err(reach::unreachable("--ops", &[ops], &why))
        }
    }
}

/// Tries until it is done, for at most `limit`; then the last failure. Wrong usage is not tried again.
pub async fn again<T>(
    machine: &Machine,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let end = machine.clock.now() + limit;
    let mut last = String::new();
    loop {
        let failure = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure @ (Failure::Usage(_) | Failure::Interrupted)) => return Err(failure),
            Err(failure) => failure,
        };
        if machine.clock.now() >= end {
            return Err(failure);
        }
        let why = failure.text();
        if why != last {
            output::note(&format!("waiting: {why}"));
            last = why;
        }
        machine.clock.sleep(LOOK).await;
    }
}
