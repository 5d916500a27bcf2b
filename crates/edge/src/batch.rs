//! `POST /v1/publish/batch`: a draft a line in, an answer a line out, in order, while the request
//! is still being read.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use fanfare_core::code::Code;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_protocol::json::ack::put_receipt;
use fanfare_protocol::json::{draft, problem};
use fanfare_protocol::limit::Limits;
use fanfare_protocol::query::PublishQuery;
use futures_util::FutureExt as _;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::auth::Bearer;
use crate::http::{Call, Front};
use crate::problem::{problem, with_status};
use crate::publish::{PublishStream, Published};
use crate::single::{encoded, length, of_publish};

const NDJSON: &str = "application/x-ndjson";
/// Bytes of answers that are written at once, if so many are there.
const WRITE: usize = 16 << 10;

/// What a line came to: a draft on its way, or a refusal that never was one.
type Line = Result<Published, Refusal>;

/// Reads drafts and answers each. The answer begins before the request ends.
pub(crate) fn publish(call: &Call<'_>, body: Body, id: &str) -> Response {
    if let Some(refusal) = encoded(&call.headers) {
        return with_status(&refusal, StatusCode::UNSUPPORTED_MEDIA_TYPE, id);
    }
    let (bearer, timeout) = match opening(call) {
        Ok(opening) => opening,
        Err(refusal) => return problem(&of_publish(refusal), id),
    };
    let limits = call.limits();
    let (lines, answers) = mpsc::channel(limits.batch_lines.max(1));
    let front = call.front;
    let reader = Reader {
        front: front.clone(),
        stream: front.state.publisher.stream(),
        bearer,
        limits,
        timeout,
        count: 0,
        lines,
    };
    front.state.deps.tracker.spawn(reader.run(body));
    let mut response = Response::new(Body::from_stream(written(answers, id)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn opening(call: &Call<'_>) -> Result<(Bearer, Duration), Refusal> {
    let bearer = call.bearer(None)?;
    let timeout = PublishQuery::read_batch(&call.query)?;
    let named = call.once("Content-Type")?.unwrap_or_default();
    let essence = named.split(|byte| *byte == b';').next().unwrap_or_default();
    if !essence.trim_ascii().eq_ignore_ascii_case(NDJSON.as_bytes()) {
        let why = "the Content-Type of a batch is application/x-ndjson";
        return Err(Refusal::new(Code::InvalidArgument, why).field("Content-Type"));
    }
    let most = call.limits().batch_bytes;
    match length(&call.headers) {
        Some(length) if length > most as u64 => Err(too_large(&format!("{most} bytes"))),
        _ => Ok((bearer, timeout)),
    }
}

fn too_large(most: &str) -> Refusal {
    Refusal::of_publish(Code::PayloadTooLarge, format!("a batch has at most {most}"))
}

/// Takes lines off the request and puts them on their way.
struct Reader {
    front: Front,
    stream: PublishStream,
    bearer: Bearer,
    limits: Limits,
    timeout: Duration,
    /// Lines so far.
    count: usize,
    lines: mpsc::Sender<Line>,
}

/// Reading is over: too much, or nobody waits for answers.
struct Over;

impl Reader {
    /// Ends with the request, with what is too much of it, or when it makes no progress. What was
    /// cut off is no line; lines without an answer are unknown.
    async fn run(mut self, mut body: Body) {
        let clock = self.front.state.deps.clock.clone();
        let pause = self.front.state.config.publish.body_timeout;
        let mut buffer = BytesMut::new();
        let mut total = 0_usize;
        // A line above the limit is answered at once and then skipped to its end.
        let mut skipping = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = clock.sleep(pause) => return,
            };
            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
                Some(Err(_)) => return,
                None => break,
            };
            total = total.saturating_add(data.len());
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end);
                buffer.advance(1);
                if !std::mem::take(&mut skipping) && self.line(&line).await.is_err() {
                    return;
                }
            }
            if skipping {
                buffer.clear();
            } else if buffer.len() > self.limits.frame {
                skipping = true;
                if self.line(&buffer.split()).await.is_err() {
                    return;
                }
            }
            if total > self.limits.batch_bytes {
                let most = format!("{} bytes", self.limits.batch_bytes);
                self.lines.send(Err(too_large(&most))).await.ok();
                return;
            }
        }
        if !skipping {
            self.line(&buffer).await.ok();
        }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Over> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        self.count += 1;
        if self.count > self.limits.batch_lines {
            let most = format!("{} lines", self.limits.batch_lines);
            self.lines.send(Err(too_large(&most))).await.ok();
            return Err(Over);
        }
        let sent = self.submit(line).await;
        self.lines.send(sent).await.map_err(|_| Over)
    }

    async fn submit(&self, line: &[u8]) -> Line {
        let draft = draft::of_line(line, &self.limits)?;
        let room = self.stream.room(draft.cost()).await?;
        Ok(self
            .stream
            .submit(&self.bearer.grants, room, draft, self.timeout))
    }
}

/// The answers as lines, in order; those that are there go in one write.
fn written(
    answers: mpsc::Receiver<Line>,
    id: &str,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + use<> {
    let state = (answers, None::<Line>, 0_usize, id.to_owned());
    stream::unfold(state, |(mut answers, held, mut index, id)| async move {
        let mut out = Vec::new();
        let mut line = match held {
            Some(line) => line,
            None => answers.recv().await?,
        };
        let held = loop {
            let result = match line {
                Err(refusal) => Err(refusal),
                Ok(mut published) if out.is_empty() => (&mut published).await,
                Ok(mut published) => match (&mut published).now_or_never() {
                    Some(result) => result,
                    None => break Some(Ok(published)),
                },
            };
            put_line(&mut out, index, result, &id);
            index += 1;
            line = match answers.try_recv() {
                Ok(line) if out.len() < WRITE => line,
                Ok(line) => break Some(line),
                Err(_) => break None,
            };
        };
        Some((Ok(Bytes::from(out)), (answers, held, index, id)))
    })
}

fn put_line(out: &mut Vec<u8>, index: usize, result: Result<Receipt, Refusal>, id: &str) {
    out.extend_from_slice(format!("{{\"index\":{index},").as_bytes());
    match result {
        Ok(receipt) => {
            out.extend_from_slice(b"\"ack\":");
            put_receipt(out, &receipt);
        }
        Err(refusal) => {
            let refusal = of_publish(refusal);
            out.extend_from_slice(b"\"error\":");
            problem::put_problem(out, &refusal, problem::status(&refusal), Some(id));
        }
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests;
