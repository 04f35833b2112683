//! Who asks, and whether they may: the API server decides both (delegated authentication and authorization).

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::front_proxy::{FrontProxy, User};
use super::memory::Memory;
use super::refusal::Refusal;
use super::request::{Attributes, Request};

/// For how long answers of the API server are good, as in other aggregated API servers.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long it may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest token that is passed on, in bytes.
const MAX_TOKEN: usize = 16 << 10;
const AUTHENTICATED: &str = "system:authenticated";
const ANONYMOUS: &str = "system:anonymous";
/// The group that may do all, in any cluster: the API server itself asks as one of it.
const MASTERS: &str = "system:masters";

/// A token's digest: tokens themselves are not kept.
type Digest = Vec<u8>;

/// Asks the API server.
pub struct Reviews {
    client: Client,
    front_proxy: watch::Receiver<FrontProxy>,
    users: Memory<Digest, User>,
    verdicts: Memory<(User, Request), Result<(), Refusal>>,
}

impl Reviews {
    /// With this client. It needs no leave to write: a review is a question.
    #[must_use]
    pub fn new(client: Client, front_proxy: watch::Receiver<FrontProxy>) -> Reviews {
        Reviews {
            client,
            front_proxy,
            users: Memory::new(GOOD_FOR),
            verdicts: Memory::new(GOOD_FOR),
        }
    }

    /// Who asks: whoever the API server says that it asks for, or whose token it knows.
    ///
    /// # Errors
    /// If it isn't known, or the API server doesn't say.
    pub async fn user(
        &self,
        shown: Option<&CertificateDer<'_>>,
        headers: &HeaderMap,
    ) -> Result<User, Refusal> {
        let through_proxy = self.front_proxy.borrow().user(shown, headers);
        let user = match (through_proxy, bearer(headers)) {
            (Some(user), _) => user,
            (None, Some(token)) => self.bearer_of(token).await?,
            (None, None) => return Err(Refusal::unauthorized()),
        };
        Ok(with_group(user))
    }

    async fn bearer_of(&self, token: &str) -> Result<User, Refusal> {
        let (key, now) = (
            digest(&SHA256, token.as_bytes()).as_ref().to_vec(),
            Instant::now(),
        );
        if let Some(user) = self.users.recall(&key, now) {
            return Ok(user);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = ask(api.create(&PostParams::default(), &review))
            .await?
            .status;
        let status = status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Err(Refusal::unauthorized());
        }
        let user = status
            .user
            .and_then(user)
            .ok_or_else(Refusal::unauthorized)?;
        self.users.keep(key, user.clone(), now);
        Ok(user)
    }

    /// Whether somebody may.
    ///
    /// # Errors
    /// If not, or the API server doesn't say.
    pub async fn may(&self, user: &User, request: &Request) -> Result<(), Refusal> {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let (key, now) = ((user.clone(), request.clone()), Instant::now());
        if let Some(verdict) = self.verdicts.recall(&key, now) {
            return verdict;
        }
        let review = SubjectAccessReview {
            spec: question(user, request),
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = ask(api.create(&PostParams::default(), &review))
            .await?
            .status;
        let verdict = match status {
            Some(status) if status.allowed => Ok(()),
            _ => Err(Refusal::forbidden(why_not(user, request))),
        };
        self.verdicts.keep(key, verdict.clone(), now);
        verdict
    }
}

async fn ask<T>(question: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    let unavailable =
        |why: String| Refusal::unavailable(format!("the API server can't be asked: {why}"));
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(|error| unavailable(error.to_string())),
        Err(_) => Err(unavailable("it does not answer".to_owned())),
    }
}

/// The token of an `Authorization` header (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    let is_one =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
    is_one.then_some(token)
}

fn user(info: UserInfo) -> Option<User> {
    Some(User {
        name: info.username.filter(|name| !name.is_empty())?,
        uid: info.uid.unwrap_or_default(),
        groups: info.groups.unwrap_or_default(),
        extra: info.extra.unwrap_or_default(),
    })
}

