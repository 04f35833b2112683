//! A node of a cluster, and what the operator and the gateway show it.

#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use media_node::http::{ControlAccess, HttpConfig};
use media_node::node::Rooms;
use serde_json::json;
use showrunner_protocol::room::{RoomName, RoomUid};
use showrunner_protocol::token::{Caller, ControlKeys, Grant, Role};

use crate::support::{Answer, Call, HOST, Harness, JSON, SDP, VIEWER, WHEP, WHIP};

/// What the chart would have made.
pub const SECRET: &str = "a secret that only this test knows of";
/// Where the operator puts the room of [`WHIP`] and [`WHEP`].
pub const ROOM: &str = "/v1/rooms/shop/sale";
/// Rooms that the node takes.
pub const MAX_ROOMS: usize = 3;

const ROOMS: Rooms = Rooms::Assigned { most: MAX_ROOMS };

/// A directory of the test's own, gone with it.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("media-node-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }

    /// Writes a file, and tells where.
    pub fn put(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).expect("a file");
        path
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub struct Pod {
    pub harness: Harness,
    pub access: ControlAccess,
    pub dir: Dir,
}

pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

pub fn keys(secret: &str) -> ControlKeys {
    ControlKeys::parse(secret).expect("a good secret")
}

pub fn room(name: &str) -> RoomName {
    RoomName::new("shop", name).expect("a name")
}

pub fn uid(uid: &str) -> RoomUid {
    RoomUid::new(uid).expect("a uid")
}

/// What the operator or the gateway shows.
pub fn credential(caller: Caller) -> String {
    keys(SECRET).sign(caller, now()).expect("randomness")
}

/// What the gateway shows for somebody of this role.
pub fn grant(name: &str, of: &str, role: Role) -> String {
    let grant = Grant {
        room: room(name),
        uid: uid(of),
        role,
    };
    let signed = keys(SECRET).sign_grant(&grant, now());
    signed.expect("randomness")
}

/// The body that assigns a room.
pub fn assignment(uid: &str, generation: u64) -> String {
    json!({ "uid": uid, "generation": generation, "role": { "kind": "origin" } }).to_string()
}

impl Call {
    /// Shows a credential.
    pub fn shows(self, token: &str) -> Call {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn operator(self) -> Call {
        self.shows(&credential(Caller::Operator))
    }

    pub fn gateway(self) -> Call {
        self.shows(&credential(Caller::Gateway))
    }
}

impl Pod {
    /// Without rooms.
    pub fn empty() -> Pod {
        Pod::of(|config| Harness::taking(ROOMS, config, 100))
    }

    /// Just started.
    pub fn untold() -> Pod {
        Pod::of(|config| Harness::untold(2, ROOMS, config, 100))
    }

    fn of(harness: impl FnOnce(HttpConfig) -> Harness) -> Pod {
        let dir = Dir::new();
        let file = dir.put("control.key", SECRET);
        let access = ControlAccess::from_file(&file).expect("good keys");
        let config = HttpConfig {
            control: Some(access.clone()),
            ..HttpConfig::default()
        };
        Pod {
            harness: harness(config),
            access,
            dir,
        }
    }

    /// With the room `shop/sale`, whose uid is `u-1`.
    pub async fn with_room() -> Pod {
        let pod = Pod::empty();
        let answer = pod.assign("sale", &assignment("u-1", 1)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        pod
    }

    /// With a host on air in it.
    pub async fn on_air() -> (Pod, Answer) {
        let pod = Pod::with_room().await;
        let host = pod.publish(&grant("sale", "u-1", Role::Host)).await;
        assert_eq!(host.status, StatusCode::CREATED, "{}", host.body);
        pod.harness.connect_all();
        let is_on_air = |node: &media_node::node::Node| node.status().rooms[0].publishers == 1;
        pod.harness.until(is_on_air).await;
        (pod, host)
    }

    pub fn request(&self, method: &str, path: &str) -> Call {
        self.harness.request(method, path)
    }

    pub async fn assign(&self, name: &str, assignment: &str) -> Answer {
        let request = self.request("PUT", &format!("/v1/rooms/shop/{name}"));
        request.operator().body(JSON, assignment.to_owned()).await
    }

    pub async fn tell(&self, addresses: serde_json::Value) -> Answer {
        let request = self.request("PUT", "/v1/addresses").operator();
        request.body(JSON, addresses.to_string()).await
    }

    pub async fn end(&self, name: &str, uid: &str) -> Answer {
        let path = format!("/v1/rooms/shop/{name}?uid={uid}");
        self.request("DELETE", &path).operator().send().await
    }

    pub async fn drain(&self, seconds: u32) -> Answer {
        let body = json!({ "deadlineSeconds": seconds }).to_string();
        let request = self.request("POST", "/v1/drain").operator();
        request.body(JSON, body).await
    }

    pub async fn status(&self) -> serde_json::Value {
        let answer = self.request("GET", "/v1/status").operator().send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub async fn publish(&self, token: &str) -> Answer {
        let request = self.request("POST", WHIP).shows(token);
        request.body(SDP, HOST).await
    }

    pub async fn watch(&self, token: &str) -> Answer {
        let request = self.request("POST", WHEP).shows(token);
        request.body(SDP, VIEWER).await
    }

    /// A viewer's session, and its events of these types.
    pub async fn viewer(&self, types: &str) -> (Answer, crate::support::Stream) {
        let token = grant("sale", "u-1", Role::Viewer);
        let session = self.watch(&token).await;
        assert_eq!(session.status, StatusCode::CREATED, "{}", session.body);
        let events = self.follow(&session, &token, types).await;
        (session, events)
    }

    /// When a session is told to go elsewhere.
    pub async fn events_of(&self, session: &Answer, token: &str) -> crate::support::Stream {
        self.follow(session, token, "[\"reconnect\"]").await
    }

    async fn follow(&self, session: &Answer, token: &str, types: &str) -> crate::support::Stream {
        let path = format!("{}/events", session.location());
        let made = self.request("POST", &path).shows(token);
        let made = made.body(JSON, types.to_owned()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let events = self.request("GET", made.location()).shows(token);
        events.stream().await
    }

    /// Until a session is over.
    pub async fn until_gone(&self, session: &Answer) {
        let id = session.location().rsplit('/').next();
        let id = id.and_then(media_node::node::SessionId::parse);
        let id = id.expect("an id");
        let is_gone = |node: &media_node::node::Node| node.place(&id).is_none();
        self.harness.until(is_gone).await;
    }
}
