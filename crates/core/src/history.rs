//! Messages of one stream, bounded by count, bytes and age; `since(Position)` gives a run or a gap.
