//! The edge's end of an attachment: bounds of the tail, who waits at which position, when to let go.
