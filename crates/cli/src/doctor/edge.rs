//! `fanfare doctor URL`: tries every transport through whatever lies between here and an edge.

use std::time::Duration;

use fanfare_client::probe::{Answered, Flow, Probe, Silence, Target};
use fanfare_client::{Address, Endpoints, Event, Machine, SubscribeOptions, Subscriber, Transport};
use fanfare_core::name::TopicName;
use futures_util::future::join_all;

use super::advice::Fault;
use super::patience;
use super::report::{Report, Section, shown};
use super::streams::{self, Ward};
use crate::args::Doctor;
use crate::failure::Failure;
use crate::paint::{Paint, Progress};
use crate::{output, reach};

/// Without an edge nothing more is to be found.
const EDGE: &str = "edge";

pub(super) fn run(args: &Doctor) -> Result<(), Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::Usage(e.to_string());
    let target = Target::read(&args.target).map_err(|e| usage(&e))?;
    let topic: TopicName = args
        .topic
        .parse()
        .map_err(|e| Failure::Usage(format!("--topic `{}`: {e}", args.topic)))?;
    let grpc = args.grpc.as_deref().map(Address::read).transpose();
    let grpc = grpc.map_err(|e| Failure::Usage(format!("--grpc: {e}")))?;
    reach::with(&args.token, async |machine: Machine| {
        let ward = Ward {
            probe: Probe::new(machine.clone(), target),
            clock: machine.clock.clone(),
            rng: machine.chance.clone(),
            topic,
            within: args.within,
            mute: None,
        };
        let report = examine(args, machine, ward, grpc).await;
        output::line(&match args.json {
            true => report.as_json().to_string(),
            false => report.text(Paint::stdout()),
        })?;
        verdict(&report)
    })
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let faults: Vec<_> = report.findings().collect();
    let dead = |f: &&super::report::Finding| f.at == EDGE && f.fault == Fault::Unreachable;
    match (faults.len(), faults.iter().copied().find(dead)) {
        (0, _) => Ok(()),
        (_, Some(dead)) => Err(Failure::Unreachable(format!(
            "cannot reach an edge at {}: {}",
            report.url, dead.what
        ))),
        (1, None) => Err(Failure::No(format!("1 fault on the way to {}", report.url))),
        (n, None) => Err(Failure::No(format!(
            "{n} faults on the way to {}",
            report.url
        ))),
    }
}

async fn examine(args: &Doctor, machine: Machine, mut ward: Ward, grpc: Option<Address>) -> Report {
    let progress = Progress::start();
    let mut report = Report {
        url: args.target.clone(),
        topic: ward.topic.to_string(),
        ..Report::default()
    };
    progress.show("asking the edge");
    let (section, proxy) = edge(&ward).await;
    let reached = section
        .findings
        .iter()
        .all(|f| f.fault == Fault::SlowFirstByte);
    report.proxy = proxy;
    report.sections.push((EDGE, section));
    if !reached {
        return report;
    }
    progress.show("publishing");
    let (section, mark) = publish(&mut ward).await;
    report.sections.push(("publish", section));
    progress.show("short polls");
    for (name, path, kind) in [
        ("poll", "", "\"items\""),
        ("poll html", "&format=html", "fanfare-"),
    ] {
        let section = short_poll(&ward, name, path, kind, mark.as_deref()).await;
        report.sections.push((name, section));
    }
    progress.show("a long poll");
    let long = long_poll(&ward).await;
    progress.show("streams: the first bytes, a message, a heartbeat");
    let flows = [Flow::Ws, Flow::Sse, Flow::Tail];
    let tried = join_all(flows.map(|flow| streams::check(ward.clone(), flow)));
    let (tried, remote) = tokio::join!(tried, remote(&ward, machine, grpc));
    for (flow, (section, proxy)) in flows.iter().zip(tried) {
        report.proxy = report.proxy.take().or(proxy);
        report.sections.push((flow.name(), section));
    }
    report.sections.push(("longpoll", long));
    report
        .sections
        .extend(remote.map(|section| ("grpc", section)));
    if let Some(limit) = args.patience {
        progress.show(&format!("watching streams for {}", shown(limit)));
        wait(&ward, limit, &mut report).await;
    }
    report
}

