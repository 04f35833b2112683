//! The program as the chart starts it: flags, files, watches, doors, and an end that nobody notices.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use showrunner_protocol::token::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{Api, live_room, media_pod};
use crate::support::{Cluster, HOST, PATIENCE, WHIP};

/// A gateway's process.
struct Program {
    child: Child,
    logs: Receiver<Value>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(cluster: &Cluster, api: &Api) -> Program {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://{}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\n",
            api.address
        );
        cluster.dir.write("kubeconfig", kubeconfig);
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args([
                "--http=127.0.0.1:0",
                "--admin=127.0.0.1:0",
                "--log-format=json",
            ])
            .args(cluster.files())
            .arg("--drain-seconds=0")
            .env("KUBECONFIG", cluster.dir.path("kubeconfig"))
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, logs) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Program { child, logs }
    }

    /// The fields of the next line that says this.
    fn says(&mut self, message: &str) -> Value {
        loop {
            let line = self.logs.recv_timeout(PATIENCE);
            let mut line = line.unwrap_or_else(|e| panic!("no word of {message:?}: {e}"));
            if line["fields"]["message"] == message {
                return line["fields"].take();
            }
        }
    }
}

/// The status of an answer.
async fn ask(address: &str, request: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn get(address: &str, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    ask(address, &request).await
}

#[tokio::test]
async fn it_serves_what_the_cluster_has_and_ends_when_asked() {
    let cluster = Cluster::new();
    let pod = cluster.pod("eu-0").await;
    pod.assign();
    let mut api = Api::new();
    api.rooms.lock().unwrap().items = vec![live_room("sale", "Sale")];
    api.pods.lock().unwrap().items = vec![media_pod("eu-0", pod.address)];
    api.start().await;
    let mut program = Program::start(&cluster, &api);
    let up = program.says("the gateway is up");
    let (http, admin) = (up["http"].as_str().unwrap(), up["admin"].as_str().unwrap());
    let ready = async {
        while get(admin, "/readyz").await != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();

    let token = cluster.token(Role::Host);
    let length = HOST.len();
    let publish = format!(
        "POST {WHIP} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/sdp\r\ncontent-length: {length}\r\n\r\n{HOST}"
    );
    assert_eq!(ask(http, &publish).await, 201);
    assert_eq!(get(http, "/whep/shop/other").await, 404);
    assert_eq!(get(admin, "/metrics").await, 200);

    let pid = program.child.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.unwrap().success());
    program.says("leaving");
    program.says("shutting down");
    assert!(program.child.wait().unwrap().success());
}

#[tokio::test]
async fn it_says_which_file_is_missing() {
    let cluster = Cluster::new();
    std::fs::remove_file(cluster.dir.path("jwks.json")).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(cluster.files())
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("jwks.json can't be read"), "{said}");
}
