//! Writes, all of them: only while this replica leads, with a limit of time, and counted.

use std::time::Duration;

use kube::Client;

use crate::leader::Leadership;
use crate::metrics::Metrics;

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may write.
#[derive(Clone)]
pub struct Hand {
    client: Client,
    leadership: Leadership,
    metrics: Metrics,
}

/// Nothing was written, or it isn't known.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another replica writes.
    #[error("this replica does not lead")]
    NotLeader,
    /// No answer.
    #[error("the API server does not answer")]
    Silent,
    /// The API server says no.
    #[error("{0}")]
    Api(#[from] Box<kube::Error>),
}

impl Hand {
    /// With leave from an election.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: Metrics) -> Hand {
        Hand {
            client,
            leadership,
            metrics,
        }
    }

    /// For the `Api` whose write is given to [`Hand::write`].
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether it may write now.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.leadership.time_left().is_some()
    }

    /// Writes, unless another replica may by then.
    ///
    /// # Errors
    /// If it may not, or the API server says no or nothing.
    pub async fn write<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let Some(left) = self.leadership.time_left() else {
            return Err(WriteError::NotLeader);
        };
        let written = match tokio::time::timeout(left.min(PATIENCE), request).await {
            Ok(answer) => answer.map_err(|error| WriteError::Api(Box::new(error))),
            Err(_) => Err(WriteError::Silent),
        };
        self.metrics.wrote(what, written.is_ok());
        written
    }
}

impl WriteError {
    /// The status that the API server answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            WriteError::Api(error) => match &**error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            WriteError::NotLeader | WriteError::Silent => None,
        }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether it is not as it was, or there already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// What the API server says, for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            WriteError::Api(error) => match &**error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }
}