/// Streams that stood the first look are watched.
async fn wait(ward: &Ward, limit: Duration, report: &mut Report) {
    let sound = |report: &Report, name: &str| {
        let found = report.sections.iter().find(|section| section.0 == name);
        found.is_some_and(|(_, section)| section.findings.is_empty())
    };
    let flows = [Flow::Ws, Flow::Sse, Flow::Tail];
    let flows: Vec<Flow> = flows
        .into_iter()
        .filter(|f| sound(report, f.name()))
        .collect();
    // A topic that nothing is published to.
    let idle = format!("{}-idle", topic_query(&ward.topic));
    let watched = flows
        .iter()
        .map(|flow| patience::watch(ward.clone(), *flow, limit));
    let (watched, poll) =
        tokio::join!(join_all(watched), patience::poll(ward.clone(), idle, limit));
    let watched = flows.iter().map(|flow| flow.name()).zip(watched);
    for (name, more) in watched.chain([("longpoll", poll)]) {
        if let Some((_, section)) = report.sections.iter_mut().find(|row| row.0 == name) {
            section.times.extend(more.times);
            section.findings.extend(more.findings);
            section.notes.extend(more.notes);
            section.not_made.extend(more.not_made);
        }
    }
}

/// Is there an edge at all?
async fn edge(ward: &Ward) -> (Section, Option<String>) {
    let mut section = Section::default();
    let limit = ward.within.max(Duration::from_secs(5)) * 2;
    match ward.probe.get("/v1/errors/internal", limit).await {
        Err(silence) => {
            section.find(Fault::Unreachable, EDGE, silence.to_string());
            (section, None)
        }
        Ok(answered) => {
            judge_edge(&answered, ward.within, &mut section);
            (section, answered.proxy)
        }
    }
}

fn judge_edge(answered: &Answered, within: Duration, section: &mut Section) {
    let status = answered.status;
    match (answered.ours, answered.refusal()) {
        (true, _) if status == 200 => {
            section.time("answer", answered.whole);
            if answered.head > within {
                let what = format!(
                    "the first byte of an answer came after {}",
                    shown(answered.head)
                );
                section.find(Fault::SlowFirstByte, EDGE, what);
            }
        }
        (true, Some((code, detail))) => {
            section.find(Fault::Refused, EDGE, format!("{code}: {detail}"));
        }
        (false, _) if matches!(status, 502..=504) => {
            let what = format!("something between answers {status}: it does not reach the edge");
            section.find(Fault::Unreachable, EDGE, what);
        }
        (_, _) => {
            let what = format!("something that is no edge answers {status}");
            section.find(Fault::Unreachable, EDGE, what);
        }
    }
}

/// A first message, or why there are none.
async fn publish(ward: &mut Ward) -> (Section, Option<String>) {
    let mut section = Section::default();
    let mark = ward.mark();
    match ward.publish(&mark).await {
        Ok(took) => {
            section.time("ack", took);
            (section, Some(mark))
        }
        Err(why) => {
            let text = format!(
                "how fast messages come: `{}` takes none from here ({why}); name another topic \
                 with --topic, or a token with --token-file",
                ward.topic
            );
            section.not_made.push(text);
            ward.mute = Some(why);
            (section, None)
        }
    }
}

async fn short_poll(
    ward: &Ward,
    name: &'static str,
    format: &str,
    kind: &str,
    mark: Option<&str>,
) -> Section {
    let mut section = Section::default();
    let path = format!(
        "/v1/poll?topic={}&from=last:20{format}",
        topic_query(&ward.topic)
    );
    let limit = ward.within.max(Duration::from_secs(5)) * 2;
    let answered = match ward.probe.get(&path, limit).await {
        Ok(answered) => answered,
        Err(silence) => {
            section.find(Fault::Unreachable, name, silence.to_string());
            return section;
        }
    };
    let text = String::from_utf8_lossy(&answered.body);
    match (answered.status, answered.refusal()) {
        (200, _) => {
            section.time("answer", answered.whole);
            let wanted = mark.unwrap_or(kind);
            if !text.contains(wanted) && (mark.is_some() || !text.is_empty()) {
                let what = "the answer lacks the message that was just acked: an old answer of a \
                            cache?";
                section.find(Fault::Buffering, name, what);
            }
        }
        (_, Some((code, detail))) => {
            section.find(Fault::Refused, name, format!("{code}: {detail}"));
        }
        (status, None) => section.find(Fault::Unreachable, name, format!("answered with {status}")),
    }
    section
}

