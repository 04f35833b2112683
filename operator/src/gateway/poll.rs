//! How busy pods are: those among which viewers are spread are asked every few seconds.

use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, Limited};
use showrunner_protocol::control::{MAX_STATUS, PodStatus, STATUS_PATH};
use showrunner_protocol::token::Caller;

use super::view::{Candidate, Load};
use super::{Gateway, now};
use crate::pod_client::PodRequest;

/// Rest between two rounds.
const EVERY: Duration = Duration::from_secs(3);
/// Pods that are asked at a time.
const AT_ONCE: usize = 16;
/// How long a pod may take to tell all of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for ever.
pub async fn run(gateway: &Gateway) {
    loop {
        round(gateway).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Asks each pod once. One that does not answer keeps the load that it had.
pub async fn round(gateway: &Gateway) {
    let pods = gateway.view().read(|view| view.shared_pods());
    let asked = stream::iter(pods).for_each_concurrent(AT_ONCE, async |candidate| {
        match tokio::time::timeout(PATIENCE, load(gateway, &candidate)).await {
            Ok(Some(load)) => gateway
                .view()
                .note(|view| view.put_load(&candidate.pod, load)),
            _ => tracing::debug!(pod = %candidate.pod, "a pod does not tell its load"),
        }
    });
    asked.await;
}

async fn load(gateway: &Gateway, Candidate { pod, address }: &Candidate) -> Option<Load> {
    let credential = gateway.control_keys().sign(Caller::Gateway, now())?;
    let authorization = HeaderValue::try_from(format!("Bearer {credential}")).ok()?;
    let request = PodRequest {
        method: Method::GET,
        path: STATUS_PATH.to_owned(),
        headers: HeaderMap::from_iter([(AUTHORIZATION, authorization)]),
        body: Bytes::new(),
    };
    let answer = gateway.call(pod, *address, &request).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(answer.into_body(), MAX_STATUS).collect().await;
    let status: PodStatus = serde_json::from_slice(&body.ok()?.to_bytes()).ok()?;
    Some(Load {
        sessions: status.sessions,
        most: status.capacity.max_sessions,
    })
}
