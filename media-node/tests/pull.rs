//! A room whose show comes from another server: this node is a viewer of it, as any other by WHEP.

mod cluster;
mod peer;
mod pods;
mod support;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use media_node::http::{HttpConfig, Token};
use peer::{Peer, Who};
use pods::{Authority, Pod, carry, until, viewer};
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use showrunner_door::{Door, Tls};
use showrunner_protocol::control::{PullFailure, PullStatus};
use support::{Harness, WHEP};
use tokio::net::TcpListener;

const TOKEN: &str = "what-viewers-show-there";

/// A server that the show is on.
struct Server {
    harness: Harness,
    url: String,
    /// Its own certificate is its authority.
    authority: String,
    /// Sessions that were ended by DELETE.
    deleted: Arc<AtomicUsize>,
    _dir: cluster::Dir,
}

impl Server {
    async fn new() -> Server {
        let harness = Harness::with(HttpConfig {
            watch_token: Some(Token::new(TOKEN)),
            ..HttpConfig::default()
        });
        let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let dir = cluster::Dir::new();
        let chain = dir.put("tls.crt", &made.cert.pem());
        let key = dir.put("tls.key", &made.signing_key.serialize_pem());
        let tls = Tls::from_files(&chain, &key).expect("a certificate");
        let deleted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&deleted);
        let counting = from_fn(move |request: Request, next: Next| {
            let is_end = request.method() == "DELETE";
            count.fetch_add(usize::from(is_end), Ordering::Relaxed);
            next.run(request)
        });
        let router = harness.router.clone().layer(counting);
        let port = serve(router, Some(tls)).await.port();
        Server {
            harness,
            url: format!("https://localhost:{port}{WHEP}"),
            authority: made.cert.pem(),
            deleted,
            _dir: dir,
        }
    }

    /// With somebody on air.
    async fn live() -> (Server, Peer) {
        let server = Server::new().await;
        let mut host = Peer::host(&server.harness, Who::anyone()).await;
        host.connect().await;
        server
            .harness
            .until(|node| node.status().rooms.iter().any(|r| r.publishers == 1))
            .await;
        (server, host)
    }

    /// As a pod is told of it.
    fn source(&self, version: &str, token: &str) -> Value {
        json!({
            "version": version,
            "url": self.url,
            "bearer": token,
            "authorities": self.authority,
            "allowInsecure": true,
        })
    }

    fn viewers(&self) -> u32 {
        let rooms = self.harness.node.status().rooms;
        rooms.iter().map(|room| room.viewers).sum()
    }
}

async fn serve(router: Router, tls: Option<Tls>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let door = Door {
        listener,
        router,
        tls,
        max_connections: 100,
    };
    tokio::spawn(door.serve(std::future::pending(), Duration::ZERO));
    address
}

/// How a pod stands with the server.
fn pull(pod: &Pod) -> PullStatus {
    pod.room().pull.expect("it is pulled")
}

fn failure(pod: &Pod) -> Option<PullFailure> {
    pull(pod).problem.map(|problem| problem.failure)
}

async fn connected(pod: &Pod) {
    until("the show is there", || pull(pod).connected).await;
}

#[tokio::test]
async fn a_show_comes_from_another_server_to_viewers_of_all_pods() {
    let (server, mut host) = Server::live().await;
    let authority = Authority::new();
    let (origin, edge) = (authority.pod().await, authority.pod().await);
    origin.pulls_from(server.source("1", TOKEN), 1).await;
    edge.takes_from(&origin, 1).await;
    connected(&origin).await;
    assert_eq!(pull(&origin).version, "1");
    assert_eq!((origin.room().publishers, server.viewers()), (1, 1));
    let (mut here, mut there) = (viewer(&origin).await, viewer(&edge).await);
    carry(&mut host, 0..100, &mut [&mut here, &mut there]).await;
    assert_eq!(origin.room().video_codec.as_deref(), Some("VP8"));
    // Nobody else may be its host.
    let refused = origin.harness.publish_raw().await;
    refused.is_problem(403, "pulled from another server");
    // When it is over, the server is told.
    let end = origin
        .harness
        .request("DELETE", "/v1/rooms/shop/sale?uid=u-1");
    assert_eq!(end.send().await.status, StatusCode::NO_CONTENT);
    until("the server has been told", || {
        server.viewers() == 0 && server.deleted.load(Ordering::Relaxed) == 1
    })
    .await;
}

