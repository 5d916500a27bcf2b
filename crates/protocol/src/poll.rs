//! The JSON body of a poll, its `ETag`, and the URL of the next one (protocol section 6).

use fanfare_core::gap::{Item, Standing};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::rule::Class;
use xxhash_rust::xxh3::xxh3_64;

use crate::json::server_frame::from_of;
use crate::json::{
    Malformed, Members, Received, Wrong, put_item, put_name, put_number, put_plain, put_string,
    put_text, put_word, read_whole_item,
};
use crate::query::{BodyFormat, ReadQuery, put_encoded, put_since};
use crate::spelling::{AnswerKind, Named};

/// How a poll stands to one of its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolledTopic {
    pub topic: TopicName,
    pub class: Named<Class>,
    pub answer: Named<AnswerKind>,
    /// The position after which was read; absent with `latest`.
    pub from: Option<Position>,
    pub head: Position,
}

impl PolledTopic {
    /// What a standing says.
    pub fn new(topic: TopicName, standing: &Standing) -> Self {
        Self {
            topic,
            class: standing.policy.class.into(),
            answer: AnswerKind::from(&standing.answer).into(),
            from: from_of(&standing.answer),
            head: standing.head,
        }
    }
}

/// Appends a poll's answer. `more`: cut by limit or size.
pub fn put_body(
    out: &mut Vec<u8>,
    topics: &[PolledTopic],
    items: &[Item],
    more: bool,
    cursor: &str,
) {
    out.extend_from_slice(b"{\"topics\":{");
    for (at, row) in topics.iter().enumerate() {
        let PolledTopic {
            topic,
            class,
            answer,
            from,
            head,
        } = row;
        if at > 0 {
            out.push(b',');
        }
        put_string(out, topic.as_str());
        out.extend_from_slice(b":{");
        put_text(out, "class", class.as_str());
        put_text(out, "answer", answer.as_str());
        if let Some(from) = from {
            put_word(out, "from", from);
        }
        put_word(out, "head", head);
        out.push(b'}');
    }
    out.extend_from_slice(b"},\"items\":[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_item(out, item);
    }
    out.push(b']');
    put_number(out, "more", more);
    put_name(out, "cursor");
    put_string(out, cursor);
    out.push(b'}');
}

/// A poll's answer as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollBody {
    pub topics: Vec<PolledTopic>,
    pub items: Vec<Received>,
    /// Poll again at once.
    pub more: bool,
    /// After the last item.
    pub cursor: String,
}

impl PollBody {
    /// Reads the body of an answer with status 200.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        let mut members = Members::read(json).ok_or(Malformed::NotAnObject)?;
        let mut topics = Vec::new();
        if let Some(rows) = members.object("topics")? {
            for (name, raw) in rows.into_rows() {
                topics.push(read_topic(&name, raw)?);
            }
        }
        let items = members
            .array("items")?
            .ok_or_else(|| Wrong::missing("items"))?
            .into_iter()
            .map(read_whole_item)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            topics,
            items,
            more: members.flag("more")?.unwrap_or(false),
            cursor: members.need_text("cursor")?.into(),
        })
    }
}

fn read_topic(name: &str, raw: &str) -> Result<PolledTopic, Malformed> {
    let wrong = |why: String| Wrong::new("topics", why);
    let mut row = Members::read(raw.as_bytes())
        .ok_or_else(|| wrong("a topic's value is an object".to_owned()))?;
    let class = row.text("class")?.unwrap_or_default();
    Ok(PolledTopic {
        topic: name
            .parse()
            .map_err(|why: fanfare_core::name::BadTopicName| wrong(why.to_string()))?,
        class: Named::read(&class),
        answer: Named::read(&row.need_text("answer")?),
        from: row.parsed("from")?,
        head: row.need_parsed("head")?,
    })
}

/// The weak tag of an answer that ends at `cursor`.
pub fn etag(format: BodyFormat, cursor: &str) -> String {
    let letter = match format {
        BodyFormat::Json => 'j',
        BodyFormat::Html => 'h',
    };
    format!("W/\"{letter}-{:016x}\"", xxh3_64(cursor.as_bytes()))
}

/// True if `If-None-Match` names `etag`, compared weakly. `*` names nothing: an answer to it could
/// hide items.
pub fn etag_matches(if_none_match: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let wanted = opaque(etag);
    if_none_match
        .split(',')
        .any(|tag| opaque(tag.trim()) == wanted)
}

/// The URL of the next poll, in canonical order and without what is the default, so that caches
/// collapse. Without a `cursor` nothing was read yet: it begins where this one was to begin. `base` is
/// the configured base path; no credentials are ever in it.
pub fn next_url(base: &str, query: &ReadQuery, cursor: Option<&str>) -> String {
    let mut out = Vec::new();
    put_plain(&mut out, base);
    put_plain(&mut out, "/v1/poll");
    let mut topics: Vec<&TopicName> = query.topics.iter().collect();
    topics.sort_unstable();
    let mut mark = '?';
    let mut put = |name: &str, value: &str| {
        put_plain(&mut out, format_args!("{mark}{name}="));
        put_encoded(&mut out, value);
        mark = '&';
    };
    for topic in topics {
        put("topic", topic.as_str());
    }
    if query.format == BodyFormat::Html {
        put("format", "html");
    }
    if query.limit != ReadQuery::LIMIT {
        put("limit", &query.limit.to_string());
    }
    if !query.wait.is_zero() {
        put("wait", &query.wait.as_secs().to_string());
    }
    if let Some(follow) = query.follow {
        put("follow", &follow.as_secs().to_string());
    }
    match cursor {
        Some(cursor) => put("cursor", cursor),
        None => {
            if let Some(from) = query.from {
                let mut text = Vec::new();
                put_since(&mut text, from);
                put("from", &String::from_utf8_lossy(&text));
            }
            if let Some(least) = query.min_position {
                put("min_position", &least.to_string());
            }
        }
    }
    // Everything in it is ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// The value of `Link` for the next poll.
pub fn link(url: &str) -> String {
    format!("<{url}>; rel=\"next\"")
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod tests;
