//! How commands reach nodes: addresses from the flags, a small runtime that Ctrl-C ends, and what
//! people are told if no node answers or one refuses.

use fanfare_client::{AdminError, Endpoints, Machine, Status, Told};

use crate::args::Reach;
use crate::failure::Failure;

/// Reads the addresses of edges and gRPC doors.
pub fn endpoints(reach: &Reach) -> Result<Endpoints, Failure> {
    Endpoints::read(&reach.url, &reach.grpc).map_err(|e| Failure::Usage(e.to_string()))
}

/// Runs a command until it is done or interrupted. What still runs then is left behind.
pub fn run(command: impl AsyncFnOnce(Machine) -> Result<(), Failure>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        tokio::select! { biased;
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => Err(Failure::Interrupted),
                Err(error) => Err(error.into()),
            },
            done = command(Machine::real()) => done,
        }
    });
    // A thread may wait for a line of stdin for ever.
    runtime.shutdown_background();
    done
}

/// A node's refusal, with its code and what it means.
pub fn refused(told: &Told) -> Failure {
    let problem = &told.problem;
    let code = problem.code.as_str().to_owned();
    let title = problem.code.known().map(|known| known.title().to_owned());
    let mut detail = match (problem.detail.as_str(), title) {
        ("", Some(title)) => title,
        ("", None) => "the node said no more".to_owned(),
        (detail, _) => detail.to_owned(),
    };
    if let Some(field) = &problem.field {
        detail.push_str(&format!(" (`{field}`)"));
    }
    if let (Status::Http(status), None) = (told.status, problem.code.known()) {
        detail.push_str(&format!(" (HTTP {status}: is this a fanfare node?)"));
    }
    Failure::Refused { code, detail }
}

/// No node answered at any of the addresses that `flag` gives.
pub fn unreachable(flag: &str, addresses: &[String], why: &str) -> Failure {
    let list = addresses.join(", ");
    Failure::Unreachable(format!(
        "cannot reach a node at {list}: {why}\nIs it running? Say where it is with {flag} http://HOST:PORT"
    ))
}

/// Why an administrative call was not done.
pub fn admin(reach: &Reach) -> impl Fn(AdminError) -> Failure {
    |error| match error {
        AdminError::Refused(told) => refused(&told),
        AdminError::Unreachable(why) => unreachable("--grpc", &reach.grpc, &why),
        AdminError::NoAnswer(why) => {
            let text = format!("{why}\nIt may be done or not; look, then ask again");
            unreachable("--grpc", &reach.grpc, &text)
        }
    }
}