#[tokio::test]
async fn viewers_who_need_a_picture_have_the_host_there_asked_for_one() {
    let (server, mut host) = Server::live().await;
    let pod = Authority::new().pod().await;
    pod.pulls_from(server.source("1", TOKEN), 1).await;
    connected(&pod).await;
    host.send_frame(1).await;
    let mut viewers = [viewer(&pod).await, viewer(&pod).await];
    host.be_asked_for_keyframe().await;
    host.send_frame(32).await;
    for viewer in &mut viewers {
        assert_eq!(viewer.next_packet().await.number(), 32);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_by_one_that_is_good() {
    let (server, _host) = Server::live().await;
    let pod = Authority::new().pod().await;
    pod.pulls_from(server.source("1", "wrong"), 1).await;
    until("it is refused", || {
        failure(&pod) == Some(PullFailure::Unauthorized)
    })
    .await;
    let message = pull(&pod).problem.expect("a problem").message;
    assert!(
        message.contains("401") && !message.contains("wrong"),
        "{message}"
    );
    // Whoever tells it may not know the token at the moment: it goes on with what it knows.
    pod.pulls_from(Value::Null, 1).await;
    assert_eq!(pull(&pod).version, "1");
    pod.pulls_from(server.source("2", TOKEN), 1).await;
    connected(&pod).await;
    assert_eq!((pull(&pod).version.as_str(), failure(&pod)), ("2", None));
    // Another token for the same show disturbs nobody.
    pod.pulls_from(server.source("3", "another"), 1).await;
    assert_eq!(pull(&pod).version, "3");
    assert!(pull(&pod).connected && server.viewers() == 1);
}

#[tokio::test]
async fn a_show_that_ends_there_is_said_and_tried_again() {
    let (server, mut host) = Server::live().await;
    let pod = Authority::new().pod().await;
    pod.pulls_from(server.source("1", TOKEN), 1).await;
    let mut here = viewer(&pod).await;
    carry(&mut host, 0..3, &mut [&mut here]).await;
    server.harness.node.shut_down();
    until("it has ended", || pull(&pod).problem.is_some()).await;
    assert!(!pull(&pod).connected);
    assert_eq!(pod.room().publishers, 0);
    let (next, mut host) = Server::live().await;
    pod.pulls_from(next.source("2", TOKEN), 1).await;
    connected(&pod).await;
    // Viewers have stayed.
    host.send_frame(64).await;
    while here.next_packet().await.number() != 64 {}
}

#[tokio::test]
async fn a_show_moves_to_the_next_origin_with_viewers_on_both_pods() {
    let (server, mut host) = Server::live().await;
    let authority = Authority::new();
    let (first, second) = (authority.pod().await, authority.pod().await);
    first.pulls_from(server.source("1", TOKEN), 1).await;
    second.takes_from(&first, 1).await;
    let (mut here, mut there) = (viewer(&first).await, viewer(&second).await);
    carry(&mut host, 0..5, &mut [&mut here, &mut there]).await;
    second.pulls_from(server.source("1", TOKEN), 2).await;
    first.takes_from(&second, 2).await;
    until("the next pod has it, and the one before not", || {
        second.room().publishers == 1 && first.room().publishers == 0
    })
    .await;
    until("the one before takes it from there", || {
        first.room().source.is_some_and(|s| s.hops == Some(0))
    })
    .await;
    until("the server has one viewer", || server.viewers() == 1).await;
    host.send_frame(64).await;
    for viewer in [&mut here, &mut there] {
        while viewer.next_packet().await.number() != 64 {}
    }
}

/// A server that answers every offer so.
async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    let router = Router::new().fallback(any(move || {
        let answer = answer.clone();
        async move { answer() }
    }));
    let address = serve(router, None).await;
    format!("http://{address}/whep")
}

fn created(kind: &'static str, body: impl Into<Body>) -> Response {
    let head = [(CONTENT_TYPE, kind), (LOCATION, "/session")];
    (StatusCode::CREATED, head, body.into()).into_response()
}

fn endless() -> Body {
    let chunk = || Ok::<_, Infallible>(Bytes::from_static(&[b'a'; 4096]));
    Body::from_stream(futures_util::stream::repeat_with(chunk))
}

#[tokio::test]
async fn servers_that_give_no_show_end_in_a_clear_state() {
    let pod = Authority::new().pod().await;
    const SDP: &str = "application/sdp";
    let status = |code: StatusCode| answering(move || code.into_response());
    let redirect = || (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/whep")]).into_response();
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let nobody = nobody.expect("a port").local_addr().expect("an address");
    let cases = [
        (
            status(StatusCode::UNAUTHORIZED).await,
            PullFailure::Unauthorized,
        ),
        (
            status(StatusCode::FORBIDDEN).await,
            PullFailure::Unauthorized,
        ),
        (status(StatusCode::NOT_FOUND).await, PullFailure::NotLive),
        (status(StatusCode::CONFLICT).await, PullFailure::NotLive),
        (status(StatusCode::OK).await, PullFailure::Refused),
        (status(StatusCode::BAD_GATEWAY).await, PullFailure::Refused),
        (
            answering(|| created(SDP, "junk")).await,
            PullFailure::BadAnswer,
        ),
        (
            answering(|| created("text/html", "<p>")).await,
            PullFailure::BadAnswer,
        ),
        (
            answering(|| created(SDP, endless())).await,
            PullFailure::BadAnswer,
        ),
        (answering(redirect).await, PullFailure::BadAnswer),
        (format!("http://{nobody}/whep"), PullFailure::Unreachable),
        ("ftp://127.0.0.1/whep".to_owned(), PullFailure::Invalid),
        ("http://a:b@127.0.0.1/whep".to_owned(), PullFailure::Invalid),
    ];
    for (number, (url, expected)) in cases.into_iter().enumerate() {
        let version = number.to_string();
        let source =
            json!({ "version": version, "url": url, "bearer": TOKEN, "allowInsecure": true });
        pod.pulls_from(source, 1).await;
        until(&format!("{url} is {expected:?}"), || {
            failure(&pod) == Some(expected)
        })
        .await;
        let problem = pull(&pod).problem.expect("a problem");
        assert!(!problem.message.contains(TOKEN), "{}", problem.message);
    }
}

#[tokio::test]
async fn servers_without_tls_and_of_this_machine_are_not_called_unless_that_is_allowed() {
    let (server, _host) = Server::live().await;
    let pod = Authority::new().pod().await;
    let plain = answering(|| StatusCode::NOT_FOUND.into_response()).await;
    for (version, url) in [("1", &plain), ("2", &server.url)] {
        let source = json!({ "version": version, "url": url, "authorities": server.authority });
        pod.pulls_from(source, 1).await;
        until("it is refused", || {
            let pull = pull(&pod);
            let failure = pull.problem.map(|problem| problem.failure);
            pull.version == version && failure == Some(PullFailure::Invalid)
        })
        .await;
    }
    assert_eq!(server.viewers(), 0);
    // And of no certificate that anybody else has signed.
    let (other, _) = Server::live().await;
    let mut source = server.source("3", TOKEN);
    source["authorities"] = json!(other.authority);
    pod.pulls_from(source, 1).await;
    until("it is not trusted", || {
        failure(&pod) == Some(PullFailure::Unreachable)
    })
    .await;
}
