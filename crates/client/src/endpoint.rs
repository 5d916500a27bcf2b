//! Where nodes are reached: lists of `http://HOST:PORT` for edges and gRPC doors, read with errors
//! that say what to write instead.

use std::fmt;

/// One address, `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Reads `http://HOST:PORT`, with or without a slash at its end.
    pub fn read(url: &str) -> Result<Self, BadEndpoint> {
        let bad = |why| BadEndpoint {
            url: url.to_owned(),
            why,
        };
        let rest = match url.trim().split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(bad(Why::Tls)),
            Some(_) => return Err(bad(Why::Scheme)),
            None => return Err(bad(Why::NoScheme)),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) || rest.contains(char::is_whitespace) {
            return Err(bad(Why::More));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad(Why::NoPort))?;
        let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(bad(Why::Host));
        }
        match port.parse::<u16>() {
            Ok(number) if number > 0 => Ok(Self(rest.to_owned())),
            Ok(_) | Err(_) => Err(bad(Why::NoPort)),
        }
    }

    /// `HOST:PORT`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The nodes a client knows. They are tried in turn, from the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// For HTTP: WebSocket, SSE, tail, polls, publishing.
    pub edges: Vec<Address>,
    /// For gRPC.
    pub grpc: Vec<Address>,
}

impl Endpoints {
    /// Reads two lists of URLs; either may be empty if its door is not used.
    pub fn read<S: AsRef<str>>(edges: &[S], grpc: &[S]) -> Result<Self, BadEndpoint> {
        let list = |urls: &[S]| -> Result<Vec<_>, _> {
            urls.iter().map(|url| Address::read(url.as_ref())).collect()
        };
        Ok(Self {
            edges: list(edges)?,
            grpc: list(grpc)?,
        })
    }
}

/// Why a text is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no address of a node: {why}")]
pub struct BadEndpoint {
    url: String,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoScheme,
    Scheme,
    Tls,
    NoPort,
    Host,
    More,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "write `http://HOST:PORT`",
            Self::Scheme => "only `http://` is spoken; write `http://HOST:PORT`",
            Self::Tls => "TLS is not spoken by this client; reach the node over `http://`",
            Self::NoPort => "a port from 1 to 65535 is missing, as in `http://127.0.0.1:8080`",
            Self::Host => "the host is missing or an IPv6 address without brackets",
            Self::More => "only `http://HOST:PORT`, without a path, query or user",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        for (url, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://n1:9090/", "n1:9090"),
            (" http://[::1]:80 ", "[::1]:80"),
        ] {
            assert_eq!(Address::read(url).unwrap().as_str(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_to_write() {
        for (url, hint) in [
            ("n1:8080", "write `http://HOST:PORT`"),
            ("https://n1:8080", "TLS"),
            ("ftp://n1:8080", "only `http://`"),
            ("http://n1", "port"),
            ("http://n1:0", "port"),
            ("http://n1:x", "port"),
            ("http://:80", "host"),
            ("http://::1:80", "host"),
            ("http://n1:80/v1", "path"),
            ("http://me@n1:80", "user"),
        ] {
            let text = Address::read(url).unwrap_err().to_string();
            assert!(text.contains(hint) && text.contains(url), "{text}");
        }
        assert!(Endpoints::read(&["http://n1:1"], &["n2"]).is_err());
    }
}
