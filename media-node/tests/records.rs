//! The records of sessions: each that ends leaves one, with what was true of it.

mod cluster;
mod peer;
mod support;

use axum::http::StatusCode;
use cluster::Dir;
use media_node::lived::sink::{Target, Writer};
use peer::PATIENCE;
use peer::show::Show;
use serde_json::{Value, json};
use support::{Answer, Harness, JSON};

/// A show whose records are written.
struct Recorded {
    show: Show,
    dir: Dir,
    writer: Writer,
}

impl Recorded {
    async fn begin() -> Recorded {
        let dir = Dir::new();
        let target = Target::File {
            path: dir.path().join("sessions.jsonl"),
            most: None,
        };
        let writer = Writer::start(target).expect("a file");
        let show = Show::begin().await;
        show.harness.node.record(writer.records());
        Recorded { show, dir, writer }
    }

    fn harness(&self) -> &Harness {
        &self.show.harness
    }

    async fn report(&self, body: &str) -> Answer {
        let path = format!("{}/report", self.show.viewer.url);
        self.harness()
            .request("POST", &path)
            .body(JSON, body.to_owned())
            .await
    }

    async fn delete(&self, url: &str) {
        let deleted = self.harness().request("DELETE", url).send().await;
        assert_eq!(deleted.status, StatusCode::OK);
    }

    /// The first records, once they are there.
    async fn records<const N: usize>(&self) -> [Value; N] {
        let wait = async {
            loop {
                let text = std::fs::read_to_string(self.dir.path().join("sessions.jsonl"));
                let lines: Vec<Value> = text
                    .unwrap_or_default()
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect();
                if let Ok(records) = lines.try_into() {
                    return records;
                }
                tokio::task::yield_now().await;
            }
        };
        let records = tokio::time::timeout(PATIENCE, wait).await;
        records.expect("the records did not come")
    }
}

#[tokio::test]
async fn each_session_leaves_what_was_true_of_it() {
    let mut recorded = Recorded::begin().await;
    recorded.show.carry(39).await;
    let (viewer, host) = (
        recorded.show.viewer.url.clone(),
        recorded.show.host.url.clone(),
    );
    recorded.delete(&viewer).await;
    recorded.delete(&host).await;
    let [watched, hosted] = recorded.records().await;
    for (record, role, url) in [(&watched, "viewer", &viewer), (&hosted, "publisher", &host)] {
        assert_eq!(record["version"], 1);
        assert_eq!(record["role"], role);
        assert_eq!(record["room_namespace"], "shop");
        assert_eq!(record["room_name"], "sale");
        assert_eq!(record["room_uid"], Value::Null);
        assert_eq!(record["reason"], "deleted");
        assert!(url.ends_with(record["session_id"].as_str().expect("an id")));
        assert_eq!(record["packets"], 40, "{record}");
        assert!(record["bytes"].as_u64() > Some(4000), "{record}");
        let joined = record["joined_at"].as_str().expect("a time");
        let left = record["left_at"].as_str().expect("a time");
        assert!(joined < left && joined.ends_with('Z'), "{joined} {left}");
        assert!(record["connect_ms"].is_u64() && record["first_media_ms"].is_u64());
        assert_eq!(record["client"], Value::Null);
    }
    assert!(watched["watched_seconds"].is_f64() && watched["on_air_seconds"].is_null());
    assert!(hosted["on_air_seconds"].is_f64() && hosted["watched_seconds"].is_null());
    let [layer] = watched["layers"].as_array().expect("layers").as_slice() else {
        panic!("{watched}");
    };
    assert_eq!(
        (&layer["width"], &layer["height"]),
        (&json!(320), &json!(240))
    );
    recorded.writer.finish();
}

#[tokio::test]
async fn a_page_has_the_last_word_on_its_session() {
    let recorded = Recorded::begin().await;
    let said = recorded
        .report(r#"{"afterMs":100,"freezeCount":1,"freezeSeconds":0.5}"#)
        .await;
    assert_eq!(said.status, StatusCode::NO_CONTENT, "{}", said.body);
    let url = recorded.show.viewer.url.clone();
    recorded.delete(&url).await;
    // After the end of the session, and before the record is written.
    let last = recorded
        .report(r#"{"afterMs":300,"freezeCount":2,"freezeSeconds":0.75}"#)
        .await;
    assert_eq!(last.status, StatusCode::NO_CONTENT, "{}", last.body);
    let overtaken = recorded.report(r#"{"afterMs":200,"freezeCount":1}"#).await;
    assert_eq!(overtaken.status, StatusCode::NO_CONTENT);
    let [record] = recorded.records().await;
    assert_eq!(record["client"]["freeze_count"], 2);
    assert_eq!(record["client"]["freeze_seconds"], 0.75);
    recorded
        .report("{}")
        .await
        .is_problem(404, "no such session");
    recorded.writer.finish();
}

#[tokio::test]
async fn reports_that_can_not_be_or_come_too_often_are_refused() {
    let recorded = Recorded::begin().await;
    recorded
        .report(r#"{"freezeSeconds":1e9}"#)
        .await
        .is_problem(400, "freezeSeconds");
    recorded
        .report("freezeCount=1")
        .await
        .is_problem(400, "not a report");
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(4096));
    recorded.report(&long).await.is_problem(413, "4096 bytes");
    let refused = async {
        loop {
            let answer = recorded.report("{}").await;
            if answer.status != StatusCode::NO_CONTENT {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await;
    let refused = refused.expect("a refusal");
    refused.is_problem(429, "too often");
    assert!(refused.has("retry-after"));
    let path = format!("{}/report", recorded.show.host.url);
    let host = recorded
        .harness()
        .request("POST", &path)
        .body(JSON, "{}")
        .await;
    host.is_problem(404, "viewers report");
}
