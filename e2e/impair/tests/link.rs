//! The real thing, between two network namespaces: what a scenario promises is measured from
//! outside, by datagrams.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_showrunner-impair");

/// A link of a scenario, with a name that no other has at this time.
struct Link {
    name: String,
    program: Child,
    scenario: PathBuf,
}

impl Link {
    /// Lays it and waits until it is there. `only` tells the tests of this file apart.
    fn lay(only: &str, scenario: &str) -> Self {
        let name = format!("im-{only}-{}", std::process::id());
        let path = std::env::temp_dir().join(format!("{name}.yaml"));
        fs::write(&path, scenario).expect("the scenario can be written");
        let mut program = Command::new(PROGRAM)
            .args(["run", "--every", "1000", "--scenario"])
            .arg(&path)
            .args(["--client", &format!("{name}-c=10.98.0.2,fd98::2")])
            .args(["--server", &format!("{name}-s=10.98.0.1,fd98::1")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = String::new();
        let lines = BufReader::new(program.stderr.take().expect("it is piped")).lines();
        let is_there = lines.map_while(Result::ok).any(|line| {
            said.push_str(&line);
            line.starts_with("linked")
        });
        assert!(
            is_there,
            "links take root, the program 'ip' and /dev/net/tun, and these tests run nowhere else: {said}"
        );
        Self {
            name,
            program,
            scenario: path,
        }
    }

    fn command(&self, end: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &format!("{}-{end}", self.name)])
            .args(arguments);
        command
    }

    /// Sends datagrams from `from` to `to` and returns what the receiver found.
    fn probe(&self, from: &str, to: &str, packets: u32, bytes: u32, rate: &str) -> Value {
        let address = if to == "c" {
            "10.98.0.2:9000"
        } else {
            "10.98.0.1:9000"
        };
        let receiver = self
            .command(
                to,
                &[
                    PROGRAM,
                    "probe-receive",
                    "--silence",
                    "1",
                    "--bind",
                    address,
                ],
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("the receiver starts");
        // Its socket, once it is there: 9000 is 2328 in hexadecimal.
        loop {
            let sockets = self
                .command(to, &["cat", "/proc/net/udp"])
                .output()
                .expect("'ip' runs");
            if String::from_utf8_lossy(&sockets.stdout).contains(":2328 ") {
                break;
            }
        }
        let (packets, bytes) = (packets.to_string(), bytes.to_string());
        let sender = [
            "probe-send",
            "--to",
            address,
            "--packets",
            &packets,
            "--bytes",
            &bytes,
            "--rate",
            rate,
        ];
        let sent = self
            .command(from, &[&[PROGRAM], &sender[..]].concat())
            .status();
        assert!(sent.expect("the sender starts").success());
        let found = receiver.wait_with_output().expect("it ends");
        let found = serde_json::from_slice(&found.stdout).expect("it prints JSON");
        println!("{from} to {to}: {found}");
        found
    }

    /// Ends it; its last figures.
    fn end(mut self) -> Value {
        let killed = Command::new("kill")
            .arg(self.program.id().to_string())
            .status();
        assert!(killed.expect("'kill' runs").success());
        let output = std::io::read_to_string(self.program.stdout.take().expect("it is piped"));
        assert!(self.program.wait().expect("it ends").success());
        let figures = output.expect("it prints text");
        let left = Command::new("ip")
            .args(["netns", "list"])
            .output()
            .expect("'ip' runs");
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(!left.contains(&self.name), "its namespaces are gone");
        serde_json::from_str(figures.lines().last().expect("a line")).expect("JSON")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // By a signal that it can act on, so that a test that failed leaves no namespaces behind.
        if let Ok(None) = self.program.try_wait() {
            let _ = Command::new("kill")
                .arg(self.program.id().to_string())
                .status();
            let _ = self.program.wait();
        }
        let _ = fs::remove_file(&self.scenario);
    }
}

fn number(found: &Value, field: &str) -> f64 {
    found[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} of {found}"))
}

#[track_caller]
fn assert_near(found: &Value, field: &str, expected: f64, tolerance: f64) {
    let value = number(found, field);
    assert!(
        (value - expected).abs() <= tolerance,
        "{field} is {value}, not within {tolerance} of {expected}"
    );
}

#[test]
fn delay_loss_and_rate_are_as_the_scenario_says() {
    let link = Link::lay(
        "acc",
        "
        seed: 1
        up: { delay: 20ms, loss: 10%, burst: 3 }
        down: { delay: 50ms, rate: 2 Mbit/s, queue: 100ms }
        ",
    );
    let up = link.probe("c", "s", 5000, 500, "4 Mbit/s");
    assert_near(&up, "delay_ms_p50", 20.0, 1.0);
    assert_near(&up, "lost", 0.1, 0.02);
    assert_near(&up, "burst", 3.0, 0.5);
    assert_eq!((number(&up, "late"), number(&up, "duplicates")), (0.0, 0.0));
    // Twice what fits, for three seconds: the link is full, and so is the queue.
    let down = link.probe("s", "c", 1250, 1200, "4 Mbit/s");
    assert_near(&down, "bps", 2e6, 2e4);
    assert_near(&down, "lost", 0.49, 0.03);
    // 50 ms of way, twenty packets of 4.8 ms that fit the queue, and what is left of the one before.
    assert_near(&down, "delay_ms_p50", 148.4, 2.5);
    let figures = link.end();
    assert_eq!(figures["up"]["packets"], 5000);
    assert_eq!(figures["down"]["packets"], 1250);
}

#[test]
fn it_carries_50_mbit_and_packets_of_every_kind() {
    let link = Link::lay("odd", "up: { delay: 2ms }\ndown: { delay: 2ms }");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd_packets.py");
    let mut answerer = link
        .command("s", &["python3", script, "answer"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut ready = String::new();
    let mut said = BufReader::new(answerer.stdout.take().expect("it is piped"));
    said.read_line(&mut ready).expect("it prints text");
    // Everything that can be answered is, so it has passed both ways as it was.
    let asked = link.command("c", &["python3", script, "ask"]).output();
    answerer.kill().expect("it runs until now");
    answerer.wait().expect("it ends");
    let asked = asked.expect("python3 starts");
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    let found = link.probe("s", "c", 10_000, 1250, "50 Mbit/s");
    assert_near(&found, "bps", 5e7, 1e6);
    assert_near(&found, "lost", 0.0, 0.001);
    link.end();
}
