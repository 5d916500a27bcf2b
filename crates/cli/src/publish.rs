//! `fanfare pub`: drafts from the command line, a file or stdin, published in order; positions on
//! stdout, progress on a terminal's stderr.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{
    Acked, Machine, Patience, Pending, PublishError, PublishOptions, Publisher, Spelled as _,
    is_json,
};
use fanfare_core::message::{Ack, Content, ContentType, Draft, Key, Meta, Tags};
use fanfare_host::Clock;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::args::Publish;
use crate::failure::Failure;
use crate::{output, reach};

/// Outcomes waited for at one time.
const PENDING: usize = 512;

pub fn run(args: Publish) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let form = Form::read(&args)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine| {
        let options = PublishOptions {
            patience: Patience {
                refused: Duration::from_secs(10),
                ..Patience::default()
            },
            ..PublishOptions::default()
        };
        let source = Source::open(&args).await?;
        let publisher = Publisher::start(machine.clone(), endpoints, options);
        Run::new(&args, form, machine)
            .publish(source, &publisher)
            .await
    })
}

/// What all drafts of a command have in common.
struct Form {
    draft: Draft,
    named_type: Option<ContentType>,
    key: Option<String>,
    /// True: the key is followed by the message's number.
    numbered: bool,
}

impl Form {
    fn read(args: &Publish) -> Result<Self, Failure> {
        fn usage<T, E: std::fmt::Display>(flag: &str, read: Result<T, E>) -> Result<T, Failure> {
            read.map_err(|e| Failure::Usage(format!("{flag}: {e}")))
        }
        if args
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return Err(Failure::Usage(
                "--rate: messages a second, above 0".to_owned(),
            ));
        }
        let stdin = args.data == "-";
        if stdin && args.count != 1 {
            let why = "--count: goes with DATA; from stdin each line is one message";
            return Err(Failure::Usage(why.to_owned()));
        }
        let pair = |tag: &String| match tag.split_once(':') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Failure::Usage(format!("--tag: `{tag}` is no KEY:VALUE"))),
        };
        let tags: Vec<_> = args.tags.iter().map(pair).collect::<Result<_, _>>()?;
        let event = args.event.as_ref().map(|event| event.parse()).transpose();
        let meta = Meta {
            content_type: ContentType::default(),
            event: usage("--event", event)?,
            tags: usage("--tag", Tags::new(tags))?,
        };
        let named = args
            .content_type
            .as_ref()
            .map(|named| named.parse())
            .transpose();
        let draft = Draft {
            topic: usage("TOPIC", args.topic.parse())?,
            content: Content {
                payload: Bytes::new(),
                meta: Arc::new(meta),
            },
            key: None,
            key_age_ms: 0,
            ack: match args.ack.as_str() {
                "none" => Ack::None,
                _ => Ack::Committed,
            },
            expect: None,
        };
        let form = Self {
            draft,
            named_type: usage("--type", named)?,
            key: args.key.clone(),
            numbered: stdin || args.count > 1,
        };
        // The longest key of the command, so that it does not fail half-way.
        let longest = if stdin { u64::MAX } else { args.count };
        form.key_of(longest)?;
        Ok(form)
    }

    /// The key of message `number`, from 1.
    fn key_of(&self, number: u64) -> Result<Option<Key>, Failure> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let text = match self.numbered {
            true => format!("{key}-{number}"),
            false => key.clone(),
        };
        let key = Key::new(Bytes::from(text));
        key.map(Some)
            .map_err(|e| Failure::Usage(format!("--key: {e}")))
    }

    fn draft(&self, number: u64, payload: Bytes) -> Result<Draft, Failure> {
        let mut draft = self.draft.clone();
        let content_type = match &self.named_type {
            Some(named) => named.clone(),
            None => guess(&payload),
        };
        draft.content.meta = Arc::new(Meta {
            content_type,
            ..(*self.draft.content.meta).clone()
        });
        draft.content.payload = payload;
        draft.key = self.key_of(number)?;
        Ok(draft)
    }
}

/// JSON if it is JSON, else text if it is UTF-8, else bytes.
fn guess(payload: &[u8]) -> ContentType {
    let name = match std::str::from_utf8(payload) {
        Ok(_) if is_json(payload) => ContentType::JSON,
        Ok(_) => ContentType::TEXT,
        Err(_) => ContentType::BYTES,
    };
    name.parse().unwrap_or_default()
}

/// Where payloads come from.
enum Source {
    Repeated { payload: Bytes, left: u64 },
    Lines(BufReader<tokio::io::Stdin>, Vec<u8>),
}

