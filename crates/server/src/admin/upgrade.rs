//! Raises the feature level by one step, once every node's binary knows it.

use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use fanfare_core::view::{Command, View};
use fanfare_rpc::public::Upgraded;

use super::{Admin, propose};

impl Admin {
    /// Refused, with names, while a node is below the next level. At the highest level that this
    /// binary knows nothing is changed.
    pub(super) async fn upgrade_by_one(&self) -> Result<Upgraded, Refusal> {
        let view = self.handle.view().borrow().clone();
        let known = self.handle.level();
        if view.level >= known {
            return Ok(Upgraded {
                level: view.level,
                known,
                raised: false,
            });
        }
        let level = view.level + 1;
        if let Some(below) = below(&view, level) {
            let why = format!(
                "level {level} needs a newer binary on: {below}. Restart these nodes with it, one \
                 after the other"
            );
            return Err(Refusal::new(Code::NotReady, why));
        }
        propose(self.handle.clone(), Command::SetLevel { level }).await?;
        Ok(Upgraded {
            level,
            known,
            raised: true,
        })
    }
}

/// The nodes whose binary does not know a level, by name; `None` if all do.
fn below(view: &View, level: u32) -> Option<String> {
    let names: Vec<String> = view
        .living()
        .filter(|node| node.level < level)
        .map(|node| format!("{} (knows level {})", node.name, node.level))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}
