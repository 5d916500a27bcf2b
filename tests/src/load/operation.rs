//! The planned operations that a run can carry out, and lists of them as they are typed.

use std::fmt;
use std::str::FromStr;

/// One kind of planned operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A new node comes and takes its share.
    Join,
    /// A node gives away what it leads and its sessions.
    Drain,
    /// A drained node gives away its replicas and leaves for ever.
    Remove,
    /// A node whose disk is wiped is replaced by a new one.
    Replace,
    /// Every shard's leadership goes to another replica, one after the other.
    Transfer,
    /// Every node is stopped in order and started again, one after the other.
    Restart,
    /// The same from an older binary to the present one, then the feature level is raised. Not
    /// among `all`: it needs the older binary.
    Upgrade,
}

impl Operation {
    /// All, in the order in which they make one story.
    pub const ALL: [Self; 6] = [
        Self::Join,
        Self::Drain,
        Self::Remove,
        Self::Replace,
        Self::Transfer,
        Self::Restart,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Drain => "drain",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Transfer => "transfer",
            Self::Restart => "restart",
            Self::Upgrade => "upgrade",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Operations in the order in which they are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(pub Vec<Operation>);

impl FromStr for Operations {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        if raw == "all" {
            return Ok(Self(Operation::ALL.to_vec()));
        }
        let one = |name: &str| {
            let mut known = Operation::ALL.into_iter().chain([Operation::Upgrade]);
            let found = known.find(|o| o.as_str() == name);
            found.ok_or(format!("no such operation: {name}"))
        };
        raw.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order() {
        let list: Operations = "restart,join,restart".parse().unwrap();
        let restart = Operation::Restart;
        assert_eq!(list.0, [restart, Operation::Join, restart]);
    }

    #[test]
    fn all_are_all_and_what_does_not_exist_is_named() {
        let all: Operations = "all".parse().unwrap();
        assert_eq!(all.0, Operation::ALL);
        let wrong = "drain,explode".parse::<Operations>();
        assert_eq!(wrong, Err("no such operation: explode".to_owned()));
    }
}
