//! Whether new rules may make a durable topic of a name that had ephemeral streams. Those leave no
//! row behind, so readers of the name can no longer be told that nothing was missed (C27).

use std::collections::BTreeMap;

use crate::name::TopicPattern;
use crate::rule::{Class, RuleTable};

/// True if some name may be ephemeral by `old` and not by `new`. Errs on the side of true.
pub(super) fn may_end_streams(old: &RuleTable, new: &RuleTable) -> bool {
    let (before, after) = (classes(old), classes(new));
    let changed: Vec<_> = before
        .keys()
        .chain(after.keys())
        .filter(|pattern| before.get(*pattern) != after.get(*pattern))
        .collect();
    let mut streams = before
        .iter()
        .filter(|(_, class)| **class == Class::Ephemeral);
    streams.any(|(stream, _)| changed.iter().any(|pattern| overlap(stream, pattern)))
}

fn classes(table: &RuleTable) -> BTreeMap<&TopicPattern, Class> {
    let rows = table.rows().iter();
    rows.map(|(pattern, layer)| (pattern, layer.class.unwrap_or_default()))
        .collect()
}

/// True if some name may match both.
fn overlap(one: &TopicPattern, other: &TopicPattern) -> bool {
    let (mut one, mut other) = (one.as_str().split('.'), other.as_str().split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleLayer;

    fn table(rows: &[(&str, Option<Class>)]) -> RuleTable {
        let mut table = RuleTable::default();
        for (pattern, class) in rows {
            let layer = RuleLayer {
                class: *class,
                ..RuleLayer::default()
            };
            assert!(table.put(pattern.parse().unwrap(), layer));
        }
        table
    }

    #[test]
    fn only_a_pattern_that_reaches_into_an_ephemeral_one_can_end_its_streams() {
        let live = Some(Class::Ephemeral);
        let old = table(&[("live.>", live), ("news", None)]);
        let ended = |rows: &[(&str, Option<Class>)]| may_end_streams(&old, &table(rows));
        assert!(!ended(&[("live.>", live), ("news", None)]));
        assert!(!ended(&[
            ("live.>", live),
            ("chat.*", None),
            ("live", None)
        ]));
        assert!(!ended(&[("live.>", live), ("news", live)]));
        assert!(ended(&[("live.>", None)]));
        assert!(ended(&[]));
        assert!(ended(&[
            ("live.>", live),
            ("news", None),
            ("live.a.b", None)
        ]));
        assert!(ended(&[("live.>", live), ("news", None), ("*.a", None)]));
    }
}
