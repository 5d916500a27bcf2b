//! `fanfare sub`: items as they come, on stdout; what happens to the session, on stderr. A cursor
//! file is written after items are printed.

use std::io::IsTerminal as _;

use fanfare_client::{
    Attached, Event, Reason, Received, ReceivedGap, ReceivedMessage, Spelled as _, Stopped,
    SubscribeOptions, Subscriber, TopicEnd, Transport,
};
use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use futures_util::future::FutureExt as _;

use crate::args::Subscribe;
use crate::cursor_file::CursorFile;
use crate::failure::Failure;
use crate::{output, reach};

pub fn run(args: Subscribe) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let mut options = options(&args)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine| {
        let mut kept = CursorFile::at(args.cursor_file.clone());
        options.progress = kept.load().await?;
        let mut subscriber = Subscriber::new(machine, endpoints, options);
        print(&args, &mut subscriber, &mut kept).await?;
        kept.save(subscriber.progress()).await
    })
}

fn options(args: &Subscribe) -> Result<SubscribeOptions, Failure> {
    let usage = |flag: &str, why: &dyn std::fmt::Display| Failure::Usage(format!("{flag}: {why}"));
    let mut topics: Vec<TopicName> = Vec::new();
    for name in &args.topics {
        let topic = name
            .parse()
            .map_err(|e| usage(&format!("TOPIC `{name}`"), &e))?;
        if topics.contains(&topic) {
            return Err(usage("TOPIC", &format!("`{name}` is repeated")));
        }
        topics.push(topic);
    }
    if topics.len() > 100 {
        return Err(usage(
            "TOPIC",
            &"at most 100 topics; run the command again for more",
        ));
    }
    let from = since(&args.from).ok_or_else(|| {
        let why = "`latest`, `earliest`, `last:1` to `last:1000`, or a position such as 7-42";
        usage("--from", &why)
    })?;
    if matches!(from, Since::After(_)) && topics.len() > 1 {
        return Err(usage("--from", &"a position is of one topic"));
    }
    let transports: Result<Vec<Transport>, _> = args.transport.iter().map(|t| t.parse()).collect();
    Ok(SubscribeOptions {
        from,
        transports: transports.map_err(|e| usage("--transport", &e))?,
        first_contact: Some(std::time::Duration::from_secs(10)),
        ..SubscribeOptions::new(topics)
    })
}

fn since(text: &str) -> Option<Since> {
    match text {
        "latest" => Some(Since::Latest),
        "earliest" => Some(Since::Earliest),
        _ => match text.strip_prefix("last:") {
            Some(count) => count
                .parse()
                .ok()
                .filter(|n| (1..=1_000).contains(n))
                .map(Since::Last),
            None => text.parse().ok().map(Since::After),
        },
    }
}

async fn print(
    args: &Subscribe,
    subscriber: &mut Subscriber,
    kept: &mut CursorFile,
) -> Result<(), Failure> {
    let mut left = args.count;
    let terminal = std::io::stderr().is_terminal();
    while left != Some(0) {
        let event = next(subscriber, kept).await?;
        let item = match event.map_err(|why| stopped(args, why))? {
            Event::Message(message) => {
                left = left.map(|n| n - 1);
                Received::Message(message)
            }
            Event::Gap(gap) => Received::Gap(gap),
            Event::Attached(attached) => {
                if terminal {
                    output::note(&attached_note(&attached));
                }
                subscriber.processed();
                kept.processed();
                continue;
            }
            Event::TopicEnded(TopicEnd {
                topic,
                code,
                detail,
            }) => {
                let code = code.map_or_else(String::new, |code| format!(" {code}:"));
                output::note(&format!("`{topic}` ended:{code} {detail}"));
                continue;
            }
            Event::Resuming { why, after } => {
                let after = after.as_secs_f64();
                output::note(&format!("{why}; connecting again in {after:.1} s"));
                continue;
            }
        };
        output::line(&line(&item, args.json))?;
        subscriber.processed();
        kept.processed();
    }
    Ok(())
}

/// The next event. Before it is waited for, and after a whole batch, what was processed is kept.
async fn next(
    subscriber: &mut Subscriber,
    kept: &mut CursorFile,
) -> Result<Result<Event, Stopped>, Failure> {
    if kept.is_full() {
        kept.save(subscriber.progress()).await?;
    }
    if kept.is_behind() {
        if let Some(event) = subscriber.next().now_or_never() {
            return Ok(event);
        }
        kept.save(subscriber.progress()).await?;
    }
    Ok(subscriber.next().await)
}

fn stopped(args: &Subscribe, why: Stopped) -> Failure {
    match why {
        Stopped::Told(told) => reach::refused(&told),
        Stopped::NoTopics => Failure::No("no topic is left to read".to_owned()),
        Stopped::NoAddress(Transport::Grpc) => {
            Failure::Usage("--grpc: the transport grpc needs an address".to_owned())
        }
        Stopped::NoAddress(_) => Failure::Usage("--url: an address is needed".to_owned()),
        Stopped::Unreachable(why) => {
            let grpc = args.transport.iter().all(|transport| transport == "grpc");
            match grpc {
                true => reach::unreachable("--grpc", &args.reach.grpc, &why),
                false => reach::unreachable("--url", &args.reach.url, &why),
            }
        }
    }
}

fn attached_note(attached: &Attached) -> String {
    let Attached {
        topic,
        answer,
        from,
        head,
    } = attached;
    match from {
        Some(from) => format!("{topic}: {answer} from {from}, head {head}"),
        None => format!("{topic}: {answer}, head {head}"),
    }
}

/// An item as it is printed.
fn line(item: &Received, json: bool) -> String {
    if json {
        let mut out = Vec::new();
        item.put(&mut out);
        return String::from_utf8_lossy(&out).into_owned();
    }
    match item {
        Received::Message(ReceivedMessage { topic, message }) => {
            let payload = payload(&message.content);
            format!("{} {topic} {payload}", message.position)
        }
        Received::Gap(ReceivedGap {
            topic,
            reason,
            from,
            to,
            missed,
        }) => {
            let by = match reason {
                Reason::Trimmed(Some(by)) => format!(" by {}", by.spelling()),
                Reason::Trimmed(None)
                | Reason::DataLoss
                | Reason::EpochChanged
                | Reason::PositionAhead
                | Reason::Conflated
                | Reason::Other(_) => String::new(),
            };
            let missed = match missed {
                Some(missed) => format!("{missed} messages"),
                None => "an unknown number of messages".to_owned(),
            };
            format!("-- gap {topic} after {from} up to {to}: {reason}{by}, {missed} left out")
        }
        Received::Other(kind) => format!("-- {kind}"),
    }
}

/// A payload on one line, without what a terminal would obey.
fn payload(content: &fanfare_core::message::Content) -> String {
    let bytes = &content.payload;
    let Ok(text) = std::str::from_utf8(bytes) else {
        let content_type = content.meta.content_type.as_str();
        return format!("[{content_type}, {} bytes]", bytes.len());
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "subscribe_tests.rs"]
mod tests;
