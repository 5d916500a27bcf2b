//! Reads between nodes: standings, pages, topics of a shard.

use fanfare_core::gap::{Answer, Gap, GapReason, Page, Since, Standing, TrimmedBy};
use fanfare_core::id::{ShardId, Term};
use fanfare_core::link::{NoRead, PageRequest, StandRequest};
use fanfare_core::position::Epoch;
use fanfare_core::rule::{RuleLayer, Rules};

use super::link::{class, class_to_pb, position};
use super::topics::layer_of;
use super::{Malformed, content, pattern, required, topic};
use crate::pb::peer as pb;
use crate::topics::{TopicCommand, TopicInfo};

impl From<Since> for pb::Since {
    fn from(since: Since) -> Self {
        let since = match since {
            Since::Latest => pb::since::Since::Latest(true),
            Since::Earliest => pb::since::Since::Earliest(true),
            Since::Last(count) => pb::since::Since::Last(count),
            Since::After(after) => pb::since::Since::After(after.into()),
        };
        Self { since: Some(since) }
    }
}

impl TryFrom<pb::Since> for Since {
    type Error = Malformed;

    fn try_from(pb::Since { since }: pb::Since) -> Result<Self, Malformed> {
        Ok(match required(since, "since")? {
            pb::since::Since::Latest(_) => Self::Latest,
            pb::since::Since::Earliest(_) => Self::Earliest,
            pb::since::Since::Last(count) => Self::Last(count),
            pb::since::Since::After(after) => Self::After(after.into()),
        })
    }
}

impl From<StandRequest> for pb::StandRequest {
    fn from(
        StandRequest {
            topic,
            since,
            poll,
            min_position,
        }: StandRequest,
    ) -> Self {
        Self {
            topic: topic.as_str().to_owned(),
            since: Some(since.into()),
            poll,
            min_position: min_position.map(Into::into),
        }
    }
}

impl TryFrom<pb::StandRequest> for StandRequest {
    type Error = Malformed;

    fn try_from(request: pb::StandRequest) -> Result<Self, Malformed> {
        let pb::StandRequest {
            topic: name,
            since,
            poll,
            min_position,
        } = request;
        Ok(Self {
            topic: topic(&name, "topic")?,
            since: required(since, "since")?.try_into()?,
            poll,
            min_position: min_position.map(Into::into),
        })
    }
}

impl From<Gap> for pb::Gap {
    fn from(
        Gap {
            reason,
            from,
            to,
            missed,
        }: Gap,
    ) -> Self {
        use pb::gap::Reason;
        let reason = match reason {
            GapReason::DataLoss => Reason::DataLoss,
            GapReason::EpochChanged => Reason::EpochChanged,
            GapReason::PositionAhead => Reason::PositionAhead,
            GapReason::Conflated => Reason::Conflated,
            GapReason::Trimmed(TrimmedBy::Age) => Reason::TrimmedAge,
            GapReason::Trimmed(TrimmedBy::Count) => Reason::TrimmedCount,
            GapReason::Trimmed(TrimmedBy::Bytes) => Reason::TrimmedBytes,
            GapReason::Trimmed(TrimmedBy::Budget) => Reason::TrimmedBudget,
        };
        Self {
            reason: reason.into(),
            from: Some(from.into()),
            to: Some(to.into()),
            missed,
        }
    }
}

impl TryFrom<pb::Gap> for Gap {
    type Error = Malformed;

    fn try_from(
        pb::Gap {
            reason,
            from,
            to,
            missed,
        }: pb::Gap,
    ) -> Result<Self, Malformed> {
        use pb::gap::Reason;
        let reason = match Reason::try_from(reason) {
            Ok(Reason::DataLoss) => GapReason::DataLoss,
            Ok(Reason::EpochChanged) => GapReason::EpochChanged,
            Ok(Reason::PositionAhead) => GapReason::PositionAhead,
            Ok(Reason::Conflated) => GapReason::Conflated,
            Ok(Reason::TrimmedAge) => GapReason::Trimmed(TrimmedBy::Age),
            Ok(Reason::TrimmedCount) => GapReason::Trimmed(TrimmedBy::Count),
            Ok(Reason::TrimmedBytes) => GapReason::Trimmed(TrimmedBy::Bytes),
            Ok(Reason::TrimmedBudget) => GapReason::Trimmed(TrimmedBy::Budget),
            Ok(Reason::Unspecified) | Err(_) => return Err(Malformed::unknown("gap.reason")),
        };
        Ok(Self {
            reason,
            from: position(from, "gap.from")?,
            to: position(to, "gap.to")?,
            missed,
        })
    }
}

