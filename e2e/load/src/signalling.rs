//! WHIP and WHEP over HTTP.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use showrunner_transport::IceCredentials;
use showrunner_transport::dtls::Identity;
use ureq::typestate::WithBody;
use ureq::{Agent, RequestBuilder};

use crate::sdp::{self, Answer, Wish};

/// A node that takes longer to answer isn't there.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A session on the node.
#[derive(Clone, Debug)]
pub struct Joined {
    /// When the offer was posted.
    pub since: Instant,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// What the node answered.
    pub answer: Answer,
    /// The session's URL, to end it.
    pub url: String,
}

/// Somebody was not let in.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// When to come back, if the node said so.
    pub retry_after: Option<Duration>,
}

impl From<String> for Refused {
    fn from(reason: String) -> Refused {
        Refused {
            reason,
            retry_after: None,
        }
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> String {
        refused.reason
    }
}

/// What a node says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// It is there.
    Yes,
    /// It is over.
    No,
    /// Nothing of use.
    Unknown,
}

/// How long a node may take to say whether a session is there, as for pages.
const ANSWER: Duration = Duration::from_millis(500);

/// Talks HTTP to one node, in one role.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Http {
    /// A client of the node at `base`, with an optional bearer token; keeps up to `connections` open.
    pub fn new(base: &str, token: Option<String>, connections: usize) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    /// Joins a room (`namespace/name`) in either direction.
    ///
    /// # Errors
    /// What the node answered.
    pub fn join(&self, wish: Wish<'_>, room: &str, identity: &Identity) -> Result<Joined, Refused> {
        let ice = IceCredentials::generate();
        let offer = sdp::offer(wish, &ice, identity.fingerprint());
        let protocol = if matches!(wish, Wish::Watch) {
            "whep"
        } else {
            "whip"
        };
        let url = format!("{}/{protocol}/{room}", self.base);
        let since = Instant::now();
        let request = self
            .authorized(self.agent.post(&url))
            .content_type("application/sdp");
        let mut response = request.send(&offer).map_err(|e| format!("{url}: {e}"))?;
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|e| format!("{url}: {e}"))?;
        if response.status() != 201 {
            let retry_after = response.headers().get("retry-after");
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(Refused {
                reason: format!("{url}: {} {}", response.status(), text.trim()),
                retry_after: seconds.map(Duration::from_secs),
            });
        }
        let location = response
            .headers()
            .get("location")
            .and_then(|l| l.to_str().ok());
        let session = match location {
            Some(path) if path.starts_with('/') => format!("{}{path}", self.base),
            Some(full) => full.to_owned(),
            None => return Err(format!("{url}: the answer has no Location").into()),
        };
        Ok(Joined {
            since,
            ice,
            answer: Answer::parse(&text)?,
            url: session,
        })
    }

    /// Chooses the layer that a viewer's session gets. One that has ended gets nothing any more.
    ///
    /// # Errors
    /// What the node answered.
    pub fn choose_layer(&self, session: &str, rid: &str) -> Result<(), String> {
        let url = format!("{session}/layer");
        let body = serde_json::json!({ "rid": rid }).to_string();
        let request = self
            .authorized(self.agent.post(&url))
            .content_type("application/json");
        let mut response = request.send(&body).map_err(|e| format!("{url}: {e}"))?;
        let text = response.body_mut().read_to_string().unwrap_or_default();
        if response.status().is_success() || response.status() == 404 {
            return Ok(());
        }
        Err(format!("{url}: {} {}", response.status(), text.trim()))
    }

    /// Whether a session is still there.
    pub fn ask(&self, session: &str) -> There {
        let request = self.agent.get(session).config();
        let mut request = request.timeout_global(Some(ANSWER)).build();
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match request.call() {
            Ok(answer) if matches!(answer.status().as_u16(), 404 | 410) => There::No,
            Ok(answer) if answer.status().as_u16() < 500 => There::Yes,
            Ok(_) | Err(_) => There::Unknown,
        }
    }

    /// The lines of a session's event stream, of the event types in a JSON array, until it ends; none if there is no
    /// such stream.
    pub fn events(
        &self,
        session: &str,
        types: &str,
    ) -> Option<impl Iterator<Item = String> + use<>> {
        let url = format!("{session}/events");
        let request = self
            .authorized(self.agent.post(&url))
            .content_type("application/json");
        let made = request.send(types).ok()?;
        let location = made.headers().get("location")?.to_str().ok()?;
        let stream = format!("{}{location}", self.base);
        let mut request = self
            .agent
            .get(&stream)
            .config()
            .timeout_global(None)
            .build();
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request
            .call()
            .ok()
            .filter(|answer| answer.status() == 200)?;
        let lines = BufReader::new(answer.into_body().into_reader()).lines();
        Some(lines.map_while(Result::ok))
    }

    /// Ends a session. One that has ended by itself is as good.
    pub fn leave(&self, session: &str) {
        let mut request = self.agent.delete(session);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        // Reading the (empty) body gives the connection back.
        if let Ok(mut response) = request.call() {
            let _ = response.body_mut().read_to_vec();
        }
    }

    fn authorized(&self, request: RequestBuilder<WithBody>) -> RequestBuilder<WithBody> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}
