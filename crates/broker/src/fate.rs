//! What a publisher is told: fates and failures as receipts and refusals.

use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::message::Draft;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::Class;
use fanfare_core::shard::{Fate, Refused};

use crate::publish::Work;

/// Answers a draft with its fate; gives it back if the fate is that of another class.
pub(crate) fn answer(work: Work, fate: &Fate, class: Class) -> Option<Work> {
    let (position, duplicate, dedup_remaining_ms) = match *fate {
        Fate::Placed {
            position,
            dedup_remaining_ms,
        } => (position, false, dedup_remaining_ms),
        Fate::Duplicate {
            position,
            dedup_remaining_ms,
        } => (position, true, Some(dedup_remaining_ms)),
        Fate::Refused(refused) => {
            let topic = work.draft.topic.clone();
            work.ticket
                .refuse(of_refused(refused).as_publish().topic(topic));
            return None;
        }
        Fate::Ephemeral => return Some(work),
    };
    let reached = match class {
        Class::Durable => Reached::Durable,
        Class::Ephemeral => Reached::Ephemeral,
    };
    let receipt = Receipt {
        topic: work.draft.topic.clone(),
        position: Some(position),
        class,
        reached,
        duplicate,
        dedup_remaining_ms,
    };
    work.ticket.placed(receipt);
    None
}

/// A refusal of apply, for people.
pub(crate) fn of_refused(refused: Refused) -> Refusal {
    let Refused { code, head } = refused;
    Refusal {
        head,
        ..Refusal::new(code, code.title())
    }
}

/// The draft as it is judged now: its key is older by the time it was held here.
pub(crate) fn aged(work: &Work, now: Duration) -> Draft {
    let mut draft = work.draft.clone();
    if draft.key.is_some() {
        let held = now.saturating_sub(work.arrived).as_millis();
        let held_ms = u64::try_from(held).unwrap_or(u64::MAX);
        draft.key_age_ms = draft.key_age_ms.saturating_add(held_ms);
    }
    draft
}

/// A refusal of a read.
pub(crate) fn refusal(code: Code, detail: &str) -> Refusal {
    Refusal::new(code, detail)
}

/// R12: definite, since nothing was proposed.
pub(crate) fn no_quorum() -> Refusal {
    let detail = "the shard's leader has not heard a majority for an election timeout";
    Refusal::of_publish(Code::NoQuorum, detail).retry_after(1_000)
}

/// R15: definite.
pub(crate) fn storage_full() -> Refusal {
    let detail = "the free space of the leader's disk is below its reserve";
    Refusal::of_publish(Code::StorageFull, detail).retry_after(5_000)
}

/// Definite: the topic's class is being decided.
pub(crate) fn rules_changing() -> Refusal {
    let detail = "the rules have just changed, and drafts judged by the old ones are on their way";
    Refusal::of_publish(Code::Overloaded, detail).retry_after(100)
}

/// The publisher's time was over before the draft was proposed.
pub(crate) fn too_late() -> Refusal {
    Refusal::of_publish(
        Code::DeadlineExceeded,
        "the draft waited for its turn too long",
    )
}

/// No permits for its bytes.
pub(crate) fn overloaded() -> Refusal {
    let detail = "the drafts in flight of this shard use up their room";
    Refusal::of_publish(Code::Overloaded, detail).retry_after(100)
}
