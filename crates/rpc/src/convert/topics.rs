//! Topics and rules for administrators.

use std::time::Duration;

use fanfare_core::position::Epoch;
use fanfare_core::rule::{Html, RuleLayer, Rules, Slow};

use super::history::limit_of;
use super::message::class;
use super::{Malformed, pattern, topic};
use crate::pb::v1 as pb;
use crate::public::ListTopics;
use crate::topics::TopicInfo;

impl TryFrom<pb::Rules> for RuleLayer {
    type Error = Malformed;

    fn try_from(rules: pb::Rules) -> Result<Self, Malformed> {
        let pb::Rules {
            class: of,
            retain_count,
            retain_bytes,
            retain_age,
            slow,
            slow_lag,
            dedup_age,
            html,
        } = rules;
        let slow = match pb::Slow::try_from(slow) {
            Ok(pb::Slow::Unspecified) => None,
            Ok(pb::Slow::CatchUp) => Some(Slow::CatchUp),
            Ok(pb::Slow::Conflate) => Some(Slow::Conflate),
            Err(_) => return Err(Malformed::unknown("slow")),
        };
        let html = match pb::Html::try_from(html) {
            Ok(pb::Html::Unspecified) => None,
            Ok(pb::Html::Escape) => Some(Html::Escape),
            Ok(pb::Html::Verbatim) => Some(Html::Verbatim),
            Err(_) => return Err(Malformed::unknown("html")),
        };
        Ok(Self {
            class: class(of, "class")?,
            retain_count,
            retain_bytes,
            retain_age: duration(retain_age, "retain_age")?,
            slow,
            slow_lag,
            dedup_age: duration(dedup_age, "dedup_age")?,
            html,
        })
    }
}

fn duration(
    raw: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<Option<Duration>, Malformed> {
    let Some(prost_types::Duration { seconds, nanos }) = raw else {
        return Ok(None);
    };
    let negative = |_| Malformed::new(field, "must not be negative");
    let seconds = u64::try_from(seconds).map_err(negative)?;
    let nanos = u32::try_from(nanos).map_err(negative)?;
    if nanos >= 1_000_000_000 {
        return Err(Malformed::new(field, "has a second or more of nanoseconds"));
    }
    Ok(Some(Duration::new(seconds, nanos)))
}

fn duration_to_pb(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        // Below 10^9, so it fits.
        nanos: time.subsec_nanos() as i32,
    }
}

impl From<RuleLayer> for pb::Rules {
    fn from(layer: RuleLayer) -> Self {
        let RuleLayer {
            class,
            retain_count,
            retain_bytes,
            retain_age,
            slow,
            slow_lag,
            dedup_age,
            html,
        } = layer;
        let slow = match slow {
            None => pb::Slow::Unspecified,
            Some(Slow::CatchUp) => pb::Slow::CatchUp,
            Some(Slow::Conflate) => pb::Slow::Conflate,
        };
        let html = match html {
            None => pb::Html::Unspecified,
            Some(Html::Escape) => pb::Html::Escape,
            Some(Html::Verbatim) => pb::Html::Verbatim,
        };
        Self {
            class: class.map_or(pb::Class::Unspecified, pb::Class::from).into(),
            retain_count,
            retain_bytes,
            retain_age: retain_age.map(duration_to_pb),
            slow: slow.into(),
            slow_lag,
            dedup_age: dedup_age.map(duration_to_pb),
            html: html.into(),
        }
    }
}

/// Resolved rules as a layer that sets all of them.
pub(crate) fn layer_of(rules: &Rules) -> RuleLayer {
    let Rules {
        class,
        retain_count,
        retain_bytes,
        retain_age,
        slow,
        slow_lag,
        dedup_age,
        html,
    } = rules;
    RuleLayer {
        class: Some(*class),
        retain_count: Some(*retain_count),
        retain_bytes: Some(*retain_bytes),
        retain_age: Some(*retain_age),
        slow: Some(*slow),
        slow_lag: Some(*slow_lag),
        dedup_age: Some(*dedup_age),
        html: Some(*html),
    }
}

impl From<TopicInfo> for pb::Topic {
    fn from(
        TopicInfo {
            name,
            class,
            epoch,
            start,
            head,
            bytes,
            rules,
        }: TopicInfo,
    ) -> Self {
        let Epoch(epoch) = epoch;
        Self {
            name: name.as_str().to_owned(),
            class: pb::Class::from(class).into(),
            epoch,
            start: Some(start.into()),
            head: Some(head.into()),
            bytes,
            rules: Some(layer_of(&rules).into()),
        }
    }
}

impl TryFrom<pb::ListTopicsRequest> for ListTopics {
    type Error = Malformed;

    fn try_from(request: pb::ListTopicsRequest) -> Result<Self, Malformed> {
        let pb::ListTopicsRequest {
            pattern: which,
            page_size,
            page_token,
        } = request;
        let named = |raw: &str| (!raw.is_empty()).then_some(()).is_some();
        Ok(Self {
            pattern: named(&which)
                .then(|| pattern(&which, "pattern"))
                .transpose()?,
            // A token is the last name of the page before.
            after: named(&page_token)
                .then(|| topic(&page_token, "page_token"))
                .transpose()
                .map_err(|_| Malformed::new("page_token", "not a token of this call"))?,
            limit: limit_of(page_size, "page_size")?,
        })
    }
}

/// A page of topics, with the token of the next one if this one is full.
pub(crate) fn list_to_pb(limit: u32, topics: Vec<TopicInfo>) -> pb::ListTopicsResponse {
    let full = topics.len() as u64 >= u64::from(limit);
    let last = topics
        .last()
        .filter(|_| full)
        .map(|topic| topic.name.to_string());
    pb::ListTopicsResponse {
        topics: topics.into_iter().map(Into::into).collect(),
        next_page_token: last.unwrap_or_default(),
    }
}
