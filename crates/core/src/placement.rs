//! Where replicas should be: view and old table to new table; pure, stable, few moves.
