//! A gateway with keys of its own and a view filled by hand.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use serde_json::json;
use showrunner_operator::gateway::access::{Access, Admission};
use showrunner_operator::gateway::address::PodName;
use showrunner_operator::gateway::config::Config;
use showrunner_operator::gateway::keys::Keys;
use showrunner_operator::gateway::live_view::LiveView;
use showrunner_operator::gateway::metrics::Metrics;
use showrunner_operator::gateway::view::{self, Room};
use showrunner_operator::gateway::{Gateway, GatewayParts};
use showrunner_protocol::RoomName;
use showrunner_protocol::control::POD_SERVER_NAME;
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{AUDIENCE, ISSUER, Role, RoomGrant, SecretKey, Signer, Validity};

use crate::call::{Answer, Call};
use crate::pod::Pod;

/// What Chromium publishes with.
pub(crate) const HOST: &str =
    include_str!("../../../media-node/sdp/tests/offers/chromium-156-whip.sdp");
/// What Chromium watches with.
pub(crate) const VIEWER: &str =
    include_str!("../../../media-node/sdp/tests/offers/chromium-156-whep.sdp");

pub(crate) const SDP: &str = "application/sdp";
pub(crate) const WHIP: &str = "/whip/shop/sale";
pub(crate) const WHEP: &str = "/whep/shop/sale";
pub(crate) const SESSIONS: &str = "/whep/shop/sale/sessions/media.eu-0";

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) fn room() -> RoomName {
    RoomName::new("shop", "sale").unwrap()
}

pub(crate) fn uid() -> RoomUid {
    RoomUid::new("u-1").unwrap()
}

/// An edge that has its room.
pub(crate) fn edge_at(pod: &str) -> view::Edge {
    view::Edge {
        pod: pod_name(pod),
        is_fed: true,
        is_leaving: false,
    }
}

