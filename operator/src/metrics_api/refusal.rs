//! What is answered to requests that can't be served: a `Status`, as the API server itself answers.

use axum::Json;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP.
    pub code: StatusCode,
    /// In a word, as Kubernetes calls it.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

impl Refusal {
    /// Nobody knows who asks.
    #[must_use]
    pub fn unauthorized() -> Refusal {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "Unauthorized".to_owned(),
        )
    }

    /// Who asks may not.
    #[must_use]
    pub fn forbidden(message: String) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// There is no such thing, or nothing is known of it.
    #[must_use]
    pub fn not_found(message: String) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// It can't be done with it.
    #[must_use]
    pub fn not_allowed() -> Refusal {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "metrics can only be read".to_owned(),
        )
    }

    /// It can't be understood.
    #[must_use]
    pub fn bad_request(message: String) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Later it may be.
    #[must_use]
    pub fn unavailable(message: String) -> Refusal {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    fn new(code: StatusCode, reason: &'static str, message: String) -> Refusal {
        Refusal {
            code,
            reason,
            message,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        let mut response = (self.code, Json(status)).into_response();
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            let methods = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, methods);
        }
        response
    }
}
