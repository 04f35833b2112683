//! Who asks: the client's address, also behind proxies that say whom they ask for.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Most addresses looked at in `X-Forwarded-For`; each is a proxy on the way.
const MAX_HOPS: usize = 16;

/// Whom limits are counted for: an IPv4 address, or the /64 that an IPv6 customer has to themself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Of the peer of a connection and its `X-Forwarded-For`, which counts as far as trusted proxies wrote it: from
    /// the right, to the first address that is not one of theirs. What stands left of it anybody may have made up.
    #[must_use]
    pub fn find(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let mut client = peer.to_canonical();
        let forwarded = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.rsplit(','));
        for hop in forwarded.take(MAX_HOPS) {
            let Some(before) = parse(hop).filter(|_| is_trusted(&client)) else {
                break;
            };
            client = before;
        }
        ClientAddress::of(client)
    }

    fn of(address: IpAddr) -> ClientAddress {
        ClientAddress(match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// An address; some proxies add the port.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop
        .parse()
        .or_else(|_| hop.parse().map(|at: std::net::SocketAddr| at.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

    fn find(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = PROXIES.map(|net| net.parse().unwrap());
        ClientAddress::find(peer.parse().unwrap(), &headers, &trusted)
            .0
            .to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(find("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn the_address_before_the_last_trusted_proxy_counts() {
        for (forwarded, client) in [
            (&[][..], "10.0.0.1"),
            (&["198.51.100.7"], "198.51.100.7"),
            (&["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            (&["198.51.100.7, 10.1.1.1"], "198.51.100.7"),
            (&["203.0.113.9", "198.51.100.7,10.1.1.1"], "198.51.100.7"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["10.2.2.2"], "10.2.2.2"),
            (&["nonsense"], "10.0.0.1"),
            (&["198.51.100.7, nonsense"], "10.0.0.1"),
            (&["198.51.100.7, "], "10.0.0.1"),
        ] {
            assert_eq!(find("10.0.0.1", forwarded), client, "{forwarded:?}");
        }
        assert_eq!(find("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn ipv6_counts_by_its_network() {
        assert_eq!(find("2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(
            find("fd00::1", &["[2001:db8:1:2:3:4:5:6]:443"]),
            "2001:db8:1:2::"
        );
        assert_eq!(find("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn a_long_chain_ends() {
        let chain = vec!["10.9.9.9"; 10_000].join(",");
        assert_eq!(
            find("10.0.0.1", &[&format!("192.0.2.1,{chain}")]),
            "10.9.9.9"
        );
    }

    proptest! {
        #[test]
        fn nothing_in_the_header_panics(value in "[ -~]{0,64}") {
            find("10.0.0.1", &[&value]);
        }
    }
}
