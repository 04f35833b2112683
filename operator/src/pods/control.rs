//! What the operator tells pods, by their control API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use showrunner_protocol::RoomName;
use showrunner_protocol::control::{
    ADDRESSES_PATH, DRAIN_PATH, DrainRequest, MAX_STATUS, POD_SERVER_NAME, PeerSight, PodStatus,
    PublicAddresses, READY_PATH, RoomAssignment, STATUS_PATH, end_room_path, peer_path, room_path,
};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{CREDENTIAL_SECONDS, Caller};

use crate::clock::now;
use crate::keys::{Keyring, Keys};
use crate::metrics::Metrics;
use crate::pod_client::{CallError, PodRequest, Pods};

/// How long a pod may take for all of an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to say that it is there.
const QUICK: Duration = Duration::from_millis(700);
/// How long it may take to say whether another one is: it gives that one half as long.
const LOOK: Duration = Duration::from_millis(700);
/// The most that is read of an answer that says what is wrong, in bytes.
const MAX_PROBLEM: usize = 4 << 10;
/// A credential is used for this long, in seconds: a good part of its life.
const USE_CREDENTIAL: u64 = CREDENTIAL_SECONDS as u64 / 3;

/// Calls pods.
#[derive(Clone)]
pub struct Control {
    keyring: Keys,
    client: Arc<Mutex<Option<Client>>>,
    metrics: Metrics,
}

/// A client for the keys of the moment.
#[derive(Clone)]
struct Client {
    keyring: Arc<Keyring>,
    pods: Pods,
    credential: HeaderValue,
    made: u64,
}

/// A pod did not do as it was told.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ControlError {
    /// Nobody listens there, or who did ended before it answered.
    #[error("it takes no connections: {0}")]
    Gone(String),
    /// It gave no answer.
    #[error("it does not answer: {0}")]
    Unreachable(String),
    /// It does not want to.
    #[error("it answers {0}: {1}")]
    Refused(u16, String),
    /// There are no keys yet, or of no use.
    #[error("it can't be called: {0}")]
    NoKeys(String),
}

impl Control {
    /// With the keys that there are at each time.
    #[must_use]
    pub fn new(keyring: Keys, metrics: Metrics) -> Control {
        Control {
            keyring,
            client: Arc::default(),
            metrics,
        }
    }

    /// Tells it of a room.
    ///
    /// # Errors
    /// If it does not take it.
    pub async fn assign(
        &self,
        pod: SocketAddr,
        room: &RoomName,
        assignment: &RoomAssignment,
    ) -> Result<(), ControlError> {
        let body = body(assignment)?;
        self.call("assign", pod, Method::PUT, room_path(room), body)
            .await
            .map(drop)
    }

