//! A join: an offer is sent to a pod, and to another if the first one just died.
//!
//! An offer is sent again only if the connection failed before an answer, when the pod that may have taken it is gone
//! together with the session; or if the pod answered that it did not take it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::{Response, StatusCode};
use hyper::body::Incoming;

use super::address::Endpoint;
use super::forward;
use super::problem::Problem;
use super::rewrite::Source;
use super::view::Candidate;
use super::{Gateway, RETRY_SOON};
use crate::pod_client::{CallError, PodRequest};

/// How long a join waits for a pod to come back or another to take its place. A client may be gone after 10 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long at most until a failed join is tried again; news of the cluster make it sooner.
const PAUSE: Duration = Duration::from_millis(250);
/// How long at least: the cluster may have news of other rooms all the time.
const REST: Duration = Duration::from_millis(25);

/// One join.
pub(super) struct Join<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) endpoint: &'a Endpoint,
    /// Where the client is.
    pub(super) region: &'a str,
    pub(super) request: PodRequest,
}

/// How an attempt with all pods of a room came out.
enum Attempt {
    /// A pod has answered, with a session or a reason.
    Answered(Source, Response<Incoming>),
    /// A pod is there but says nothing. It may have taken the offer, so that is the end.
    Silent,
    /// None could be reached, or none has the room yet: a moment later it may be otherwise.
    Failed(Problem),
}

impl Join<'_> {
    /// Sends the offer until a pod answers. A room that has no pods is refused at once; one that loses them meanwhile
    /// is waited for.
    pub(super) async fn run(&self) -> Result<axum::response::Response, Problem> {
        let began = Instant::now();
        let mut changes = self.gateway.view().changes();
        self.next(&HashSet::new())?;
        loop {
            changes.mark_unchanged();
            let failure = match self.attempt().await {
                Attempt::Answered(source, answer) => {
                    let answer = forward::answer(self.gateway, &source, answer).await;
                    self.gateway.metrics().joined(began.elapsed());
                    return answer;
                }
                Attempt::Silent => return Err(silent()),
                Attempt::Failed(problem) => problem,
            };
            if began.elapsed() >= PATIENCE {
                return Err(failure);
            }
            tokio::time::sleep(REST).await;
            // Either outcome is a reason to try again: there is news, or it was time.
            let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
            self.gateway.metrics().retried();
        }
    }

    /// Goes through the room's pods, the best first.
    async fn attempt(&self) -> Attempt {
        let mut failure =
            Problem::unavailable("the room's media pods can't be reached", RETRY_SOON);
        let mut tried = HashSet::new();
        loop {
            let (Candidate { pod, address }, is_last) = match self.next(&tried) {
                Ok(Some(next)) => next,
                Ok(None) => return Attempt::Failed(failure),
                Err(problem) => return Attempt::Failed(problem),
            };
            tried.insert(address);
            self.gateway.view().note(|view| view.sent_to(&pod));
            let answer = tokio::select! {
                answer = self.gateway.call(&pod, address, &self.request) => answer,
                // Whatever it did with the offer: the room is on another pod, and nobody comes to this one.
                () = self.moved_off(address) => continue,
            };
            match answer {
                Err(CallError::Refused(_) | CallError::Unreachable(_)) => {}
                Err(CallError::Silent) => return Attempt::Silent,
                // It restarted and has not been told of its rooms yet.
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
                    failure = Problem::unavailable("the room is being set up", RETRY_SOON);
                }
                // It takes no more; another may.
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE && !is_last => {}
                Ok(answer) => {
                    let endpoint = self.endpoint.clone();
                    return Attempt::Answered(Source { endpoint, pod }, answer);
                }
            }
        }
    }

    /// Waits until a pod is none of the room's any more: one that hangs is left as soon as that is known.
    async fn moved_off(&self, address: SocketAddr) {
        let mut changes = self.gateway.view().changes();
        loop {
            // With none at all it is better to wait for this one.
            let candidates = self.candidates().unwrap_or_default();
            if !candidates.is_empty() && candidates.iter().all(|c| c.address != address) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The best pod that was not tried, by what is known now, and whether it is the last.
    fn next(&self, tried: &HashSet<SocketAddr>) -> Result<Option<(Candidate, bool)>, Problem> {
        let mut untried = self
            .candidates()?
            .into_iter()
            .filter(|c| !tried.contains(&c.address));
        let best = untried.next();
        Ok(best.map(|best| (best, untried.next().is_none())))
    }

    fn candidates(&self) -> Result<Vec<Candidate>, Problem> {
        let Endpoint { protocol, room } = self.endpoint;
        let room = self.gateway.room(room)?;
        let view = self.gateway.view();
        view.read(|view| view.candidates(&room, *protocol, self.region))
            .map_err(|reason| Problem::unavailable(reason.to_string(), RETRY_SOON))
    }
}

/// 504: a pod that is there but says nothing may have taken the request.
pub(super) fn silent() -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "the media pod did not answer in time; it may have taken the request",
    )
}
