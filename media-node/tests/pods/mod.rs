//! Pods that call one another, over TLS as in a cluster.

#![allow(dead_code, unreachable_pub)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use media_node::http::{ControlAccess, HttpConfig};
use media_node::node::{Peers, Rooms};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use showrunner_door::{Door, Tls};
use showrunner_protocol::control::{LinkAnswer, POD_SERVER_NAME, RoomStatus};
use showrunner_protocol::token::{Caller, Role};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::cluster::{Dir, ROOM, SECRET, credential, grant};
use crate::peer::{Peer, Who};
use crate::support::{Answer, Call, HOST, Harness, JSON, SDP, VIEWER, WHEP, WHIP};

/// Where the operator puts another room, where its hosts come, and its viewers.
const OTHER_ROOM: &str = "/v1/rooms/shop/other";
pub const OTHER_WHIP: &str = "/whip/shop/other";
pub const OTHER_WHEP: &str = "/whep/shop/other";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who signs the certificates of pods.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// How links reach a pod.
#[derive(Clone)]
enum Way {
    /// From its socket to the other pod's, as in a cluster.
    Straight,
    /// One of so many datagrams is lost.
    Lossy { one_of: u32 },
    /// None comes through once it is frozen.
    Freezing(watch::Receiver<bool>),
}

/// A pod.
pub struct Pod {
    pub harness: Harness,
    pub https: SocketAddr,
    /// It hears and says nothing any more.
    freeze: Option<watch::Sender<bool>>,
    _dir: Dir,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A pod without rooms.
    pub async fn pod(&self) -> Pod {
        self.pod_with(Way::Straight).await
    }

    /// A pod that loses one of so many datagrams on its links, in either direction.
    pub async fn pod_behind_loss(&self, one_of: u32) -> Pod {
        self.pod_with(Way::Lossy { one_of }).await
    }

    /// A pod that may freeze.
    pub async fn pod_that_may_freeze(&self) -> Pod {
        let (freeze, freezes) = watch::channel(false);
        let pod = self.pod_with(Way::Freezing(freezes)).await;
        Pod {
            freeze: Some(freeze),
            ..pod
        }
    }