impl From<Standing> for pb::Standing {
    fn from(
        Standing {
            answer,
            start,
            head,
            exists,
            policy,
            term,
        }: Standing,
    ) -> Self {
        let answer = match answer {
            Answer::Recovered(from) => pb::standing::Answer::Recovered(from.into()),
            Answer::Gap(gap) => pb::standing::Answer::Gap(gap.into()),
            Answer::Latest => pb::standing::Answer::Latest(true),
        };
        Self {
            answer: Some(answer),
            start: Some(start.into()),
            head: Some(head.into()),
            exists,
            policy: Some(policy.into()),
            term: term.0,
        }
    }
}

impl TryFrom<pb::Standing> for Standing {
    type Error = Malformed;

    fn try_from(standing: pb::Standing) -> Result<Self, Malformed> {
        let pb::Standing {
            answer,
            start,
            head,
            exists,
            policy,
            term,
        } = standing;
        Ok(Self {
            answer: match required(answer, "answer")? {
                pb::standing::Answer::Recovered(from) => Answer::Recovered(from.into()),
                pb::standing::Answer::Gap(gap) => Answer::Gap(gap.try_into()?),
                pb::standing::Answer::Latest(_) => Answer::Latest,
            },
            start: position(start, "start")?,
            head: position(head, "head")?,
            exists,
            policy: required(policy, "policy")?.try_into()?,
            term: Term(term),
        })
    }
}

impl From<NoRead> for pb::NoRead {
    fn from(none: NoRead) -> Self {
        let why = match none {
            NoRead::Reroute(redirect) => pb::no_read::Why::Reroute(redirect.into()),
            NoRead::Refused(refusal) => pb::no_read::Why::Refused(refusal.into()),
        };
        Self { why: Some(why) }
    }
}

impl TryFrom<pb::NoRead> for NoRead {
    type Error = Malformed;

    fn try_from(pb::NoRead { why }: pb::NoRead) -> Result<Self, Malformed> {
        match required(why, "why")? {
            pb::no_read::Why::Reroute(redirect) => Ok(Self::Reroute(redirect.into())),
            pb::no_read::Why::Refused(refusal) => refusal.try_into().map(Self::Refused),
        }
    }
}