impl Source {
    async fn open(args: &Publish) -> Result<Self, Failure> {
        let payload = match args.data.as_str() {
            "-" => return Ok(Self::Lines(BufReader::new(tokio::io::stdin()), Vec::new())),
            data => match data.strip_prefix('@') {
                None => Bytes::from(data.to_owned()),
                Some(path) => {
                    let read = tokio::fs::read(path).await;
                    read.map_err(|e| Failure::Usage(format!("{path}: {e}")))?
                        .into()
                }
            },
        };
        let left = args.count;
        Ok(Self::Repeated { payload, left })
    }

    /// The next payload; `None` at the end. Safe to cancel.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Repeated { left: 0, .. } => Ok(None),
            Self::Repeated { payload, left } => {
                *left -= 1;
                Ok(Some(payload.clone()))
            }
            Self::Lines(input, line) => {
                // What a cancelled call has read stays in `line`.
                let read = input.read_until(b'\n', line).await?;
                if read == 0 && line.is_empty() {
                    return Ok(None);
                }
                let mut line = std::mem::take(line);
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                Ok(Some(line.into()))
            }
        }
    }
}

/// One run of the command.
struct Run {
    form: Form,
    json: bool,
    clock: Arc<dyn Clock>,
    began: Duration,
    rate: Option<f64>,
    shows: bool,
    shown_at: Duration,
    sent: u64,
    acked: u64,
    unknown: u64,
}

impl Run {
    fn new(args: &Publish, form: Form, machine: Machine) -> Self {
        let now = machine.clock.now();
        Self {
            form,
            json: args.json,
            clock: machine.clock,
            began: now,
            rate: args.rate,
            shows: std::io::stderr().is_terminal() && (args.count > 1 || args.data == "-"),
            shown_at: now,
            sent: 0,
            acked: 0,
            unknown: 0,
        }
    }

    async fn publish(mut self, mut source: Source, publisher: &Publisher) -> Result<(), Failure> {
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut open = true;
        while open || !pending.is_empty() {
            let room = open && pending.len() < PENDING;
            let due = self.due();
            tokio::select! { biased;
                outcome = first(&mut pending) => {
                    pending.pop_front();
                    self.on_outcome(outcome)?;
                }
                payload = paced(&*self.clock, due, &mut source), if room => match payload? {
                    None => open = false,
                    Some(payload) => {
                        self.sent += 1;
                        let draft = self.form.draft(self.sent, payload)?;
                        let taken = publisher.submit(draft).await;
                        pending.push_back(taken.map_err(|e| Failure::No(e.to_string()))?);
                    }
                },
            }
            self.show();
        }
        self.end()
    }

    /// When the next message may leave.
    fn due(&self) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let since = Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX);
        self.began.saturating_add(since)
    }

    fn on_outcome(&mut self, outcome: Result<Acked, PublishError>) -> Result<(), Failure> {
        match outcome {
            Ok(acked) => {
                self.acked += 1;
                output::line(&shown(&acked, self.json))
            }
            Err(PublishError::Refused(told)) => Err(reach::refused(&told)),
            Err(PublishError::Unreachable(why)) => Err(Failure::Unreachable(format!(
                "cannot reach a node: {why}\nIs it running? Say where it is with --grpc http://HOST:PORT"
            ))),
            Err(error @ PublishError::Unknown(_)) => {
                self.unknown += 1;
                output::note(&format!("message {}: {error}", self.acked + self.unknown));
                Ok(())
            }
            Err(error @ PublishError::Ended) => Err(Failure::No(error.to_string())),
        }
    }

    fn show(&mut self) {
        let now = self.clock.now();
        if !self.shows || now.saturating_sub(self.shown_at) < Duration::from_secs(1) {
            return;
        }
        self.shown_at = now;
        let seconds = now.saturating_sub(self.began).as_secs_f64();
        let (acked, sent) = (self.acked, self.sent);
        output::note(&format!(
            "{acked} of {sent} acked, {:.0} a second",
            acked as f64 / seconds
        ));
    }

    fn end(self) -> Result<(), Failure> {
        match self.unknown {
            0 => Ok(()),
            unknown => Err(Failure::No(format!(
                "{unknown} of {} messages may be placed or not: no node told in time",
                self.sent
            ))),
        }
    }
}

/// The outcome of the first of them; never if there is none. Safe to cancel.
async fn first(pending: &mut VecDeque<Pending>) -> Result<Acked, PublishError> {
    match pending.front_mut() {
        Some(pending) => pending.outcome().await,
        None => std::future::pending().await,
    }
}

/// The next payload, not before it is due. Safe to cancel.
async fn paced(
    clock: &dyn Clock,
    due: Duration,
    source: &mut Source,
) -> Result<Option<Bytes>, Failure> {
    clock.sleep_until(due).await;
    source.next().await
}