    /// Ends a room. One that it does not have is as good as ended.
    ///
    /// # Errors
    /// If it is not known whether it did.
    pub async fn end(
        &self,
        pod: SocketAddr,
        room: &RoomName,
        uid: &RoomUid,
    ) -> Result<(), ControlError> {
        let path = end_room_path(room, uid);
        match self
            .call("end", pod, Method::DELETE, path, Bytes::new())
            .await
        {
            Err(ControlError::Refused(404 | 409, _)) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Tells it how clients reach it.
    ///
    /// # Errors
    /// If it does not take it.
    pub async fn tell_addresses(
        &self,
        pod: SocketAddr,
        public: &PublicAddresses,
    ) -> Result<(), ControlError> {
        let body = body(public)?;
        self.call(
            "addresses",
            pod,
            Method::PUT,
            ADDRESSES_PATH.to_owned(),
            body,
        )
        .await
        .map(drop)
    }

    /// Tells it to drain.
    ///
    /// # Errors
    /// If it does not.
    pub async fn drain(&self, pod: SocketAddr, seconds: u32) -> Result<(), ControlError> {
        let body = body(&DrainRequest {
            deadline_seconds: seconds,
        })?;
        self.call("drain", pod, Method::POST, DRAIN_PATH.to_owned(), body)
            .await
            .map(drop)
    }

    /// Asks whether it is there, and so whether new sessions may come to it: whatever it answers, it is there.
    ///
    /// # Errors
    /// If it does not answer at once.
    pub async fn is_ready(&self, pod: SocketAddr) -> Result<bool, ControlError> {
        let (client, path) = (self.client()?, READY_PATH.to_owned());
        let answer = client.ask(QUICK, pod, Method::GET, path, Bytes::new());
        let is_ready = match answer.await {
            Ok(_) => Ok(true),
            Err(ControlError::Refused(..)) => Ok(false),
            Err(error) => Err(error),
        };
        self.metrics.called("ready", is_ready.is_ok());
        is_ready
    }

    /// Asks it whether another pod answers it.
    ///
    /// # Errors
    /// If it does not say so at once.
    pub async fn is_answered_by(
        &self,
        pod: SocketAddr,
        other: SocketAddr,
    ) -> Result<bool, ControlError> {
        let path = peer_path(other);
        let answer = self.call_within(LOOK, "peer", pod, Method::GET, path, Bytes::new());
        let sight: PeerSight = parse(&answer.await?)?;
        Ok(sight.answers)
    }

    /// Asks how it is.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn status(&self, pod: SocketAddr) -> Result<PodStatus, ControlError> {
        let text = self
            .call(
                "status",
                pod,
                Method::GET,
                STATUS_PATH.to_owned(),
                Bytes::new(),
            )
            .await?;
        parse(&text)
    }

    async fn call(
        &self,
        what: &'static str,
        pod: SocketAddr,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Bytes, ControlError> {
        self.call_within(PATIENCE, what, pod, method, path, body)
            .await
    }

    async fn call_within(
        &self,
        patience: Duration,
        what: &'static str,
        pod: SocketAddr,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Bytes, ControlError> {
        let answer = self.client()?.ask(patience, pod, method, path, body).await;
        self.metrics.called(what, answer.is_ok());
        answer
    }

    fn client(&self) -> Result<Client, ControlError> {
        let keyring = self.keyring.borrow().clone();
        let keyring =
            keyring.ok_or_else(|| ControlError::NoKeys("there are no keys yet".to_owned()))?;
        let now = now();
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            let same = Arc::ptr_eq(&client.keyring, &keyring);
            if same && (client.made..client.made + USE_CREDENTIAL).contains(&now) {
                return Ok(client.clone());
            }
        }
        let pods = match &*kept {
            Some(client)
                if client.keyring.control.ca_certificate == keyring.control.ca_certificate =>
            {
                client.pods.clone()
            }
            _ => Pods::over_tls(keyring.control.ca_certificate.as_bytes(), POD_SERVER_NAME)
                .map_err(|e| ControlError::NoKeys(e.to_string()))?,
        };
        let credential = keyring.requests.sign(Caller::Operator, now);
        let credential =
            credential.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let credential =
            credential.ok_or_else(|| ControlError::NoKeys("no randomness".to_owned()))?;
        let client = Client {
            keyring,
            pods,
            credential,
            made: now,
        };
        *kept = Some(client.clone());
        Ok(client)
    }
}

impl Client {
    async fn ask(
        &self,
        patience: Duration,
        pod: SocketAddr,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Bytes, ControlError> {
        let answer = tokio::time::timeout(patience, self.call(pod, method, path, body)).await;
        answer.unwrap_or_else(|_| Err(ControlError::Unreachable("it takes too long".to_owned())))
    }

    async fn call(
        &self,
        pod: SocketAddr,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Bytes, ControlError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.credential.clone());
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = PodRequest {
            method,
            path,
            headers,
            body,
        };
        let answer = self.pods.call(pod, &request).await;
        let answer = answer.map_err(|error| match error {
            CallError::Refused(why) => ControlError::Gone(why),
            CallError::Unreachable(_) | CallError::Silent => {
                ControlError::Unreachable(error.to_string())
            }
        })?;
        let status = answer.status();
        let limit = if status == StatusCode::OK {
            MAX_STATUS
        } else {
            MAX_PROBLEM
        };
        let text = Limited::new(answer.into_body(), limit).collect().await;
        if status.is_success() {
            let text = text.map_err(|error| ControlError::Unreachable(error.to_string()))?;
            return Ok(text.to_bytes());
        }
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        Err(ControlError::Refused(status.as_u16(), detail(&text)))
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(text)
        .map_err(|e| ControlError::Unreachable(format!("its answer is none: {e}")))
}

/// What a problem document (RFC 9457) says.
fn detail(text: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    problem["detail"]
        .as_str()
        .unwrap_or("no reason")
        .chars()
        .take(200)
        .collect()
}

fn body(value: &impl Serialize) -> Result<Bytes, ControlError> {
    let text = serde_json::to_vec(value).map_err(|e| ControlError::Refused(0, e.to_string()))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_is_passed_on_in_brief() {
        assert_eq!(
            detail(br#"{"title":"x","detail":"the node is full"}"#),
            "the node is full"
        );
        assert_eq!(detail(b"<html>"), "no reason");
        let long = format!(r#"{{"detail":"{}"}}"#, "a".repeat(1000));
        assert_eq!(detail(long.as_bytes()).len(), 200);
    }
}
