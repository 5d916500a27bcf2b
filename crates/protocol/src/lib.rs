//! What clients and edges say to each other, version 1: frames, SSE framing, poll bodies, HTML fragments.
