//! One session's failure is its own: who closes it.

use std::sync::Arc;

use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{Row, Slots};
use crate::relay::locked;
use crate::session::wire::Said;

/// Closes sessions whose actor failed.
pub(super) struct SessionSupervisor;

impl Actor for SessionSupervisor {
    type Msg = ();
    type State = Arc<Slots>;
    type Arguments = Arc<Slots>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        slots: Arc<Slots>,
    ) -> Result<Arc<Slots>, ActorProcessingErr> {
        Ok(slots)
    }

    /// One session's failure is its own: it is closed, the others go on.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        slots: &mut Arc<Slots>,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(failed, why) = event {
            tracing::error!(error = %why, "a session failed and is closed");
            let of = |row: &&Row| row.actor.get_id() == failed.get_id();
            let found = slots
                .iter()
                .find_map(|slot| locked(slot).values().find(of).cloned());
            if let Some(row) = found {
                let why = Refusal::new(Code::Internal, Code::Internal.title());
                let cursor = row.voice.cursor();
                row.voice.say(&Said::Disconnect { why, cursor });
                row.vitals.ended.notify_one();
            }
        }
        Ok(())
    }
}