pub(crate) fn pod_name(name: &str) -> PodName {
    PodName::new("media", name).unwrap()
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A directory of the test's own.
pub(crate) struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("showrunner-gateway-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(file), text).unwrap();
    }

    fn flag(&self, flag: &str, file: &str) -> String {
        format!("--{flag}={}", self.path(file).display())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A key of tokens, with its public half as strangers know it.
pub(crate) struct TokenKey {
    pub(crate) secret: SecretKey,
    pub(crate) public: Vec<u8>,
}

impl TokenKey {
    pub(crate) fn new() -> TokenKey {
        let pair = Ed25519KeyPair::generate().unwrap();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'static> = pair.as_der().unwrap();
        TokenKey {
            secret: SecretKey::ed25519(pkcs8.as_ref()).unwrap(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn jwk(&self) -> serde_json::Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.secret.kid(),
            "x": URL_SAFE_NO_PAD.encode(&self.public),
        })
    }
}

pub(crate) fn jwks(keys: &[&TokenKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A gateway and what it trusts.
pub(crate) struct Cluster {
    pub(crate) dir: Dir,
    pub(crate) view: Arc<LiveView>,
    pub(crate) gateway: Gateway,
    pub(crate) keys: Keys,
    pub(crate) key: TokenKey,
    public: Router,
    admin: Router,
}

/// Makes an authority, and a certificate of its for all pods.
fn write_certificates(dir: &Dir) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap());
    let authority = authority.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = CertificateParams::new([POD_SERVER_NAME.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    dir.write("ca.crt", authority.as_ref().pem());
    dir.write("tls.crt", certificate.pem());
    dir.write("tls.key", key.serialize_pem());
}

fn files(dir: &Dir) -> [String; 3] {
    [
        dir.flag("pods-ca", "ca.crt"),
        dir.flag("control-key-file", "control-keys"),
        dir.flag("token-keys-file", "jwks.json"),
    ]
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        Cluster::with(&[])
    }

    /// With further flags of the gateway.
    pub(crate) fn with(flags: &[&str]) -> Cluster {
        Cluster::prepared(flags, |_| {})
    }

    /// With further flags, and files that those name.
    pub(crate) fn prepared(flags: &[&str], prepare: impl FnOnce(&Dir)) -> Cluster {
        let cluster = Cluster::unheard(flags, prepare);
        cluster.view.complete();
        cluster
    }

    /// Whose watches have not said yet what there is.
    pub(crate) fn unheard(flags: &[&str], prepare: impl FnOnce(&Dir)) -> Cluster {
        let dir = Dir::new();
        let key = TokenKey::new();
        write_certificates(&dir);
        dir.write("control-keys", "a secret of this test, 32 bytes+\n");
        dir.write("jwks.json", jwks(&[&key]));
        prepare(&dir);
        let flags = flags
            .iter()
            .map(|flag| flag.replace("{dir}", &dir.0.display().to_string()));
        let config = ["gateway".to_owned()]
            .into_iter()
            .chain(files(&dir))
            .chain(flags);
        let config = Config::parse_from(config);
        let view = Arc::new(LiveView::default());
        let keys = Keys::from_files(&config).unwrap();
        let gateway = Gateway::new(GatewayParts {
            view: Arc::clone(&view),
            keys: keys.clone(),
            metrics: Metrics::new().unwrap(),
            region: config.region.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            address_limit: config.address_limit,
            token_limit: config.token_limit,
        });
        Cluster {
            public: gateway.public(config.web_dir.as_deref()),
            admin: gateway.admin(),
            dir,
            view,
            gateway,
            keys,
            key,
        }
    }

    /// The flags that name its files.
    pub(crate) fn files(&self) -> [String; 3] {
        files(&self.dir)
    }

    /// One pod with the room, which the view knows.
    pub(crate) async fn with_room() -> (Cluster, Pod) {
        let cluster = Cluster::new();
        let pod = cluster.pod("eu-0").await;
        pod.assign();
        cluster.put_room(|room| room.origin = Some(pod_name("eu-0")));
        (cluster, pod)
    }

    /// Starts a pod, which the view knows and which has no rooms.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        let pod = Pod::start(&self.dir, (Ipv4Addr::LOCALHOST, 0).into()).await;
        self.put_pod(name, pod.address);
        pod
    }

    pub(crate) fn put_pod(&self, name: &str, address: SocketAddr) {
        let pod = view::Pod {
            address,
            region: String::new(),
            readiness: view::Readiness::Ready,
        };
        self.view.write(|view| view.put_pod(pod_name(name), pod));
    }

    /// The room as the view has it: hosts need a token, viewers none.
    pub(crate) fn put_room(&self, change: impl FnOnce(&mut Room)) {
        let mut known = Room {
            access: Access {
                uid: uid(),
                publish: Admission::Token,
                watch: Admission::Anyone,
            },
            has_ended: false,
            ends_at: None,
            origin: None,
            edges: Vec::new(),
        };
        change(&mut known);
        self.view.write(|view| view.put_room(room(), known));
    }

    pub(crate) fn token(&self, role: Role) -> String {
        self.token_of(&room(), &uid(), role, now())
    }

    /// A token of an hour.
    pub(crate) fn token_of(&self, room: &RoomName, uid: &RoomUid, role: Role, from: u64) -> String {
        token(ISSUER, AUDIENCE, &self.key, (room, uid, role), from)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Call {
        Call::new(self.public.clone(), method, path)
    }

    pub(crate) async fn publish(&self) -> Answer {
        let call = self.request("POST", WHIP).token(&self.token(Role::Host));
        let answer = call.body(SDP, HOST).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer
    }

    pub(crate) async fn watch(&self) -> Answer {
        self.request("POST", WHEP).body(SDP, VIEWER).await
    }

    pub(crate) async fn ready(&self) -> StatusCode {
        let call = Call::new(self.admin.clone(), "GET", "/readyz");
        call.send().await.status
    }

    /// The value of a metric, by its name and labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let answer = Call::new(self.admin.clone(), "GET", "/metrics")
            .send()
            .await;
        let prefix = format!("showrunner_gateway_{name} ");
        let value = answer.body.lines().find_map(|l| l.strip_prefix(&prefix));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric is at least this.
    pub(crate) async fn counted(&self, name: &str, least: u64) {
        let wait = async {
            while self.metric(name).await < least {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{name} did not become {least}"));
    }
}

pub(crate) fn token(
    issuer: &str,
    audience: &str,
    key: &TokenKey,
    (room, uid, role): (&RoomName, &RoomUid, Role),
    from: u64,
) -> String {
    let grant = RoomGrant {
        subject: "somebody".to_owned(),
        room: room.clone(),
        uid: uid.clone(),
        role,
    };
    let valid = Validity {
        now: from,
        from,
        seconds: 3600,
    };
    let signer = Signer::new(issuer, audience, key.secret.clone());
    signer.sign(&grant, valid).unwrap()
}

/// That a file is where a built page would be.
pub(crate) fn write_page(dir: &Path) {
    fs::create_dir_all(dir.join("assets")).unwrap();
    fs::write(dir.join("index.html"), "<title>Showrunner</title>").unwrap();
    fs::write(dir.join("assets/index-abc123.js"), "export {}").unwrap();
}
