//! Rules of the model's topics: short histories and windows, so that they end within a run.

use std::time::Duration;

use fanfare_core::rule::{Class, CreatePolicy, RuleLayer, RuleTable, Slow};

use crate::chance::Chance;
use crate::world::World;

/// The rules a world begins with.
pub(crate) fn first(chance: &mut Chance) -> RuleTable {
    let mut table = RuleTable::default();
    table.version = 1;
    put(&mut table, "d.>", layer(chance, Class::Durable));
    put(&mut table, "d.c", layer(chance, Class::Durable));
    put(&mut table, "e.>", layer(chance, Class::Ephemeral));
    if chance.one_in(10) {
        table.create = CreatePolicy::Explicit;
    }
    table
}

fn put(table: &mut RuleTable, pattern: &str, layer: RuleLayer) {
    let pattern = pattern.parse().expect("a pattern");
    assert!(table.put(pattern, layer), "a small table");
}

/// Rules of a topic or pattern; what is not said is as it is by default.
pub(crate) fn layer(chance: &mut Chance, class: Class) -> RuleLayer {
    let some =
        |chance: &mut Chance, low, high| (!chance.one_in(4)).then(|| chance.within(low, high));
    let conflates = chance.one_in(4);
    RuleLayer {
        class: Some(class),
        retain_count: some(chance, 1, 30),
        retain_bytes: chance.one_in(3).then(|| chance.within(200, 4_000)),
        retain_age: chance
            .one_in(3)
            .then(|| Duration::from_secs(chance.within(5, 600))),
        slow: conflates.then_some(Slow::Conflate),
        slow_lag: conflates.then(|| chance.within(1, 6)),
        dedup_age: chance
            .one_in(2)
            .then(|| Duration::from_secs(chance.within(30, 120))),
        html: None,
    }
}

impl World {
    /// The cluster's rules become others; shards learn them as their leaders propose them.
    pub(crate) fn change_rules(&mut self) {
        let pattern = self
            .chance
            .pick(&["d.>", "d.a", "d.c", "e.>", "e.b"])
            .unwrap_or("d.>");
        let usual = match pattern.starts_with('d') {
            true => Class::Durable,
            false => Class::Ephemeral,
        };
        let class = match self.chance.below(6) {
            0 => Class::Durable,
            1 => Class::Ephemeral,
            _ => usual,
        };
        let layer = layer(&mut self.chance, class);
        self.trace(|| format!("rules of {pattern}: {layer:?}"));
        put(&mut self.rules, pattern, layer);
        if self.chance.one_in(8) {
            self.rules.create = match self.rules.create {
                CreatePolicy::OnUse => CreatePolicy::Explicit,
                CreatePolicy::Explicit => CreatePolicy::OnUse,
            };
        }
        self.rules.version += 1;
        self.note_rules();
    }

    /// From now on slow sessions may be told to skip.
    pub(crate) fn note_rules(&mut self) {
        let skips = |layer: &RuleLayer| layer.slow == Some(Slow::Conflate);
        if self.rules.rows().iter().any(|(_, layer)| skips(layer)) {
            for topic in self.topics.clone() {
                self.oracle.truth(&topic).conflated = true;
            }
        }
    }
}
