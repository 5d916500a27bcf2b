//! What the doctor found on the way to an edge, as text and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::advice::Fault;
use crate::paint::{Ink, Paint, wrap};

const WIDTH: usize = 96;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    /// `ws`, `sse`, …, or `publish`, or `edge`.
    pub(super) at: &'static str,
    pub(super) what: String,
}

/// What was measured or could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) times: Vec<(&'static str, Duration)>,
    pub(super) findings: Vec<Finding>,
    /// What is good to know and no fault.
    pub(super) notes: Vec<String>,
    /// Checks that were not made, and why.
    pub(super) not_made: Vec<String>,
}

impl Section {
    pub(super) fn time(&mut self, what: &'static str, took: Duration) {
        self.times.push((what, took));
    }

    pub(super) fn find(&mut self, fault: Fault, at: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.findings.push(Finding { fault, at, what });
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) topic: String,
    pub(super) proxy: Option<String>,
    /// By the name of the transport, in the order they were tried.
    pub(super) sections: Vec<(&'static str, Section)>,
}

impl Report {
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections
            .iter()
            .flat_map(|(_, section)| &section.findings)
    }

    /// Faults by their name, with where they were met.
    fn faults(&self) -> BTreeMap<Fault, Vec<&Finding>> {
        let mut out: BTreeMap<Fault, Vec<&Finding>> = BTreeMap::new();
        for finding in self.findings() {
            out.entry(finding.fault).or_default().push(finding);
        }
        out
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let between = match &self.proxy {
            Some(proxy) => format!("between: {proxy}"),
            None => "nothing between says its name".to_owned(),
        };
        let mut lines = vec![format!("{} ({between})", self.url)];
        for (name, section) in &self.sections {
            lines.push(line(name, section, paint));
            let notes = section
                .notes
                .iter()
                .map(|note| format!("  {:10} note: {note}", ""));
            lines.extend(notes);
            let missing = section.not_made.iter();
            lines.extend(missing.map(|why| {
                let text = format!("not checked: {why}");
                format!("  {:10} {}", "", paint.ink(Ink::Warn, &text))
            }));
        }
        let faults = self.faults();
        if faults.is_empty() {
            lines.push(paint.ink(Ink::Good, "sound"));
            return lines.join("\n");
        }
        lines.push(paint.ink(Ink::Bad, &format!("FAULTS: {}", faults.len())));
        for (fault, findings) in &faults {
            let name = paint.ink(Ink::Strong, fault.name());
            lines.push(format!("  {name}: {}", fault.means()));
            for finding in findings {
                let text = format!("{}: {}", finding.at, finding.what);
                lines.push(format!("    {}", wrap(&text, 6, WIDTH)));
            }
            for (proxy, remedy) in fault.remedies_for(self.proxy.as_deref()) {
                let text = format!("{proxy}: {remedy}");
                lines.push(format!("    -> {}", wrap(&text, 7, WIDTH)));
            }
        }
        lines.join("\n")
    }

    pub(super) fn as_json(&self) -> Value {
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let section = |(name, section): &(&'static str, Section)| {
            let times: serde_json::Map<String, Value> = section
                .times
                .iter()
                .map(|(what, took)| {
                    (
                        format!("{}_ms", what.replace(' ', "_")),
                        json!(millis(took)),
                    )
                })
                .collect();
            json!({
                "name": name,
                "ok": section.findings.is_empty(),
                "times": times,
                "notes": section.notes,
                "not_checked": section.not_made,
            })
        };
        let finding = |finding: &Finding| {
            let remedies = finding.fault.remedies_for(self.proxy.as_deref());
            json!({
                "name": finding.fault.name(),
                "at": finding.at,
                "what": finding.what,
                "do": remedies.iter().map(|(who, what)| json!({ "in": who, "change": what })).collect::<Vec<_>>(),
            })
        };
        json!({
            "url": self.url,
            "topic": self.topic,
            "proxy": self.proxy,
            "checks": self.sections.iter().map(section).collect::<Vec<_>>(),
            "findings": self.findings().map(finding).collect::<Vec<_>>(),
            "sound": self.findings().next().is_none(),
        })
    }
}

/// One transport on one line.
fn line(name: &str, section: &Section, paint: Paint) -> String {
    let mut words: Vec<String> = section
        .findings
        .iter()
        .map(|f| f.fault.name().to_owned())
        .collect();
    words.dedup();
    let times = section.times.iter();
    words.extend(times.map(|(what, took)| format!("{what} {}", shown(*took))));
    let verdict = match (section.findings.is_empty(), section.times.is_empty()) {
        (false, _) => paint.ink(Ink::Bad, "FAULT"),
        (true, true) => paint.ink(Ink::Warn, "-    "),
        (true, false) => paint.ink(Ink::Good, "ok   "),
    };
    format!("  {name:10} {verdict} {}", words.join(", "))
        .trim_end()
        .to_owned()
}

/// A time as people read it.
pub(super) fn shown(time: Duration) -> String {
    match time.as_millis() {
        ms if ms < 1_000 => format!("{ms} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
