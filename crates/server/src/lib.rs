//! A whole node: composition, accept loops, configuration, telemetry, operator's interface.
