//! `gateway check`: asks a gateway whether it is ready, as `helm test` does. The image has no other program for it.

use std::time::Duration;

use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// A gateway that takes longer isn't there.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the gateway at `url` (`http://` only), whether it is ready: it has seen which rooms and pods there are.
///
/// # Errors
/// Why not, for people.
pub async fn check(url: &str) -> Result<(), String> {
    let address = format!("{}/readyz", url.trim_end_matches('/'));
    let uri: Uri = address
        .parse()
        .map_err(|e| format!("{address} is no address: {e}"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = tokio::time::timeout(TIMEOUT, client.get(uri)).await;
    let status = match answer {
        Ok(Ok(answer)) => answer.status(),
        Ok(Err(error)) => return Err(format!("{address}: {error}")),
        Err(_) => return Err(format!("{address}: no answer in {} s", TIMEOUT.as_secs())),
    };
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(format!("{address}: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_ready_gateway_passes() {
        let answers = [
            ("/well", StatusCode::OK),
            ("/full", StatusCode::SERVICE_UNAVAILABLE),
        ];
        let router = answers
            .into_iter()
            .fold(Router::new(), |router, (path, status)| {
                router.route(&format!("{path}/readyz"), get(async move || status))
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        assert_eq!(check(&format!("{base}/well/")).await, Ok(()));
        let refused = check(&format!("{base}/full")).await.unwrap_err();
        assert!(refused.ends_with("503 Service Unavailable"), "{refused}");
        assert!(check("http://[").await.is_err());
    }
}