    async fn pod_with(&self, way: Way) -> Pod {
        let dir = Dir::new();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([POD_SERVER_NAME.to_owned()]).expect("a pod");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let ca = dir.put("ca.crt", &self.certificate);
        let chain = dir.put("tls.crt", &certificate.pem());
        let key = dir.put("tls.key", &key.serialize_pem());
        let access = ControlAccess::from_file(&dir.put("control.key", SECRET)).expect("good keys");
        let config = HttpConfig {
            control: Some(access.clone()),
            ..HttpConfig::default()
        };
        let mut harness = Harness::taking(Rooms::Assigned { most: 3 }, config, 100);
        harness.bearer = Some(|path| match path {
            WHIP => grant("sale", "u-1", Role::Host),
            _ if path.starts_with("/v1/") => credential(Caller::Operator),
            _ => grant("sale", "u-1", Role::Host),
        });
        let peers = Peers::new(access.keys(), &ca).expect("an authority");
        harness.node.call_peers(peers);
        let through = from_fn(move |request: Request, next: Next| {
            let way = way.clone();
            async move { redirect(request, next, way).await }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let https = listener.local_addr().expect("an address");
        let door = Door {
            listener,
            router: harness.router.clone().layer(through),
            tls: Some(Tls::from_files(&chain, &key).expect("a certificate")),
            max_connections: 100,
        };
        tokio::spawn(door.serve(std::future::pending(), Duration::ZERO));
        Pod {
            harness,
            https,
            freeze: None,
            _dir: dir,
        }
    }
}

impl Pod {
    /// Hosts publish to it.
    pub async fn is_origin(&self, revision: u64) {
        self.assign(json!({ "kind": "origin" }), revision).await;
    }

    /// It takes the room from another pod.
    pub async fn takes_from(&self, source: &Pod, revision: u64) {
        let source = json!({ "address": source.https });
        self.assign(json!({ "kind": "edge", "source": source }), revision)
            .await;
    }

    /// It is a viewer of another server; of which it was told before, if that is not said.
    pub async fn pulls_from(&self, source: serde_json::Value, revision: u64) {
        let host = json!({ "kind": "pull", "from": source });
        let role = json!({ "kind": "origin" });
        self.assign_with(role, host, revision).await;
    }

    async fn assign(&self, role: serde_json::Value, revision: u64) {
        self.assign_with(role, json!({ "kind": "publish" }), revision)
            .await;
    }

    async fn assign_with(&self, role: serde_json::Value, host: serde_json::Value, revision: u64) {
        let assignment = json!({
            "uid": "u-1",
            "generation": 1,
            "revision": revision,
            "role": role,
            "host": host,
        });
        let request = self.harness.request("PUT", ROOM);
        let answer = request.body(JSON, assignment.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.body);
    }

    /// How the room is there.
    pub fn room(&self) -> RoomStatus {
        self.room_of(ROOM)
    }

    fn room_of(&self, path: &str) -> RoomStatus {
        let rooms = self.harness.node.status().rooms;
        let is_it = |room: &RoomStatus| path.ends_with(&room.name.to_string());
        rooms.into_iter().find(is_it).expect("a room")
    }

    /// Another room, for people who may be in it.
    pub fn other(&self) -> Harness {
        self.harness.showing(|path| match path {
            _ if path.starts_with("/v1/") => credential(Caller::Operator),
            _ => grant("other", "u-2", Role::Host),
        })
    }

    /// How the other room is there.
    pub fn other_room(&self) -> RoomStatus {
        self.room_of(OTHER_ROOM)
    }

    /// The other room has its hosts here, or takes it from another pod.
    pub async fn has_other(&self, source: Option<&Pod>) {
        let role = match source {
            Some(source) => json!({ "kind": "edge", "source": { "address": source.https } }),
            None => json!({ "kind": "origin" }),
        };
        let assignment = json!({ "uid": "u-2", "generation": 1, "revision": 1, "role": role });
        let request = self.harness.request("PUT", OTHER_ROOM);
        let answer = request.body(JSON, assignment.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.body);
    }

    /// Links to it hear nothing of it any more.
    pub fn freeze(&self) {
        let freeze = self.freeze.as_ref();
        freeze.expect("one that may").send_replace(true);
    }
}

impl Harness {
    /// What comes of a host's offer.
    pub async fn publish_raw(&self) -> Answer {
        self.request("POST", WHIP).body(SDP, HOST).await
    }

    /// What comes of a viewer's offer.
    pub async fn watch_raw(&self) -> Answer {
        self.request("POST", WHEP).body(SDP, VIEWER).await
    }
}

/// Until something is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let result = tokio::time::timeout(PATIENCE, wait).await;
    assert!(result.is_ok(), "not so: {what}");
}

/// A viewer who has joined there, once the room is live.
pub async fn viewer(pod: &Pod) -> Peer {
    until("the room is live there", || {
        pod.room().video_codec.is_some()
    })
    .await;
    let mut viewer = Peer::viewer(&pod.harness, Who::anyone()).await;
    viewer.connect().await;
    viewer
}

/// The host sends frames; viewers get each once, in order, numbered without a gap.
pub async fn carry(host: &mut Peer, frames: std::ops::Range<u32>, viewers: &mut [&mut Peer]) {
    let mut last = vec![None; viewers.len()];
    for number in frames {
        host.send_frame(number).await;
        for (viewer, last) in viewers.iter_mut().zip(&mut last) {
            let packet = viewer.next_packet().await;
            assert_eq!(packet.number(), number);
            assert!(last.is_none_or(|last: u16| packet.seq == last.wrapping_add(1)));
            *last = Some(packet.seq);
        }
    }
}

/// Has a link's datagrams come by a socket of the test's own, if they are not to come straight.
async fn redirect(request: Request, next: Next, way: Way) -> Response {
    if matches!(way, Way::Straight) {
        return next.run(request).await;
    }
    let is_link = request.uri().path().ends_with("/links");
    let (mut head, body) = next.run(request).await.into_parts();
    if !is_link || head.status != StatusCode::CREATED {
        return Response::from_parts(head, body);
    }
    let body = to_bytes(body, 1 << 16).await.expect("a body");
    let mut answer: LinkAnswer = serde_json::from_slice(&body).expect("an answer");
    let pod = SocketAddr::from((Ipv4Addr::LOCALHOST, answer.port));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("a socket");
    answer.port = socket.local_addr().expect("an address").port();
    answer.candidates.clear();
    tokio::spawn(pass_on(socket, pod, way));
    head.headers.remove(CONTENT_LENGTH);
    let text = serde_json::to_vec(&answer).expect("JSON");
    Response::from_parts(head, Body::from(text))
}

async fn pass_on(socket: UdpSocket, pod: SocketAddr, way: Way) {
    let (mut edge, mut count) = (None, 0u32);
    let mut buffer = [0; 2048];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        let to = match from == pod {
            true => edge,
            false => {
                edge = Some(from);
                Some(pod)
            }
        };
        // RTP and RTCP alone: handshakes have losses of their own tests.
        let is_media = (128..192).contains(&buffer[0]);
        count += u32::from(is_media);
        let is_lost = match &way {
            Way::Straight => false,
            Way::Lossy { one_of } => is_media && count % one_of == 0,
            Way::Freezing(is_frozen) => *is_frozen.borrow(),
        };
        if let Some(to) = to
            && !is_lost
        {
            // The pod may have ended.
            let _ = socket.send_to(&buffer[..len], to).await;
        }
    }
}

impl Call {
    /// Shows something else than people of the harness do.
    pub fn replace_bearer(mut self, token: &str) -> Call {
        let headers = self.headers_mut();
        headers.remove("authorization");
        self.header("authorization", &format!("Bearer {token}"))
    }
}
