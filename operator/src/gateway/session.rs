//! What clients do with a session that they have: its pod is asked, and no other could be.

use std::time::Duration;

use axum::response::Response;

use super::address::SessionAddress;
use super::problem::Problem;
use super::rewrite::Source;
use super::{Gateway, RETRY_SOON, forward, join};
use crate::pod_client::{CallError, PodRequest};

/// Rest before the one further try.
const REST: Duration = Duration::from_millis(100);

/// Sends a request to a session's pod, and once more if there was no connection: a pod may close one that is idle just
/// when a request sets out on it. None of these requests does harm when it comes twice.
pub(super) async fn forward(
    gateway: &Gateway,
    session: &SessionAddress,
    request: PodRequest,
) -> Result<Response, Problem> {
    let mut answer = call(gateway, session, &request).await?;
    if let Err(CallError::Refused(_) | CallError::Unreachable(_)) = answer {
        tokio::time::sleep(REST).await;
        gateway.metrics().retried();
        answer = call(gateway, session, &request).await?;
    }
    let source = Source {
        endpoint: session.endpoint.clone(),
        pod: session.pod.clone(),
    };
    match answer {
        Ok(answer) => forward::answer(gateway, &source, answer).await,
        Err(CallError::Refused(_) | CallError::Unreachable(_)) => Err(Problem::unavailable(
            "the session's media pod can't be reached",
            RETRY_SOON,
        )),
        Err(CallError::Silent) => Err(join::silent()),
    }
}

type Called = Result<axum::http::Response<hyper::body::Incoming>, CallError>;

async fn call(
    gateway: &Gateway,
    session: &SessionAddress,
    request: &PodRequest,
) -> Result<Called, Problem> {
    let address = gateway.view().read(|view| view.address(&session.pod));
    let address =
        address.ok_or_else(|| gateway.not_found("the session has ended: its media pod is gone"))?;
    Ok(gateway.call(&session.pod, address, request).await)
}
