//! The front door: routes, relays, sessions and transports for subscribers and publishers.
