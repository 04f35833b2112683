//! Puts the two ends of a link into their network namespaces, by `ip`.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::str::FromStr;

/// Where an end of a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The network namespace, by its name in `/run/netns`.
    pub namespace: String,
    /// The addresses that the end has there: one, or one of each family.
    pub addresses: Vec<IpAddr>,
}

impl FromStr for End {
    type Err = String;

    /// `NAMESPACE=ADDRESS[,ADDRESS]`
    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("'{text}' must be NAMESPACE=ADDRESS or NAMESPACE=ADDRESS,ADDRESS");
        let (namespace, addresses) = text.split_once('=').ok_or_else(usage)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if namespace.is_empty()
            || namespace.starts_with(['-', '.'])
            || !namespace.chars().all(is_name)
        {
            return Err(usage());
        }
        let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
        Ok(Self {
            namespace: namespace.into(),
            addresses: addresses.map_err(|_| usage())?,
        })
    }
}

/// Runs `ip`.
fn ip(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("ip").args(arguments).output();
    let output =
        output.map_err(|e| io::Error::new(e.kind(), format!("can't run 'ip' (iproute2): {e}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let what = format!("ip {}: {}", arguments.join(" "), why.trim());
        return Err(io::Error::other(what));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The namespaces that were made for a link, gone when this is.
#[derive(Debug, Default)]
pub struct Made(BTreeSet<String>);

impl Made {
    /// Makes this namespace, unless it is there.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ensure(&mut self, namespace: &str) -> io::Result<()> {
        let there = ip(&["netns", "list"])?;
        if there
            .lines()
            .any(|line| line.split_whitespace().next() == Some(namespace))
        {
            return Ok(());
        }
        ip(&["netns", "add", namespace])?;
        self.0.insert(namespace.into());
        ip(&["-n", namespace, "link", "set", "lo", "up"]).map(drop)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for namespace in &self.0 {
            // Nobody is there to be told; what still runs in it keeps it until it ends.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

/// Moves a device from here into its end's namespace, and gives it its address and the way to its
/// peer; to all the world if it `is_client`.
///
/// # Errors
/// What `ip` says.
pub fn connect(device: &str, end: &End, peer: &End, is_client: bool) -> io::Result<()> {
    let namespace = end.namespace.as_str();
    ip(&["link", "set", device, "netns", namespace])?;
    // No address that nobody asked for, and so no packets of the kernel's own.
    let set = |what: &[&str]| ip(&[&["-n", namespace, "link", "set", device], what].concat());
    set(&["addrgenmode", "none"])?;
    set(&["mtu", "1500", "txqueuelen", "5000", "up"])?;
    for address in &end.addresses {
        let address = address.to_string();
        let mut add = vec!["-n", namespace, "address", "add", &address, "dev", device];
        if address.contains(':') {
            add.push("nodad");
        }
        ip(&add)?;
    }
    for address in &peer.addresses {
        let family = if address.is_ipv6() { "-6" } else { "-4" };
        let peer = address.to_string();
        ip(&[
            "-n", namespace, family, "route", "add", &peer, "dev", device,
        ])?;
        if is_client {
            ip(&[
                "-n", namespace, family, "route", "replace", "default", "dev", device,
            ])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_namespace_and_its_addresses() {
        let end: End = "viewer=10.99.2.2,fd99::2".parse().unwrap();
        assert_eq!(end.namespace, "viewer");
        assert_eq!(end.addresses.len(), 2);
        for wrong in [
            "viewer",
            "=10.0.0.1",
            "viewer=10.0.0",
            "-n=10.0.0.1",
            "a/b=10.0.0.1",
            "viewer=",
        ] {
            assert!(wrong.parse::<End>().is_err(), "{wrong}");
        }
    }
}
