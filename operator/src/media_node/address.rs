//! How clients reach a pod: from the site's spec, the pod, its machine and its Service. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use showrunner_crds::media_node::{AddressSource, Mode, Reach};
use showrunner_protocol::control::PublicAddresses;

/// Why it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// It comes with time: the pod has no machine yet, or is about to start.
    #[error("it is not known yet")]
    NotYet,
    /// A Service has none yet.
    #[error(
        "its Service has no address yet: is there something that gives addresses to Services of type LoadBalancer?"
    )]
    ServiceWithout,
    /// A Service has a name instead.
    #[error(
        "its Service has the name {0} and no address: find out its addresses, and list them in reach.fixedAddresses"
    )]
    OnlyName(String),
    /// A machine has no such address.
    #[error("machine {0} has no address of type {1}: choose another reach.address")]
    MachineWithout(String, &'static str),
    /// Kubernetes chose ports that can't be told.
    #[error(
        "Kubernetes chooses one port, and each shard needs one: set reach.nodePort, or shards: 1"
    )]
    NeedsNodePort,
    /// A list has something else.
    #[error("{0:?} in reach.fixedAddresses is no IP address")]
    NotAnAddress(String),
}

impl NoAddress {
    /// Whether it comes by itself, and soon.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, NoAddress::NotYet)
    }
}

/// What a pod is to tell clients.
///
/// # Errors
/// Why it is not known.
pub fn public(
    reach: &Reach,
    pod: &Pod,
    machine: Option<&Node>,
    service: Option<&Service>,
) -> Result<PublicAddresses, NoAddress> {
    let addresses = match source(reach) {
        AddressSource::Fixed => fixed(reach)?,
        AddressSource::PodIp => pod_addresses(pod)?,
        AddressSource::ServiceStatus => service_addresses(service)?,
        AddressSource::NodeExternalIp => machine_addresses(machine, "ExternalIP")?,
        AddressSource::NodeInternalIp => machine_addresses(machine, "InternalIP")?,
        AddressSource::Default => machine_addresses(machine, "ExternalIP")
            .or_else(|_| machine_addresses(machine, "InternalIP"))?,
    };
    let media_port = match reach.mode {
        Mode::NodePort => Some(node_port(reach, service)?),
        _ => None,
    };
    Ok(PublicAddresses {
        addresses,
        media_port,
    })
}

/// Where it comes from: `Default` stays only where it is the machine's.
fn source(reach: &Reach) -> AddressSource {
    match (reach.address, reach.mode) {
        (AddressSource::Default, Mode::LoadBalancer) => AddressSource::ServiceStatus,
        (AddressSource::Default, Mode::PodIp) => AddressSource::PodIp,
        (source, _) => source,
    }
}

fn fixed(reach: &Reach) -> Result<Vec<IpAddr>, NoAddress> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| NoAddress::NotAnAddress(text.clone()))
    };
    reach.fixed_addresses.iter().map(parse).collect()
}

fn pod_addresses(pod: &Pod) -> Result<Vec<IpAddr>, NoAddress> {
    let status = pod.status.as_ref().ok_or(NoAddress::NotYet)?;
    let all = status.pod_ips.iter().flatten().map(|one| &one.ip);
    some(
        all.filter_map(|ip| ip.parse().ok()).collect(),
        NoAddress::NotYet,
    )
}

fn service_addresses(service: Option<&Service>) -> Result<Vec<IpAddr>, NoAddress> {
    let status = service.and_then(|service| service.status.as_ref()?.load_balancer.as_ref());
    let ingress: Vec<_> = status
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten()
        .collect();
    let addresses = ingress
        .iter()
        .filter_map(|one| one.ip.as_ref()?.parse().ok())
        .collect();
    let name = ingress.iter().find_map(|one| one.hostname.clone());
    some(
        addresses,
        name.map_or(NoAddress::ServiceWithout, NoAddress::OnlyName),
    )
}

fn machine_addresses(machine: Option<&Node>, kind: &'static str) -> Result<Vec<IpAddr>, NoAddress> {
    let machine = machine.ok_or(NoAddress::NotYet)?;
    let all = machine
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_ref());
    let of_kind = all
        .into_iter()
        .flatten()
        .filter(|address| address.type_ == kind);
    let addresses = of_kind
        .filter_map(|address| address.address.parse().ok())
        .collect();
    let name = machine.metadata.name.clone().unwrap_or_default();
    some(addresses, NoAddress::MachineWithout(name, kind))
}

