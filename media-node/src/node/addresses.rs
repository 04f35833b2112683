//! How clients reach the node: the addresses that it was told, and what its answers say of them.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLockReadGuard};

use aws_lc_rs::rand::SecureRandom;
use showrunner_protocol::control::PublicAddresses;
use showrunner_sdp::{Candidate, IceParameters, Local};
use showrunner_transport::IceCredentials;

use super::Node;

/// Addresses that nobody could reach a node at.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAddresses {
    /// There is none.
    #[error("there is no address among them")]
    None,
    /// The ports end before the shards do.
    #[error("{0} shards don't fit above that port")]
    Ports(usize),
}

impl Node {
    /// Learns how clients reach this node: from now on answers say so, and sessions are taken.
    ///
    /// # Errors
    /// If there is no address, or a shard would have a port beyond the last.
    pub fn tell_addresses(&self, public: PublicAddresses) -> Result<(), InvalidAddresses> {
        let shards = self.0.parts.shards.len();
        let ports_from = |first: u16| usize::from(u16::MAX - first) + 1;
        if public.addresses.is_empty() {
            return Err(InvalidAddresses::None);
        }
        if public
            .media_port
            .is_some_and(|first| ports_from(first) < shards)
        {
            return Err(InvalidAddresses::Ports(shards));
        }
        let mut known = self
            .0
            .public
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&public) {
            let (addresses, port) = (&public.addresses, public.media_port);
            tracing::info!(?addresses, ?port, "clients reach the node here");
            *known = Some(public);
        }
        Ok(())
    }

    /// What it was told, if it was yet.
    pub(super) fn public(&self) -> RwLockReadGuard<'_, Option<PublicAddresses>> {
        self.0.public.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a shard is reached.
    pub(super) fn candidates(&self, shard: usize) -> Vec<Candidate> {
        let public = self.public();
        let Some(public) = public.as_ref() else {
            return Vec::new();
        };
        let bound = self.0.parts.shards.get(shard).map_or(0, |(_, port)| *port);
        let port = match (public.media_port, u16::try_from(shard)) {
            (Some(first), Ok(shard)) => first.saturating_add(shard),
            _ => bound,
        };
        let addresses = || public.addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        addresses()
            .map(Candidate::udp)
            .chain(addresses().map(Candidate::tcp_passive))
            .collect()
    }

    /// This node's end of a session, as its SDP describes it.
    pub(super) fn local_description(&self, ice: &IceCredentials, shard: usize) -> Local {
        let mut id = [0; 8];
        // The session id of an SDP only has to be unlikely to clash (RFC 8866 §5.2).
        let _ = self.0.random.fill(&mut id);
        Local {
            ice: IceParameters {
                ufrag: ice.ufrag.clone(),
                pwd: ice.pwd.clone(),
            },
            fingerprint: self.0.parts.fingerprint.0,
            candidates: self.candidates(shard),
            session_id: u64::from_be_bytes(id) >> 2,
        }
    }
}
