//! A topic sequenced by its leader alone; an epoch for each reign.
