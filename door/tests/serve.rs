//! A door on loopback, and clients that behave or don't. Time stands still and jumps when all wait, so patience runs
//! out at once.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::routing::{get, post};
use showrunner_door::{Door, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn door(router: Router, max_connections: usize) -> (Door, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let door = Door {
        listener,
        router,
        tls: None,
        max_connections,
    };
    (door, addr)
}

async fn open(router: Router, max_connections: usize) -> SocketAddr {
    let (door, addr) = door(router, max_connections).await;
    tokio::spawn(door.serve(pending(), Duration::ZERO));
    addr
}

/// Reads one answer without a body.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap();
    status.parse().unwrap()
}

/// All that comes until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset is closed as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn clients_that_ask_for_nothing_are_shown_out() {
    let addr = open(Router::new().route("/", get(async || ())), 10).await;
    for start in ["", "PRI * HTTP/2", "GET / HTTP/1.1\r\nhost: a\r\nx"] {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(start.as_bytes()).await.unwrap();
        let answer = rest(client).await;
        let is_timeout = answer.starts_with("HTTP/1.1 408");
        assert!(answer.is_empty() || is_timeout, "{start:?}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_its_answer_stays() {
    let answer_now = Arc::new(Notify::new());
    let (asked, when_asked) = oneshot::channel();
    let asked = Arc::new(Mutex::new(Some(asked)));
    let wait = Arc::clone(&answer_now);
    let handler = async move || {
        asked.lock().unwrap().take().unwrap().send(()).unwrap();
        wait.notified().await;
    };
    let addr = open(Router::new().route("/", get(handler)), 10).await;
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(REQUEST).await.unwrap();
    when_asked.await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    answer_now.notify_one();
    assert_eq!(status(&mut client).await, 200);
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_for_a_place() {
    type Seen = Arc<Mutex<Vec<SocketAddr>>>;
    let seen = Seen::default();
    let note = async |State(seen): State<Seen>, Extension(Peer(peer)): Extension<Peer>| {
        seen.lock().unwrap().push(peer);
    };
    let router = Router::new().route("/", get(note));
    let addr = open(router.with_state(Arc::clone(&seen)), 1).await;
    let mut first = TcpStream::connect(addr).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    assert_eq!(status(&mut first).await, 200);
    let mut second = TcpStream::connect(addr).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    assert_eq!(status(&mut first).await, 200);
    let (a, b) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    assert_eq!(*seen.lock().unwrap(), [a, a]);
    drop(first);
    assert_eq!(status(&mut second).await, 200);
    assert_eq!(*seen.lock().unwrap(), [a, a, b]);
}

/// A door whose only request is open: what stops it, what has it answered, its end, and the client.
async fn closing(grace: Duration) -> (oneshot::Sender<()>, Arc<Notify>, JoinHandle<()>, TcpStream) {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&go_on));
    let handler = async move || {
        enter.notify_one();
        wait.notified().await;
    };
    let (door, addr) = door(Router::new().route("/", post(handler)), 10).await;
    let (stop, stopped) = oneshot::channel();
    let stopped = async move { stopped.await.unwrap() };
    let served = tokio::spawn(door.serve(stopped, grace));
    let mut client = TcpStream::connect(addr).await.unwrap();
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    client.write_all(request).await.unwrap();
    entered.notified().await;
    (stop, go_on, served, client)
}

#[tokio::test]
async fn open_requests_are_finished_when_the_door_closes() {
    let (stop, go_on, served, mut client) = closing(Duration::from_secs(3600)).await;
    let addr = client.peer_addr().unwrap();
    stop.send(()).unwrap();
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    assert_eq!(status(&mut client).await, 200);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closing_door_waits_no_longer_than_its_grace() {
    let (stop, _go_on, served, _client) = closing(Duration::from_secs(5)).await;
    stop.send(()).unwrap();
    served.await.unwrap();
}
