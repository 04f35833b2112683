//! The program itself, as a pod runs it: over TLS, with files that change, until signals end it.

mod cluster;
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cluster::{Dir, SECRET, assignment, credential, grant, keys, now};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use showrunner_protocol::control::POD_SERVER_NAME;
use showrunner_protocol::token::{Caller, Role};
use support::{HOST, JSON, SDP, WHIP};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A running program, ended with the test.
struct Program {
    child: Child,
    https: SocketAddr,
    certificate: CertifiedKey<KeyPair>,
    dir: Dir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Program {
    fn start(more: &[&str]) -> Program {
        let dir = Dir::new();
        let certificate =
            generate_simple_self_signed([POD_SERVER_NAME.to_owned()]).expect("a certificate");
        let keys = dir.put("control.key", SECRET);
        let chain = dir.put("tls.crt", &certificate.cert.pem());
        let key = dir.put("tls.key", &certificate.signing_key.serialize_pem());
        let mut child = Command::new(env!("CARGO_BIN_EXE_media-node"))
            .args(["--http", "127.0.0.1:0", "--media-bind", "127.0.0.1"])
            .args(["--media-port", "0", "--shards", "1"])
            .args(["--log-format", "json"])
            .arg("--control-key-file")
            .arg(keys)
            .arg("--tls-cert-file")
            .arg(chain)
            .arg("--tls-key-file")
            .arg(key)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        let mut lines = log.lines().map_while(Result::ok);
        let https = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line["fields"]["http"].as_str()?.parse().ok()
        });
        // What nobody reads would fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Program {
            child,
            https: https.expect("an address in the log"),
            certificate,
            dir,
        }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: (&str, &str)) -> Answer {
        let mut roots = RootCertStore::empty();
        let trusted = self.certificate.cert.der().clone();
        roots.add(trusted).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(POD_SERVER_NAME).expect("a name");
        let stream = TcpStream::connect(self.https).await.expect("a connection");
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        let (media_type, body) = body;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-type: {media_type}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer {
            status: status.expect("a status"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, token, ("text/plain", "")).await
    }

    async fn command(&self, method: &str, path: &str, body: &str) -> u16 {
        let token = credential(Caller::Operator);
        self.ask(method, path, &token, (JSON, body)).await.status
    }

    /// A host's session in a room that is assigned for it; the path of it.
    async fn publish(&self) -> (String, Answer) {
        let room = assignment("u-1", 1);
        let assigned = self.command("PUT", cluster::ROOM, &room).await;
        assert_eq!(assigned, 201);
        let token = grant("sale", "u-1", Role::Host);
        let answer = self.ask("POST", WHIP, &token, (SDP, HOST)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let mut fields = answer.head.lines();
        let path = fields.find_map(|line| line.strip_prefix("location: "));
        let path = path.expect("a location").to_owned();
        (path, answer)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(sent.expect("a shell").success());
    }

    async fn until_not_ready(&self) {
        while self.get("/readyz", "").await.status != 503 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the end, and says whether it was a good one.
    fn ends_well(mut self) -> bool {
        self.child.wait().expect("the program").success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_control_api_is_served_over_tls_and_follows_its_files() {
    let program = Program::start(&["--max-rooms", "7", "--public-ip", "127.0.0.1"]);
    assert_eq!(program.get("/healthz", "").await.status, 200);
    assert_eq!(program.get("/readyz", "").await.status, 200);
    assert_eq!(program.get("/metrics", "").await.status, 200);
    assert_eq!(program.get("/v1/status", "").await.status, 401);
    let status = program
        .get("/v1/status", &credential(Caller::Operator))
        .await;
    assert_eq!(status.status, 200);
    assert!(status.body.contains("\"maxRooms\":7"), "{}", status.body);

    let next = "the secret that comes after the first one";
    program.dir.put("control.key", next);
    program.signal("HUP");
    let token = || {
        keys(next)
            .sign(Caller::Operator, now())
            .expect("randomness")
    };
    while program.get("/v1/status", &token()).await.status != 200 {
        tokio::task::yield_now().await;
    }
    program.signal("TERM");
    assert!(program.ends_well());
}

#[tokio::test]
async fn clients_are_told_the_public_port() {
    let program = Program::start(&["--public-ip", "192.0.2.7", "--public-port", "30100"]);
    let (_, answer) = program.publish().await;
    let candidates: Vec<&str> = answer
        .body
        .lines()
        .filter(|line| line.starts_with("a=candidate:"))
        .collect();
    assert!(!candidates.is_empty());
    for candidate in candidates {
        assert!(candidate.contains(" 192.0.2.7 30100 "), "{candidate}");
    }
    // Without time to drain, a session keeps nothing alive.
    program.signal("TERM");
    assert!(program.ends_well());
}

#[tokio::test]
async fn a_program_that_is_to_end_waits_for_its_sessions() {
    let program = Program::start(&["--drain-seconds", "3600", "--public-ip", "127.0.0.1"]);
    let (session, _) = program.publish().await;
    program.signal("TERM");
    program.until_not_ready().await;
    let token = grant("sale", "u-1", Role::Host);
    let ended = program.ask("DELETE", &session, &token, (JSON, "")).await;
    assert_eq!(ended.status, 200);
    assert!(program.ends_well());
}

#[tokio::test]
async fn a_program_that_ends_leaves_a_record_of_each_session() {
    let dir = Dir::new();
    let path = dir.path().join("sessions.jsonl");
    let flag = path.to_str().expect("text").to_owned();
    let program = Program::start(&["--public-ip", "127.0.0.1", "--session-records", &flag]);
    program.publish().await;
    program.signal("TERM");
    assert!(program.ends_well());
    let records = std::fs::read_to_string(&path).expect("records");
    let record: serde_json::Value = serde_json::from_str(&records).expect("one line of JSON");
    assert_eq!(record["role"], "publisher");
    assert_eq!(record["room_uid"], "u-1");
    assert_eq!(record["reason"], "shutdown");
    assert_eq!(record["connected_at"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_program_that_is_asked_twice_waits_no_longer() {
    let program = Program::start(&["--drain-seconds", "3600", "--public-ip", "127.0.0.1"]);
    program.publish().await;
    program.signal("TERM");
    program.until_not_ready().await;
    program.signal("TERM");
    assert!(program.ends_well());
}

#[tokio::test]
async fn a_drained_program_answers_until_it_is_told_to_end() {
    let program = Program::start(&["--drain-seconds", "3600", "--public-ip", "127.0.0.1"]);
    program.publish().await;
    let drain = program
        .command("POST", "/v1/drain", "{\"deadlineSeconds\":0}")
        .await;
    assert_eq!(drain, 202);
    let asks = credential(Caller::Operator);
    loop {
        let status = program.get("/v1/status", &asks).await;
        assert_eq!(status.status, 200);
        assert!(status.body.contains("\"draining\":true"));
        if status.body.contains("\"sessions\":0") {
            break;
        }
    }
    program.signal("TERM");
    assert!(program.ends_well());
}
