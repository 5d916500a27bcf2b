//! Which edges listen to a topic and from where; catch-up, then live; credit.
