//! Media pods: real nodes with their HTTPS, each in a runtime of its own, so that it can die.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use media_node::http::{ControlAccess, HttpConfig, router};
use media_node::metrics::ShardMetrics;
use media_node::node::{Node, NodeParts, Rooms};
use media_node::shard::message::{SessionNumber, ShardEvent};
use media_node::shard::{Bound, ShardConfig};
use showrunner_door::{Door, Tls};
use showrunner_protocol::control::{
    HostSource, PodRole, PublicAddresses, RoomAssignment, RoomLimits, Title, VideoRules,
};
use showrunner_protocol::room::RoomUid;
use showrunner_transport::dtls::Identity;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedSender;

use crate::support::{Dir, PATIENCE, room, uid};

/// A media pod: a node with a runtime of its own, which can die with it at once.
pub(crate) struct Pod {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    shard: UnboundedSender<ShardEvent>,
    runtime: Option<Runtime>,
}

impl Pod {
    /// Starts one that was told of no rooms.
    pub(crate) async fn start(dir: &Dir, bind: SocketAddr) -> Pod {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let [keys, chain, key] = ["control-keys", "tls.crt", "tls.key"].map(|f| dir.path(f));
        let started = runtime.spawn(serve(keys, chain, key, bind));
        let (node, shard, address) = started.await.unwrap();
        Pod {
            node,
            address,
            shard,
            runtime: Some(runtime),
        }
    }

    /// Tells it of the room, as the operator does.
    pub(crate) fn assign(&self) {
        self.assign_as(&uid());
    }

    pub(crate) fn assign_as(&self, uid: &RoomUid) {
        let assignment = RoomAssignment {
            uid: uid.clone(),
            generation: 1,
            revision: 0,
            title: Title::default(),
            role: PodRole::Origin,
            limits: RoomLimits::default(),
            leave: None,
            awaits_host: false,
            host: HostSource::Publish,
            video: VideoRules::default(),
        };
        self.node.assign(room(), assignment).unwrap();
    }

    /// Has the shard report that all hosts and viewers are connected.
    pub(crate) async fn connected(&self) {
        for number in 0..8 {
            let number = SessionNumber(number);
            assert!(self.shard.send(ShardEvent::Connected { number }).is_ok());
        }
        let wait = async {
            let is_on = |node: &Node| node.status().rooms.iter().any(|r| r.video_codec.is_some());
            while !is_on(&self.node) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    /// All of it is gone, in the middle of whatever it does.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        if let Some(runtime) = self.runtime.take() {
            let end = move || runtime.shutdown_timeout(PATIENCE);
            tokio::task::spawn_blocking(end).await.unwrap();
        }
        self.address
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.node.shut_down();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    keys: PathBuf,
    chain: PathBuf,
    key: PathBuf,
    bind: SocketAddr,
) -> (Node, UnboundedSender<ShardEvent>, SocketAddr) {
    let (node, shard) = node();
    let config = HttpConfig {
        control: Some(ControlAccess::from_file(&keys).unwrap()),
        ..HttpConfig::default()
    };
    let listener = TcpListener::bind(bind).await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door {
        listener,
        router: router(node.clone(), config),
        tls: Some(Tls::from_files(&chain, &key).unwrap()),
        max_connections: 100,
    };
    tokio::spawn(door.serve(std::future::pending(), Duration::ZERO));
    (node, shard, address)
}

fn node() -> (Node, UnboundedSender<ShardEvent>) {
    let identity = Arc::new(Identity::generate().unwrap());
    let bound = Bound::bind(ShardConfig {
        index: 0,
        bind: (Ipv4Addr::LOCALHOST, 0).into(),
        core: None,
    });
    let bound = bound.unwrap();
    let parts = NodeParts {
        shards: vec![(bound.handle(), bound.port())],
        fingerprint: identity.fingerprint(),
        max_sessions: 100,
        rooms: Rooms::Assigned { most: 10 },
    };
    let relays = vec![bound.relay()];
    let (tell, events) = tokio::sync::mpsc::unbounded_channel();
    let started = bound.start(identity, relays, tell.clone(), ShardMetrics::new(0));
    started.unwrap();
    let node = Node::new(parts, events);
    let public = PublicAddresses {
        addresses: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
        media_port: None,
    };
    node.tell_addresses(public).unwrap();
    (node, tell)
}
