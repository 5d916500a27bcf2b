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
    grpc: OnceLock<items::EncodedRun>,
}

impl EdgeRun {
    pub(crate) fn new(topic: TopicName, span: Span, run: Run) -> Self {
        let forms = Default::default();
        Self {
            topic,
            span,
            run,
            forms,
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

    /// The messages in a format. `html`: the topic's rule, which hardly ever changes; a run that
    /// was shown by the old one stays so.
    pub(crate) fn encoded(&self, format: Format, html: Html) -> &EncodedRun {
        self.forms[format.index()].get_or_init(|| {
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