/// An ack as it is printed.
fn shown(acked: &Acked, json: bool) -> String {
    let Acked {
        topic,
        position,
        class,
        reached,
        duplicate,
        dedup_remaining_ms,
    } = acked;
    if json {
        let mut line = json!({
            "topic": topic.as_str(),
            "class": class.as_ref().map(|class| class.as_str()),
            "reached": reached.as_str(),
            "duplicate": duplicate,
        });
        if let Some(position) = position {
            line["position"] = json!(position.to_string());
        }
        if let Some(ms) = dedup_remaining_ms {
            line["dedup"] = json!({ "remaining_ms": ms });
        }
        return line.to_string();
    }
    let mut text = match position {
        Some(position) => position.to_string(),
        None => "taken".to_owned(),
    };
    if *duplicate {
        text.push_str(" duplicate");
    }
    let ephemeral = fanfare_core::rule::Class::Ephemeral.spelling();
    if reached.as_str() == ephemeral {
        text.push_str(" ephemeral");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn args(line: &[&str]) -> Publish {
        let line = ["fanfare", "pub"].iter().chain(line);
        let Command::Pub(args) = Args::try_parse_from(line).unwrap().command else {
            panic!("another command")
        };
        args
    }

    fn keys(line: &[&str]) -> Vec<String> {
        let form = Form::read(&args(line)).unwrap();
        let key = |n| form.key_of(n).unwrap().map(|key| key.as_bytes().clone());
        let text = |key: Bytes| String::from_utf8(key.to_vec()).unwrap();
        [1, 2].into_iter().filter_map(key).map(text).collect()
    }

    #[test]
    fn several_messages_have_numbered_keys() {
        assert_eq!(
            keys(&["news", "x", "--key", "goal", "--count", "2"]),
            ["goal-1", "goal-2"]
        );
        assert_eq!(keys(&["news", "-", "--key", "goal"]), ["goal-1", "goal-2"]);
        assert_eq!(keys(&["news", "x", "--key", "goal"]), ["goal", "goal"]);
        assert!(keys(&["news", "x"]).is_empty(), "the publisher draws one");
    }

    #[test]
    fn a_content_type_is_guessed_from_the_bytes() {
        assert_eq!(guess(br#"{"a": 1}"#).as_str(), ContentType::JSON);
        assert_eq!(guess(b"hello").as_str(), ContentType::TEXT);
        assert_eq!(guess(b"").as_str(), ContentType::TEXT);
        assert_eq!(guess(b"\xff\xd8").as_str(), ContentType::BYTES);
        let form = Form::read(&args(&["news", "{}", "--type", "text/plain"])).unwrap();
        let draft = form.draft(1, Bytes::from_static(b"{}")).unwrap();
        assert_eq!(draft.content.meta.content_type.as_str(), "text/plain");
    }

    #[test]
    fn wrong_usage_names_the_flag() {
        let long = "k".repeat(127);
        for (line, flag) in [
            (&["a b", "x"][..], "TOPIC"),
            (&["news", "x", "--event", "open"], "--event"),
            (&["news", "x", "--tag", "lang"], "--tag"),
            (&["news", "x", "--type", "json"], "--type"),
            (&["news", "x", "--rate", "0"], "--rate"),
            (&["news", "-", "--count", "2"], "--count"),
            (&["news", "x", "--count", "10", "--key", &long], "--key"),
        ] {
            let Err(Failure::Usage(text)) = Form::read(&args(line)).map(drop) else {
                panic!("{line:?} was taken")
            };
            assert!(text.starts_with(flag), "{text}");
        }
    }

    #[tokio::test]
    async fn data_is_published_count_times() {
        let mut source = Source::open(&args(&["news", "hi", "--count", "2"]))
            .await
            .unwrap();
        assert_eq!(source.next().await.unwrap().unwrap(), "hi");
        assert_eq!(source.next().await.unwrap().unwrap(), "hi");
        assert!(source.next().await.unwrap().is_none());
        let missing = Source::open(&args(&["news", "@/nowhere/x"])).await;
        assert!(matches!(missing, Err(Failure::Usage(text)) if text.starts_with("/nowhere/x")));
    }

    #[test]
    fn an_ack_is_a_position() {
        let json = br#"{"topic":"news","position":"7-42","class":"durable","reached":"durable","duplicate":true,"dedup":{"remaining_ms":5}}"#;
        let acked = Acked::read(json).unwrap();
        assert_eq!(shown(&acked, false), "7-42 duplicate");
        let line: serde_json::Value = serde_json::from_str(&shown(&acked, true)).unwrap();
        assert_eq!(
            line,
            serde_json::from_slice::<serde_json::Value>(json).unwrap()
        );
    }
}