fn topic_query(topic: &TopicName) -> String {
    let mut out = String::new();
    for byte in topic.as_str().bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A long poll that waits for a message, and gets it.
async fn long_poll(ward: &Ward) -> Section {
    let mut section = Section::default();
    let name = "longpoll";
    if let Some(why) = &ward.mute {
        let text = format!("whether it answers at once, since publishing is refused ({why})");
        section.not_made.push(text);
        return section;
    }
    let topic = topic_query(&ward.topic);
    let limit = ward.within.max(Duration::from_secs(5)) * 2;
    let at = ward
        .probe
        .get(&format!("/v1/poll?topic={topic}&from=latest"), limit)
        .await;
    let cursor = at.ok().and_then(|at| {
        let json: serde_json::Value = serde_json::from_slice(&at.body).ok()?;
        Some(json["cursor"].as_str()?.to_owned())
    });
    let Some(cursor) = cursor else {
        section.find(
            Fault::Unreachable,
            name,
            "a poll told no cursor to begin from",
        );
        return section;
    };
    let mark = ward.mark();
    let path = format!("/v1/poll?topic={topic}&cursor={cursor}&wait=20");
    let asked = ward.probe.get(&path, Duration::from_secs(20) + limit);
    let said = async {
        // So that it waits at the edge; a poll that comes later is answered as well.
        ward.clock.sleep(Duration::from_millis(200)).await;
        ward.publish(&mark).await.map(|_| ward.clock.now())
    };
    let began = ward.clock.now();
    let (answered, acked) = tokio::join!(asked, said);
    match (answered, acked) {
        (_, Err(why)) => section
            .not_made
            .push(format!("whether it answers at once ({why})")),
        (Ok(answered), Ok(acked)) if answered.status == 200 => {
            let came = began.saturating_add(answered.whole);
            let late = came.saturating_sub(acked);
            section.time("message", late);
            if late > ward.within {
                let what = format!("the answer came {} after the publish's ack", shown(late));
                section.find(Fault::Buffering, name, what);
            }
        }
        (Ok(answered), Ok(_)) => match answered.refusal() {
            Some((code, detail)) => section.find(Fault::Refused, name, format!("{code}: {detail}")),
            None => {
                let what = format!(
                    "answered with {} after {}",
                    answered.status,
                    shown(answered.whole)
                );
                section.find(Fault::IdleCut, name, what);
            }
        },
        (Err(Silence::Late), Ok(_)) => {
            section.find(
                Fault::Buffering,
                name,
                "no answer came though a message was acked",
            );
        }
        (Err(silence), Ok(_)) => section.find(Fault::IdleCut, name, silence.to_string()),
    }
    section
}

/// A gRPC session, if a door is named.
async fn remote(ward: &Ward, machine: Machine, grpc: Option<Address>) -> Option<Section> {
    let address = grpc?;
    let name = "grpc";
    let mut section = Section::default();
    let options = SubscribeOptions {
        transports: vec![Transport::Grpc],
        heartbeat: Duration::from_secs(5),
        first_contact: Some(ward.within),
        ..SubscribeOptions::new(vec![ward.topic.clone()])
    };
    let endpoints = Endpoints {
        edges: Vec::new(),
        grpc: vec![address],
    };
    let mut subscriber = Subscriber::new(machine, endpoints, options);
    let began = ward.clock.now();
    let attached = tokio::select! { biased;
        event = subscriber.next() => event,
        () = ward.clock.sleep(ward.within * 3) => {
            section.find(Fault::Buffering, name, "the session says nothing, not even its answer");
            return Some(section);
        }
    };
    match attached {
        Ok(Event::Attached(_)) => {
            section.time("first bytes", ward.clock.now().saturating_sub(began));
        }
        Ok(Event::Resuming { why, .. }) => {
            section.find(Fault::Unreachable, name, why.to_string());
            return Some(section);
        }
        Err(stopped) => {
            section.find(Fault::Unreachable, name, stopped.to_string());
            return Some(section);
        }
        Ok(Event::Message(_) | Event::Gap(_) | Event::TopicEnded(_)) => {}
    }
    if let Some(why) = &ward.mute {
        section
            .not_made
            .push(format!("whether a message comes at once ({why})"));
        return Some(section);
    }
    let mark = ward.mark();
    if let Err(why) = ward.publish(&mark).await {
        section
            .not_made
            .push(format!("whether a message comes at once ({why})"));
        return Some(section);
    }
    let acked = ward.clock.now();
    let heard = async {
        loop {
            match subscriber.next().await {
                Ok(Event::Message(message)) if message.message.content.payload == mark => {
                    return Ok(());
                }
                Ok(Event::Resuming { why, .. }) => return Err(why.to_string()),
                Ok(_) => {}
                Err(stopped) => return Err(stopped.to_string()),
            }
        }
    };
    tokio::select! { biased;
        heard = heard => match heard {
            Ok(()) => section.time("message", ward.clock.now().saturating_sub(acked)),
            Err(why) => section.find(Fault::IdleCut, name, why),
        },
        () = ward.clock.sleep(ward.within) => {
            let what = format!("no message came within {} of the publish's ack", shown(ward.within));
            section.find(Fault::Buffering, name, what);
        }
    }
    Some(section)
}
