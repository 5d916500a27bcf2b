//! How often one address may ask. The address is the peer's, or, behind proxies that are trusted,
//! the one they name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use http::{HeaderMap, HeaderName};

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    /// So many at once after a rest.
    pub burst: u32,
}

/// A network, `ADDRESS/BITS`; an address alone is itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    bits: u8,
}

impl Network {
    /// True if the address is of this network. IPv4 and its IPv6 form are the same.
    pub fn holds(&self, address: IpAddr) -> bool {
        let shift = 128 - u32::from(self.bits);
        let prefix = |address: u128| address.checked_shr(shift).unwrap_or(0);
        prefix(number(address)) == prefix(self.base)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let (before, most) = if address.is_ipv4() {
            (96, 32)
        } else {
            (0, 128)
        };
        let bits = match bits {
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or(BadNetwork)?,
            None => most,
        };
        let base = number(address);
        Ok(Self {
            base,
            bits: before + bits,
        })
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is ADDRESS/BITS, such as 10.0.0.0/8")]
pub struct BadNetwork;

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address as proxies write it: some add the port.
fn named_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    bare.unwrap_or(text).parse().or_else(|_| with_port()).ok()
}

/// The limit of requests by address.
pub(crate) struct Limiter {
    rate: Option<Rate>,
    proxies: Vec<Network>,
    buckets: Mutex<Buckets>,
    /// It was said that a proxy should be named.
    warned: AtomicBool,
}

impl Limiter {
    /// `None` limits nobody. The proxies' `X-Forwarded-For` is believed.
    pub(crate) fn new(rate: Option<Rate>, proxies: Vec<Network>) -> Self {
        Self {
            rate,
            proxies,
            buckets: Mutex::default(),
            warned: AtomicBool::new(false),
        }
    }

    /// Counts a request of `peer`; `rate_limited` if there were too many.
    pub(crate) fn admit(
        &self,
        now: Duration,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let (Some(rate), Some(peer)) = (self.rate, peer) else {
            return Ok(());
        };
        let Some(client) = self.client(peer, headers) else {
            return Ok(());
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(now, rate, client).map_err(|wait| {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Refusal::new(Code::RateLimited, "too many requests from this address").retry_after(ms)
        })
    }

    /// Whose request it is. While no proxy is named, a private peer may be one that nobody named,
    /// and stands for many: it has no limit.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if self.proxies.is_empty() {
            let proxied = headers.contains_key(FORWARDED);
            if proxied && is_private(peer) && !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %peer,
                    "requests seem to come through a proxy: name it in `edge.trusted_proxies`, \
                     until then they have no limit by address"
                );
            }
            return Some(peer).filter(|peer| !is_private(*peer));
        }
        let trusted = |address: IpAddr| self.proxies.iter().any(|network| network.holds(address));
        if !trusted(peer) {
            return Some(peer);
        }
        let forwarded = headers.get_all(FORWARDED);
        let named = forwarded.iter().filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = named.flat_map(|value| value.split(',')).collect();
        for text in named.iter().rev() {
            match named_address(text.trim()) {
                Some(address) if trusted(address) => {}
                Some(address) => return Some(address),
                // What stands before something unreadable is not to be believed.
                None => return Some(peer),
            }
        }
        Some(peer)
    }
}

fn is_private(address: IpAddr) -> bool {
    let of_v6 =
        |v6: Ipv6Addr| v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => of_v6(v6),
    }
}

/// When each address would have spent what it took (GCRA); those in the past are as good as new.
#[derive(Default)]
struct Buckets {
    rows: BTreeMap<u128, Duration>,
    /// Shared by addresses that found no row.
    strangers: Duration,
    swept: Duration,
}

impl Buckets {
    /// Most addresses with a row of their own.
    const ROWS: usize = 100_000;
    /// Between two sweeps of a full table.
    const SWEEP: Duration = Duration::from_secs(1);

