//! The one binary, `fanfare`.

fn main() {}
