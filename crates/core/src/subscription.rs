//! Delivery of a session: `drain`, a cursor Attaching, Live, Behind or Detached, and its gaps.