/// Everybody who is known is in one group.
fn with_group(mut user: User) -> User {
    let is_in_it = user.groups.iter().any(|group| group == AUTHENTICATED);
    if user.name != ANONYMOUS && !is_in_it {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn question(user: &User, request: &Request) -> SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: some(&user.uid),
        groups: Some(user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    match request {
        Request::Path { path, verb } => {
            spec.non_resource_attributes = Some(NonResourceAttributes {
                path: Some(path.clone()),
                verb: some(verb),
            });
        }
        Request::Resource(asked) => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: some(asked.verb),
                group: some(&asked.group),
                version: some(&asked.version),
                namespace: some(&asked.namespace),
                resource: some(&asked.resource),
                subresource: some(&asked.subresource),
                name: some(&asked.name),
                ..ResourceAttributes::default()
            });
        }
    }
    spec
}

/// In the words of the API server.
fn why_not(user: &User, request: &Request) -> String {
    match request {
        Request::Path { path, verb } => {
            format!(
                "forbidden: User {:?} cannot {verb} path {path:?}",
                user.name
            )
        }
        Request::Resource(asked) => {
            let Attributes {
                verb,
                group,
                namespace,
                resource,
                name,
                subresource,
                ..
            } = asked;
            let whole = match subresource.as_str() {
                "" => resource.clone(),
                part => format!("{resource}/{part}"),
            };
            let place = match namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            format!(
                "{resource}.{group} {name:?} is forbidden: User {:?} cannot {verb} resource {whole:?} in API group {group:?} {place}",
                user.name
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Method};

    use super::super::request::read;
    use super::*;

    fn jane() -> User {
        User {
            name: "jane".into(),
            groups: vec!["shop".into()],
            ..User::default()
        }
    }

    fn asked(path: &str) -> Request {
        read(&Method::GET, path).unwrap()
    }

    const POD: &str =
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/media/pods/*/showrunner_viewers";

    #[test]
    fn the_api_server_is_asked_about_what_it_would_ask_itself() {
        let spec = question(&jane(), &asked(POD));
        let of = spec.resource_attributes.unwrap();
        let all = [
            of.verb,
            of.group,
            of.namespace,
            of.resource,
            of.name,
            of.subresource,
        ];
        let all = all.map(Option::unwrap_or_default);
        assert_eq!(
            all,
            [
                "get",
                "custom.metrics.k8s.io",
                "media",
                "pods",
                "*",
                "showrunner_viewers"
            ]
        );
        assert_eq!(spec.groups.unwrap(), ["shop"]);
        let external =
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/media/showrunner_medianode_viewers";
        let of = question(&jane(), &asked(external))
            .resource_attributes
            .unwrap();
        assert_eq!((of.verb.as_deref(), of.name), (Some("list"), None));
        let path = question(&jane(), &asked("/apis"))
            .non_resource_attributes
            .unwrap();
        assert_eq!(path.path.as_deref(), Some("/apis"));
    }

    #[test]
    fn who_may_not_is_told_what() {
        assert_eq!(
            why_not(&jane(), &asked(POD)),
            "pods.custom.metrics.k8s.io \"*\" is forbidden: User \"jane\" cannot get resource \
             \"pods/showrunner_viewers\" in API group \"custom.metrics.k8s.io\" in the namespace \"media\""
        );
        assert_eq!(
            why_not(&jane(), &asked("/metrics")),
            "forbidden: User \"jane\" cannot get path \"/metrics\""
        );
    }

    #[test]
    fn tokens_are_read_as_bearers_show_them() {
        let token = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".into()));
        assert_eq!(token("bearer  abc "), Some("abc".into()));
        for text in ["Basic abc", "Bearer ", "Bearer", "abc"] {
            assert_eq!(token(text), None, "{text}");
        }
    }

    #[test]
    fn whoever_is_known_is_in_the_group_of_those() {
        assert_eq!(with_group(jane()).groups, ["shop", AUTHENTICATED]);
        assert_eq!(with_group(with_group(jane())).groups.len(), 2);
        let nobody = User {
            name: ANONYMOUS.into(),
            ..User::default()
        };
        assert!(with_group(nobody).groups.is_empty());
    }
}
