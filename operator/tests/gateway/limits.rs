//! How often one may ask.

use axum::http::StatusCode;
use showrunner_protocol::token::Role;

use crate::support::{Cluster, WHEP, WHIP};

#[tokio::test]
async fn one_address_may_not_ask_without_end() {
    let cluster = Cluster::with(&["--address-limit=1:3", "--trusted-proxies=10.0.0.0/8"]);
    let ask = |peer: &'static str, path: &'static str| cluster.request("GET", path).from(peer);
    for path in [WHEP, "/whep/nonsense", WHIP] {
        let answer = ask("192.0.2.1", path).send().await;
        assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
    let refused = ask("192.0.2.1", WHEP).send().await;
    refused.is_problem(429, "Retry-After");
    refused.says_when_to_retry();
    // What a stranger says of others doesn't help, and what a proxy says counts.
    let forged = ask("192.0.2.1", WHEP).header("x-forwarded-for", "198.51.100.9");
    forged.send().await.is_problem(429, "");
    let proxied = |client| {
        ask("10.1.2.3", WHEP)
            .header("x-forwarded-for", client)
            .send()
    };
    proxied("192.0.2.1").await.is_problem(429, "");
    proxied("198.51.100.9").await.is_problem(404, "");
    assert_eq!(cluster.metric("limited_total{by=\"address\"}").await, 3);
}

#[tokio::test]
async fn one_token_may_not_be_shown_without_end() {
    let cluster = Cluster::with(&["--token-limit=1:2"]);
    cluster.put_room(|_| {});
    let show = async |token: &str| cluster.request("GET", WHIP).token(token).send().await;
    let (first, second) = (cluster.token(Role::Host), cluster.token(Role::Host));
    for _ in 0..2 {
        assert_eq!(show(&first).await.status, StatusCode::NO_CONTENT);
    }
    let refused = show(&first).await;
    refused.is_problem(429, "Retry-After");
    refused.says_when_to_retry();
    assert_eq!(show(&second).await.status, StatusCode::NO_CONTENT);
    // One that is no good is refused as such, and takes no place among those that are counted.
    for _ in 0..4 {
        show("nonsense").await.is_problem(401, "");
    }
    assert_eq!(cluster.metric("limited_total{by=\"token\"}").await, 1);
}
