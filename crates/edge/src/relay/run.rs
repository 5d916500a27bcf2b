//! A run as an edge keeps it: the messages, and for each wire format that was asked for their
//! encoded form, made once and shared by all sessions.

use std::sync::OnceLock;

use fanfare_core::link::Run;
use fanfare_core::name::TopicName;
use fanfare_core::relay::Span;
use fanfare_core::rule::Html;
use fanfare_protocol::run::{EncodedRun, Format};
use fanfare_rpc::items;

/// Messages of one topic, at least one, contiguous.
#[derive(Debug)]
pub(crate) struct EdgeRun {
    topic: TopicName,
    span: Span,
    run: Run,
    forms: [OnceLock<Box<EncodedRun>>; Format::ALL.len()],
    /// Of the formats that show HTML, as topics whose rule is `verbatim` show it.
    verbatim: [OnceLock<Box<EncodedRun>>; 2],
    grpc: OnceLock<items::EncodedRun>,
}

impl EdgeRun {
    pub(crate) fn new(topic: TopicName, span: Span, run: Run) -> Self {
        Self {
            topic,
            span,
            run,
            forms: Default::default(),
            verbatim: Default::default(),
            grpc: OnceLock::new(),
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The messages themselves.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Bytes it takes of the tails' budget: the messages, and about as much for encoded forms.
    pub(crate) fn cost(&self) -> u64 {
        self.run.cost().saturating_mul(2)
    }

    /// The messages in a format. `html`: the topic's rule, which may change while a run is kept.
    pub(crate) fn encoded(&self, format: Format, html: Html) -> &EncodedRun {
        let form = match (format, html) {
            (Format::HtmlOne, Html::Verbatim) => &self.verbatim[0],
            (Format::HtmlMany, Html::Verbatim) => &self.verbatim[1],
            _ => &self.forms[format.index()],
        };
        form.get_or_init(|| {
            Box::new(EncodedRun::new(
                format,
                &self.topic,
                html,
                &self.run.messages,
            ))
        })
    }

    /// The messages in gRPC's format.
    pub(crate) fn grpc(&self) -> &items::EncodedRun {
        self.grpc
            .get_or_init(|| items::encode_run(&self.topic, &self.run))
    }
}