    /// Takes one, or says how long to wait.
    fn take(&mut self, now: Duration, rate: Rate, address: IpAddr) -> Result<(), Duration> {
        let step = Duration::from_secs(1) / rate.per_second.max(1);
        let burst = step.saturating_mul(rate.burst.max(1));
        if self.rows.len() >= Self::ROWS && now >= self.swept + Self::SWEEP {
            self.rows.retain(|_, spent| *spent > now);
            self.swept = now;
        }
        // One host of IPv6 has a network of 64 bits.
        let host = match address.to_canonical() {
            IpAddr::V4(_) => number(address),
            IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
        };
        let known = self.rows.len() < Self::ROWS || self.rows.contains_key(&host);
        let spent = if known {
            self.rows.entry(host).or_default()
        } else {
            &mut self.strangers
        };
        let next = (*spent).max(now) + step;
        if next > now + burst {
            return Err(next - burst - now);
        }
        *spent = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
    };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let mut buckets = Buckets::default();
        let mut take = |ms| buckets.take(at(ms), RATE, ip("192.0.2.1"));
        for _ in 0..3 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(at(100)));
        assert_eq!(take(60), Err(at(40)));
        assert_eq!(take(100), Ok(()));
        assert!(take(100).is_err());
        for _ in 0..3 {
            assert_eq!(take(5_000), Ok(()), "a rest fills it");
        }
        assert!(take(5_000).is_err());
    }

    #[test]
    fn addresses_are_apart_and_a_network_of_ipv6_is_one() {
        let mut buckets = Buckets::default();
        let rate = Rate {
            per_second: 1,
            burst: 1,
        };
        let mut take = |address: &str| buckets.take(at(0), rate, ip(address)).is_ok();
        assert!(take("192.0.2.1") && take("192.0.2.2"));
        assert!(!take("::ffff:192.0.2.1"), "the same in another form");
        assert!(take("2001:db8::1"));
        assert!(!take("2001:db8::2"));
        assert!(take("2001:db8:0:1::1"));
    }

    #[test]
    fn a_full_table_forgets_the_rested_and_then_puts_strangers_together() {
        let mut buckets = Buckets::default();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..Buckets::ROWS {
            buckets.take(at(2_000), RATE, address(n)).unwrap();
        }
        for n in 0..3 {
            buckets
                .take(at(2_000), RATE, address(Buckets::ROWS + n))
                .unwrap();
        }
        assert!(
            buckets
                .take(at(2_000), RATE, address(Buckets::ROWS + 9))
                .is_err()
        );
        assert_eq!(buckets.rows.len(), Buckets::ROWS);
        buckets
            .take(at(4_000), RATE, address(Buckets::ROWS + 9))
            .unwrap();
        assert_eq!(buckets.rows.len(), 1);
    }

    #[test]
    fn only_named_proxies_are_believed() {
        let mut headers = HeaderMap::new();
        let forwarded = "198.51.100.9, 203.0.113.7, 10.0.0.2";
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        let client = |proxies: &[&str], peer: &str| {
            let proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
            Limiter::new(Some(RATE), proxies).client(ip(peer), &headers)
        };
        assert_eq!(client(&[], "192.0.2.1"), Some(ip("192.0.2.1")));
        assert_eq!(
            client(&[], "10.0.0.1"),
            None,
            "maybe a proxy that nobody named"
        );
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1"), Some(ip("203.0.113.7")));
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1"), Some(ip("192.0.2.1")));
        headers.insert("x-forwarded-for", "203.0.113.7, nonsense".parse().unwrap());
        let limiter = Limiter::new(Some(RATE), vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(
            limiter.client(ip("10.0.0.1"), &headers),
            Some(ip("10.0.0.1"))
        );
    }

    #[test]
    fn proxies_write_addresses_in_several_ways() {
        for text in ["203.0.113.7", "203.0.113.7:4711"] {
            assert_eq!(named_address(text), Some(ip("203.0.113.7")));
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"] {
            assert_eq!(named_address(text), Some(ip("2001:db8::1")));
        }
        assert_eq!(named_address("unknown"), None);
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().holds(ip(address));
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("2001:db8::/32", "2001:db8:5::1") && holds("::/0", "192.0.2.1"));
        for bad in ["10.0.0.0/33", "10.0.0", "10.0.0.0/", "2001:db8::/129", ""] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }
}