impl From<Result<Standing, NoRead>> for pb::StandResult {
    fn from(result: Result<Standing, NoRead>) -> Self {
        let result = match result {
            Ok(standing) => pb::stand_result::Result::Standing(standing.into()),
            Err(none) => pb::stand_result::Result::None(none.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

/// One result of a batch of standings.
pub(crate) fn standing(raw: pb::StandResult) -> Result<Result<Standing, NoRead>, Malformed> {
    let pb::StandResult { result } = raw;
    match required(result, "result")? {
        pb::stand_result::Result::Standing(standing) => standing.try_into().map(Ok),
        pb::stand_result::Result::None(none) => none.try_into().map(Err),
    }
}

impl From<PageRequest> for pb::PageRequest {
    fn from(
        PageRequest {
            shard,
            topic,
            after,
            limit,
            bytes,
            leader,
        }: PageRequest,
    ) -> Self {
        Self {
            shard: shard.0,
            topic: topic.as_str().to_owned(),
            after: Some(after.into()),
            limit,
            bytes,
            leader,
        }
    }
}

impl TryFrom<pb::PageRequest> for PageRequest {
    type Error = Malformed;

    fn try_from(request: pb::PageRequest) -> Result<Self, Malformed> {
        let pb::PageRequest {
            shard,
            topic: name,
            after,
            limit,
            bytes,
            leader,
        } = request;
        Ok(Self {
            shard: ShardId(shard),
            topic: topic(&name, "topic")?,
            after: position(after, "after")?,
            limit,
            bytes,
            leader,
        })
    }
}

impl From<Page> for pb::Page {
    fn from(
        Page {
            gap,
            messages,
            head,
            start,
        }: Page,
    ) -> Self {
        Self {
            gap: gap.map(Into::into),
            messages: content::messages_to_pb(&messages),
            head: Some(head.into()),
            start: Some(start.into()),
        }
    }
}

impl TryFrom<pb::Page> for Page {
    type Error = Malformed;

    fn try_from(
        pb::Page {
            gap,
            messages,
            head,
            start,
        }: pb::Page,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            gap: gap.map(TryInto::try_into).transpose()?,
            messages: content::messages(messages)?,
            head: position(head, "head")?,
            start: position(start, "start")?,
        })
    }
}

impl From<Result<Page, NoRead>> for pb::PageAnswer {
    fn from(result: Result<Page, NoRead>) -> Self {
        let result = match result {
            Ok(page) => pb::page_answer::Result::Page(page.into()),
            Err(none) => pb::page_answer::Result::None(none.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

/// The answer to a page.
pub(crate) fn page(raw: pb::PageAnswer) -> Result<Result<Page, NoRead>, Malformed> {
    let pb::PageAnswer { result } = raw;
    match required(result, "result")? {
        pb::page_answer::Result::Page(page) => page.try_into().map(Ok),
        pb::page_answer::Result::None(none) => none.try_into().map(Err),
    }
}

/// A command to the topics of a shard.
pub(crate) fn topics_to_pb(ShardId(shard): ShardId, command: TopicCommand) -> pb::TopicsRequest {
    use pb::topics_request::{Command, Create, Delete, Get, List};
    let command = match command {
        TopicCommand::Create { name, rules } => Command::Create(Create {
            name: name.as_str().to_owned(),
            rules: Some((&rules).into()),
        }),
        TopicCommand::Delete { name, epoch } => Command::Delete(Delete {
            name: name.as_str().to_owned(),
            epoch: epoch.map(|Epoch(epoch)| epoch),
        }),
        TopicCommand::Get { name } => Command::Get(Get {
            name: name.as_str().to_owned(),
        }),
        TopicCommand::List {
            pattern,
            after,
            limit,
        } => Command::List(List {
            pattern: pattern.map(|pattern| pattern.as_str().to_owned()),
            after: after.map(|name| name.as_str().to_owned()),
            limit,
        }),
    };
    pb::TopicsRequest {
        shard,
        command: Some(command),
    }
}

/// The shard and the command.
pub(crate) fn topics(raw: pb::TopicsRequest) -> Result<(ShardId, TopicCommand), Malformed> {
    use pb::topics_request::{Command, Create, Delete, Get, List};
    let pb::TopicsRequest { shard, command } = raw;
    let command = match required(command, "command")? {
        Command::Create(Create { name, rules }) => TopicCommand::Create {
            name: topic(&name, "create.name")?,
            rules: required(rules, "create.rules")?.try_into()?,
        },
        Command::Delete(Delete { name, epoch }) => TopicCommand::Delete {
            name: topic(&name, "delete.name")?,
            epoch: epoch.map(Epoch),
        },
        Command::Get(Get { name }) => TopicCommand::Get {
            name: topic(&name, "get.name")?,
        },
        Command::List(List {
            pattern: which,
            after,
            limit,
        }) => TopicCommand::List {
            pattern: which.map(|raw| pattern(&raw, "list.pattern")).transpose()?,
            after: after.map(|raw| topic(&raw, "list.after")).transpose()?,
            limit,
        },
    };
    Ok((ShardId(shard), command))
}

impl From<TopicInfo> for pb::TopicInfo {
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
        Self {
            name: name.as_str().to_owned(),
            class: class_to_pb(class).into(),
            epoch: epoch.0,
            start: Some(start.into()),
            head: Some(head.into()),
            bytes,
            rules: Some((&layer_of(&rules)).into()),
        }
    }
}

impl TryFrom<pb::TopicInfo> for TopicInfo {
    type Error = Malformed;

    fn try_from(info: pb::TopicInfo) -> Result<Self, Malformed> {
        let pb::TopicInfo {
            name,
            class: of,
            epoch,
            start,
            head,
            bytes,
            rules,
        } = info;
        let rules: RuleLayer = required(rules, "rules")?.try_into()?;
        Ok(Self {
            name: topic(&name, "name")?,
            class: class(of)?,
            epoch: Epoch(epoch),
            start: position(start, "start")?,
            head: position(head, "head")?,
            bytes,
            rules: rules.over(&Rules::default()),
        })
    }
}

impl From<Result<Vec<TopicInfo>, NoRead>> for pb::TopicsAnswer {
    fn from(result: Result<Vec<TopicInfo>, NoRead>) -> Self {
        use pb::topics_answer::{Infos, Result as Answer};
        let result = match result {
            Ok(infos) => Answer::Infos(Infos {
                infos: infos.into_iter().map(Into::into).collect(),
            }),
            Err(none) => Answer::None(none.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

/// The answer to a command to topics.
pub(crate) fn topics_answer(
    raw: pb::TopicsAnswer,
) -> Result<Result<Vec<TopicInfo>, NoRead>, Malformed> {
    use pb::topics_answer::{Infos, Result as Answer};
    let pb::TopicsAnswer { result } = raw;
    match required(result, "result")? {
        Answer::Infos(Infos { infos }) => infos
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()
            .map(Ok),
        Answer::None(none) => none.try_into().map(Err),
    }
}
