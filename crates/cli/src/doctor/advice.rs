//! The faults that a way to an edge may have, by their stable names, and what to change in which
//! proxy.

/// What is wrong. Names are for scripts: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// No edge answers.
    Unreachable,
    /// A node refused what should be allowed.
    Refused,
    /// A WebSocket's handshake does not get through.
    NoUpgrade,
    /// What the edge has sent is held back.
    Buffering,
    /// An answer begins late, and then comes.
    SlowFirstByte,
    /// A stream was cut though it was not silent for longer than the heartbeat.
    IdleCut,
}

impl Fault {
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Refused,
        Self::NoUpgrade,
        Self::Buffering,
        Self::SlowFirstByte,
        Self::IdleCut,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NoUpgrade => "no_upgrade",
            Self::Buffering => "buffering",
            Self::SlowFirstByte => "slow_first_byte",
            Self::IdleCut => "idle_cut",
        }
    }

    /// What it does to people.
    pub(super) fn means(self) -> &'static str {
        match self {
            Self::Unreachable => "no edge answers here: nobody can connect",
            Self::Refused => "an edge answers and refuses",
            Self::NoUpgrade => "WebSocket clients cannot connect",
            Self::Buffering => "messages are held back on the way: people see them late or never",
            Self::SlowFirstByte => "streams begin late: pages look dead at first",
            Self::IdleCut => {
                "streams are cut while nothing happens: clients connect again and again"
            }
        }
    }

    /// What to change, for each proxy that may lie between; the first column is its name.
    pub(super) fn remedies(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unreachable => &[
                (
                    "edge",
                    "is it running, and listening on more than loopback (`edge.listen`)?",
                ),
                (
                    "nginx",
                    "`proxy_pass http://EDGE:8080;` in the location of these paths",
                ),
                (
                    "HAProxy",
                    "`server edge1 EDGE:8080 check` in the backend of these paths",
                ),
                ("Caddy", "`reverse_proxy EDGE:8080` for these paths"),
            ],
            Self::Refused => &[
                ("edge", "`fanfare errors CODE` says what the code means"),
                (
                    "nginx",
                    "`proxy_set_header Host $host;`, and that host in `edge.allowed_hosts`",
                ),
                (
                    "HAProxy",
                    "it keeps the host: have it in `edge.allowed_hosts`",
                ),
                (
                    "Caddy",
                    "it keeps the host: have it in `edge.allowed_hosts`",
                ),
            ],
            Self::NoUpgrade => &[
                (
                    "nginx",
                    "`proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                     proxy_set_header Connection $connection_upgrade;` with `map $http_upgrade \
                     $connection_upgrade { default upgrade; '' ''; }`",
                ),
                (
                    "HAProxy",
                    "`mode http`, and no `http-request del-header Upgrade` or `option httpclose` on \
                     these paths",
                ),
                (
                    "Caddy",
                    "`reverse_proxy` passes upgrades: take `header_up -Upgrade` away, and `versions \
                     h2c` of its transport",
                ),
            ],
            Self::Buffering => &[
                (
                    "nginx",
                    "`proxy_buffering off;` in the location, `gzip off;` there, and no \
                     X-Accel-Buffering in `proxy_ignore_headers`",
                ),
                (
                    "HAProxy",
                    "no `compression` and no `http-response wait-for-body` on these paths",
                ),
                (
                    "Caddy",
                    "`flush_interval -1` in `reverse_proxy`, no `encode` on these paths",
                ),
            ],
            Self::SlowFirstByte => &[
                (
                    "edge",
                    "`fanfare cluster status`: while a topic's shard has no leader, its streams begin \
                     up to 5 s late",
                ),
                (
                    "nginx",
                    "`proxy_buffering off;`, and no `auth_request` that is slow",
                ),
                (
                    "HAProxy",
                    "`timeout queue` and `maxconn`: do requests wait for a connection?",
                ),
                ("Caddy", "`flush_interval -1` in `reverse_proxy`"),
            ],
            Self::IdleCut => &[
                (
                    "nginx",
                    "`proxy_read_timeout 75s;` (and `proxy_send_timeout`) in the location",
                ),
                (
                    "HAProxy",
                    "`timeout tunnel 1h` for WebSocket, `timeout server 75s` and `timeout client 75s` \
                     for the rest",
                ),
                (
                    "Caddy",
                    "no `stream_timeout` in `reverse_proxy`, and its transport's `read_timeout` above \
                     75s",
                ),
                ("cloud", "raise the load balancer's idle timeout above 60 s"),
            ],
        }
    }

    /// Those that fit what a proxy says of itself; all if it says nothing that is known.
    pub(super) fn remedies_for(self, proxy: Option<&str>) -> Vec<(&'static str, &'static str)> {
        let says = proxy.unwrap_or_default().to_lowercase();
        let known = ["nginx", "haproxy", "caddy"]
            .into_iter()
            .find(|name| says.contains(name));
        let fits = |row: &&(&str, &str)| match known {
            None => true,
            Some(name) => row.0.to_lowercase() == name || row.0 == "edge",
        };
        self.remedies().iter().filter(fits).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_directive_for_each_proxy() {
        for fault in Fault::ALL {
            for proxy in ["nginx", "HAProxy", "Caddy"] {
                let found = fault.remedies().iter().find(|row| row.0 == proxy);
                assert!(found.is_some(), "{} lacks {proxy}", fault.name());
            }
        }
        let stable: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        let names = "unreachable refused no_upgrade buffering slow_first_byte idle_cut";
        assert_eq!(stable.join(" "), names);
    }

    #[test]
    fn a_proxy_that_names_itself_gets_its_own_advice() {
        let only = Fault::Buffering.remedies_for(Some("nginx/1.26"));
        assert!(only.len() == 1 && only[0].1.contains("proxy_buffering off"));
        assert_eq!(
            Fault::Buffering.remedies_for(Some("1.1 Caddy"))[0].0,
            "Caddy"
        );
        assert!(Fault::Buffering.remedies_for(None).len() > 2);
    }
}
