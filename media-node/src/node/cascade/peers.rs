//! The pods that this one calls.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use showrunner_door::pods::{PodRequest, Pods};
use showrunner_door::{BoxError, Files, FilesError};
use showrunner_protocol::control::{HEALTH_PATH, POD_SERVER_NAME};
use showrunner_protocol::token::ControlKeys;
use tokio::time::timeout;

use crate::node::Node;

/// How long another pod may take to say that it is there: the operator waits for the answer.
const QUICK: Duration = Duration::from_millis(350);

/// How this pod calls others: with what it shows them, and whom it believes. Both change with their files.
#[derive(Clone)]
pub struct Peers {
    pub(super) keys: Files<ControlKeys>,
    pub(super) pods: Files<Pods>,
}

impl Peers {
    /// With keys to sign with and the file of the authority that other pods' certificates are of.
    ///
    /// # Errors
    /// If that can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(keys: Files<ControlKeys>, authority: &Path) -> Result<Peers, FilesError> {
        let parse = |files: &[Vec<u8>]| -> Result<Pods, BoxError> {
            Ok(Pods::over_tls(&files.concat(), POD_SERVER_NAME)?)
        };
        let pods = Files::watch(&[authority], parse)?;
        Ok(Peers { keys, pods })
    }
}

impl Node {
    /// From now on rooms can be taken from other pods.
    pub fn call_peers(&self, peers: Peers) {
        // It is told once, when the node starts.
        let _ = self.0.peers.set(peers);
    }

    /// Whether another pod answers this one at once, whatever it says; none if this one does not know how to call it.
    pub async fn is_answered_by(&self, peer: SocketAddr) -> Option<bool> {
        let pods = self.0.peers.get()?.pods.get();
        let request = PodRequest {
            method: Method::GET,
            path: HEALTH_PATH.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = timeout(QUICK, pods.call(peer, &request)).await;
        Some(matches!(answer, Ok(Ok(_))))
    }
}