fn node_port(reach: &Reach, service: Option<&Service>) -> Result<u16, NoAddress> {
    if reach.node_port.is_none() && reach.shards > 1 {
        return Err(NoAddress::NeedsNodePort);
    }
    let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_ref());
    let first = ports.into_iter().flatten().find_map(|port| port.node_port);
    first
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(NoAddress::NotYet)
}

fn some(addresses: Vec<IpAddr>, otherwise: NoAddress) -> Result<Vec<IpAddr>, NoAddress> {
    if addresses.is_empty() {
        Err(otherwise)
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(reach: Value) -> Result<(Vec<String>, Option<u16>), NoAddress> {
        let reach: Reach = serde_json::from_value(reach).unwrap();
        let pod = serde_json::from_value(
            json!({"status": {"podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]}}),
        )
        .unwrap();
        let machine =
            serde_json::from_value(json!({"metadata": {"name": "m"}, "status": {"addresses": [
                {"type": "Hostname", "address": "m"},
                {"type": "InternalIP", "address": "192.168.0.1"},
                {"type": "ExternalIP", "address": "198.51.100.1"},
            ]}}))
            .unwrap();
        let service = serde_json::from_value(json!({
            "spec": {"ports": [{"port": 7000, "nodePort": 30004}, {"port": 7001, "nodePort": 30005}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
        }))
        .unwrap();
        let public = public(&reach, &pod, Some(&machine), Some(&service))?;
        Ok((
            public.addresses.iter().map(ToString::to_string).collect(),
            public.media_port,
        ))
    }

    #[test]
    fn each_way_to_reach_a_pod_has_its_address() {
        for (reach, expected, port) in [
            (json!({}), vec!["198.51.100.1"], None),
            (
                json!({"address": "NodeInternalIP"}),
                vec!["192.168.0.1"],
                None,
            ),
            (json!({"mode": "PodIP"}), vec!["10.0.0.9", "fd00::9"], None),
            (json!({"mode": "LoadBalancer"}), vec!["203.0.113.7"], None),
            (
                json!({"address": "Fixed", "fixedAddresses": ["192.0.2.1"]}),
                vec!["192.0.2.1"],
                None,
            ),
            (
                json!({"mode": "NodePort", "nodePort": 30004}),
                vec!["198.51.100.1"],
                Some(30004),
            ),
            (
                json!({"mode": "NodePort", "shards": 1}),
                vec!["198.51.100.1"],
                Some(30004),
            ),
        ] {
            let (addresses, media_port) = found(reach.clone()).unwrap();
            assert_eq!(
                (addresses, media_port),
                (expected.iter().map(ToString::to_string).collect(), port),
                "{reach}"
            );
        }
        assert_eq!(
            found(json!({"mode": "NodePort"})),
            Err(NoAddress::NeedsNodePort)
        );
    }

    #[test]
    fn it_says_what_is_missing() {
        let of = |reach: Value, machine: Value, service: Value| {
            let reach = serde_json::from_value(reach).unwrap();
            let machine: Option<Node> = serde_json::from_value(machine).unwrap();
            let service: Option<Service> = serde_json::from_value(service).unwrap();
            public(&reach, &Pod::default(), machine.as_ref(), service.as_ref()).unwrap_err()
        };
        let bare = json!({"metadata": {"name": "m"}});
        let named = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}});
        assert_eq!(of(json!({}), json!(null), json!(null)), NoAddress::NotYet);
        assert_eq!(
            of(json!({}), bare, json!(null)),
            NoAddress::MachineWithout("m".into(), "InternalIP")
        );
        assert_eq!(
            of(json!({"mode": "PodIP"}), json!(null), json!(null)),
            NoAddress::NotYet
        );
        assert_eq!(
            of(json!({"mode": "LoadBalancer"}), json!(null), json!({})),
            NoAddress::ServiceWithout
        );
        assert_eq!(
            of(json!({"mode": "LoadBalancer"}), json!(null), named),
            NoAddress::OnlyName("lb.example".into())
        );
    }
}
