//! Requests to the gateway's router, and what comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use showrunner_door::Peer;
use tower::ServiceExt;

use crate::support::PATIENCE;

/// A client of documentation (RFC 5737).
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4711);

/// A request in the making.
pub(crate) struct Call {
    router: Router,
    request: Request<Body>,
}

impl Call {
    pub(crate) fn new(router: Router, method: &str, path: &str) -> Call {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(CLIENT));
        Call { router, request }
    }

    pub(crate) fn from(mut self, peer: &str) -> Call {
        let peer = Peer((peer.parse::<IpAddr>().unwrap(), 4711).into());
        self.request.extensions_mut().insert(peer);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Call {
        let value = value.parse().unwrap();
        self.request.headers_mut().append(name, value);
        self
    }

    pub(crate) fn token(self, token: &str) -> Call {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) async fn body(mut self, media_type: &str, body: impl Into<Body>) -> Answer {
        *self.request.body_mut() = body.into();
        self.header("content-type", media_type).send().await
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.router.oneshot(self.request).await.unwrap();
        let (head, body) = response.into_parts();
        let read = tokio::time::timeout(PATIENCE, to_bytes(body, 1 << 20));
        let bytes = read.await.expect("a body that ends").unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// The answer's body, still coming.
    pub(crate) async fn stream(self) -> Stream {
        let response = self.router.oneshot(self.request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Stream {
            body: response.into_body(),
            rest: String::new(),
        }
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap()
    }

    pub(crate) fn location(&self) -> &str {
        self.header("location")
    }

    /// The target of the link of a relation.
    pub(crate) fn link(&self, relation: &str) -> String {
        let links = self.headers.get_all("link").iter();
        let link = links
            .filter_map(|link| link.to_str().ok())
            .find(|link| link.contains(relation));
        let link = link.unwrap_or_else(|| panic!("no link {relation}: {self:?}"));
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        target.unwrap().0.to_owned()
    }

    /// That this is a problem document (RFC 9457) of this status, which pages of any origin may read.
    pub(crate) fn is_problem(&self, status: u16, names: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("access-control-allow-origin"), "*");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(names), "{detail}");
    }

    /// That it says when to ask again, in seconds.
    pub(crate) fn says_when_to_retry(&self) {
        let seconds: u32 = self.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.body)
    }
}

/// Server-sent events.
pub(crate) struct Stream {
    body: Body,
    rest: String,
}

impl Stream {
    /// The next event's text; none at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let event = event.to_owned();
                self.rest = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let data = frame.expect("an event")?.unwrap().into_data().ok()?;
            self.rest.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event of a type.
    pub(crate) async fn event(&mut self, kind: &str) -> String {
        loop {
            let event = self.next().await.expect("the stream has ended");
            if event.contains(&format!("event: {kind}")) {
                return event;
            }
        }
    }
}
