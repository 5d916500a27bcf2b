//! How commands reach nodes: addresses from the flags, a small runtime that Ctrl-C ends, and what
//! people are told if no node answers or one refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_client::{AdminError, Endpoints, FixedToken, Machine, Secret, Status, Tokens, Told};
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::args::{Reach, Token};
use crate::failure::Failure;

/// Reads the addresses of edges and gRPC doors.
pub fn endpoints(reach: &Reach) -> Result<Endpoints, Failure> {
    Endpoints::read(&reach.url, &reach.grpc).map_err(|e| Failure::Usage(e.to_string()))
}

/// Runs a command with the credentials that are given, as [`run`] does.
pub fn with(
    token: &Token,
    command: impl AsyncFnOnce(Machine) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let tokens = tokens(token)?;
    run(async move |machine| command(Machine { tokens, ..machine }).await)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a flag would show the token to everybody on the machine"
)]
pub fn tokens(token: &Token) -> Result<Arc<dyn Tokens>, Failure> {
    if let Some(path) = &token.token_file {
        let file = TokenFile(path.clone());
        // What is wrong with it is said now, not at the first refusal.
        std::fs::read_to_string(path)
            .map_err(|e| e.to_string())
            .and_then(|text| secret(&text))
            .map_err(|why| Failure::Usage(format!("--token-file {}: {why}", path.display())))?;
        return Ok(Arc::new(file));
    }
    match std::env::var("FANFARE_TOKEN") {
        Ok(text) if !text.trim().is_empty() => {
            let token =
                secret(&text).map_err(|why| Failure::Usage(format!("FANFARE_TOKEN: {why}")))?;
            Ok(Arc::new(FixedToken(Some(token))))
        }
        Ok(_) | Err(_) => Ok(Arc::new(FixedToken(None))),
    }
}

/// Reads a token as it stands in a file or variable.
fn secret(text: &str) -> Result<Secret, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        token if token.chars().all(|c| c.is_ascii_graphic()) => Ok(Secret::new(token)),
        _ => Err("a token has no spaces and no characters beyond ASCII".to_owned()),
    }
}

/// A token that somebody else renews: the file is read whenever one is needed.
struct TokenFile(PathBuf);

impl Tokens for TokenFile {
    fn token(&self, _renew: bool) -> BoxFuture<'static, Option<Secret>> {
        let path = self.0.clone();
        async move { read_token(&path).await }.boxed()
    }
}

async fn read_token(path: &Path) -> Option<Secret> {
    let text = tokio::fs::read_to_string(path).await.ok()?;
    secret(&text).ok()
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
