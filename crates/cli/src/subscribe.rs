//! `fanfare sub`: items as they come, on stdout; what happens to the session, on stderr. A cursor
//! file is written after an item is printed.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use fanfare_client::{
    Attached, Event, Progress, Reason, Received, ReceivedGap, ReceivedMessage, Spelled as _,
    Stopped, SubscribeOptions, Subscriber, TopicEnd, Transport,
};
use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;

use crate::args::Subscribe;
use crate::failure::Failure;
use crate::{output, reach};

pub fn run(args: Subscribe) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let mut options = options(&args)?;
    reach::run(async move |machine| {
        let cursor_file = args.cursor_file.as_deref();
        if let Some(path) = cursor_file {
            options.progress = load(path).await?;
        }
        let subscriber = Subscriber::new(machine, endpoints, options);
        print(&args, subscriber, cursor_file).await
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
    mut subscriber: Subscriber,
    cursor_file: Option<&Path>,
) -> Result<(), Failure> {
    let mut left = args.count;
    let terminal = std::io::stderr().is_terminal();
    while left != Some(0) {
        let item = match subscriber.next().await.map_err(|why| stopped(args, why))? {
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
                save_if(cursor_file, &subscriber).await?;
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
        save_if(cursor_file, &subscriber).await?;
    }
    Ok(())
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

/// Reads a cursor file; one that is not there is a beginning.
async fn load(path: &Path) -> Result<Progress, Failure> {
    let bad = |why: &dyn std::fmt::Display| {
        let path = path.display();
        Failure::Usage(format!(
            "--cursor-file: {path}: {why}\nRemove the file to begin anew"
        ))
    };
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Progress::default());
        }
        Err(error) => return Err(bad(&error)),
    };
    // An empty file is the leftover of a crash: to begin at the latest would lose unseen.
    if text.trim().is_empty() {
        return Err(bad(&"the file is empty"));
    }
    text.parse()
        .map_err(|e: fanfare_client::BadProgress| bad(&e))
}

async fn save_if(path: Option<&Path>, subscriber: &Subscriber) -> Result<(), Failure> {
    match path {
        Some(path) if subscriber.cursor().is_some() => save(path, subscriber.progress()).await,
        Some(_) | None => Ok(()),
    }
}

/// Replaces the file as a whole: written beside it, then renamed.
async fn save(path: &Path, progress: &Progress) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = async {
        tokio::fs::write(&beside, progress.to_string()).await?;
        tokio::fs::rename(&beside, path).await
    };
    let path = path.display();
    written
        .await
        .map_err(|e| Failure::Usage(format!("--cursor-file: {path}: {e}")))
}

#[cfg(test)]
#[path = "subscribe_tests.rs"]
mod tests;
