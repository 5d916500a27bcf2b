//! The edge's end of topics: tails and their actors.
