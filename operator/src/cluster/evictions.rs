//! Evictions that somebody asks for by an EvictionRequest (`lifecycle.k8s.io`), where the API server knows of such.
//!
//! Whether it does is asked for at the start and from time to time. Where it doesn't, that is all that is done, and no
//! pod is made otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::lifecycle::v1alpha1::{Eviction, EvictionPodReference, ResponderStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;

use super::names::EVICTION_RESPONDER;
use super::slim;
use super::watch::{News, Watched, watch};

/// The version that is answered.
pub const API_VERSION: &str = "lifecycle.k8s.io/v1alpha1";
/// How often an API server that knows of no evictions is asked again, and one that does, whether it still does.
const UNSERVED_REST: Duration = Duration::from_secs(300);
const SERVED_REST: Duration = Duration::from_secs(60);
/// Rest after an API server that gave no answer.
const RETRY_REST: Duration = Duration::from_secs(2);

/// Evictions that are to be seen to, by the uids of their pods.
pub type Asked = HashMap<String, Arc<Eviction>>;

/// The evictions of media pods.
#[derive(Clone, Debug)]
pub struct Evictions(watch::Receiver<Known>);

#[derive(Clone, Debug)]
enum Known {
    /// The API server has not said yet whether it knows of evictions.
    Nothing,
    /// It knows of none, or this program may not read them.
    Unserved,
    /// It does.
    Served(Watched<Eviction>),
}

impl Evictions {
    /// Whether somebody can ask for the eviction of a pod, and would be heard.
    #[must_use]
    pub fn are_served(&self) -> bool {
        matches!(&*self.0.borrow(), Known::Served(_))
    }

    /// Those that are to be seen to now.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let Known::Served(evictions) = &*self.0.borrow() else {
            return Asked::default();
        };
        let all = evictions.all().into_iter();
        all.filter(|eviction| said(eviction).is_some())
            .filter_map(|eviction| Some((target(&eviction)?.uid.clone(), eviction)))
            .collect()
    }

    /// Whether all of them were read, or it is known that there are none.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &*self.0.borrow() {
            Known::Nothing => false,
            Known::Unserved => true,
            Known::Served(evictions) => evictions.is_complete(),
        }
    }

    /// Waits until that is so.
    pub async fn completed(&self) {
        let mut known = self.0.clone();
        loop {
            let now = known.borrow_and_update().clone();
            let done = async {
                match now {
                    Known::Nothing => std::future::pending().await,
                    Known::Unserved => {}
                    Known::Served(evictions) => evictions.completed().await,
                }
            };
            tokio::select! {
                () = done => return,
                changed = known.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// The pod that an eviction is of.
#[must_use]
pub fn target(eviction: &Eviction) -> Option<&EvictionPodReference> {
    eviction.spec.target.pod.as_ref()
}

/// What this program has said of an eviction; none unless it is this program's turn to see to it.
#[must_use]
pub fn said(eviction: &Eviction) -> Option<&ResponderStatus> {
    let status = eviction.status.as_ref()?;
    let mut responders = status.target_responders.iter().flatten();
    let is_turn = responders.any(|one| one.name == EVICTION_RESPONDER && one.state == "Active");
    let mut said = status.responders.iter().flatten();
    said.find(|one| is_turn && one.name == EVICTION_RESPONDER)
}

/// Begins to look. What is returned second must run; it tells the news, as a watch does.
pub fn follow(
    client: Client,
    tell: impl Fn(News<'_, Eviction>) + Clone + Send + 'static,
) -> (Evictions, impl Future<Output = ()> + Send) {
    let (known, evictions) = watch::channel(Known::Nothing);
    (Evictions(evictions), run(client, known, tell))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Served,
    Unserved,
    Forbidden,
}

async fn run(
    client: Client,
    known: watch::Sender<Known>,
    tell: impl Fn(News<'_, Eviction>) + Clone + Send + 'static,
) {
    let mut before = None;
    loop {
        let found = match look(&client).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!("whether there are evictions is not known: {error}");
                tokio::time::sleep(RETRY_REST).await;
                continue;
            }
        };
        if before != Some(found) {
            report(found, before);
        }
        before = Some(found);
        if found == Found::Served {
            let config = watcher::Config::default().any_semantic();
            let config = config.labels(EVICTION_RESPONDER);
            let api = Api::all(client.clone());
            let (evictions, watching) =
                watch::<Eviction>(api, config, slim::eviction, tell.clone());
            known.send_replace(Known::Served(evictions));
            tokio::select! {
                () = watching => {}
                () = unserved(&client) => {}
            }
            // Whoever waits for word of an eviction would wait for ever.
            known.send_replace(Known::Unserved);
            tell(News::All);
        } else {
            known.send_replace(Known::Unserved);
            tokio::time::sleep(UNSERVED_REST).await;
        }
    }
}

/// Waits until the API server says that it knows of no evictions any more.
async fn unserved(client: &Client) {
    loop {
        tokio::time::sleep(SERVED_REST).await;
        if matches!(look(client).await, Ok(Found::Unserved | Found::Forbidden)) {
            return;
        }
    }
}

async fn look(client: &Client) -> kube::Result<Found> {
    match client.list_api_group_resources(API_VERSION).await {
        Ok(resources) if has_evictions(&resources) => {}
        Ok(_) => return Ok(Found::Unserved),
        Err(error) if matches!(code(&error), Some(403 | 404)) => return Ok(Found::Unserved),
        Err(error) => return Err(error),
    }
    let api: Api<Eviction> = Api::all(client.clone());
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(Found::Served),
        Err(error) if code(&error) == Some(403) => Ok(Found::Forbidden),
        Err(error) => Err(error),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn has_evictions(resources: &APIResourceList) -> bool {
    let mut names = resources.resources.iter().map(|one| one.name.as_str());
    names.any(|name| name == "evictions")
}

fn report(found: Found, before: Option<Found>) {
    match found {
        Found::Served => tracing::info!("evictions of {API_VERSION} are answered"),
        Found::Forbidden => tracing::warn!(
            "evictions of {API_VERSION} are not answered: let the operator get, list and watch `evictions`, and patch \
             `evictions/status`, as the chart's ClusterRole does"
        ),
        Found::Unserved if before.is_some() => {
            tracing::info!("evictions of {API_VERSION} are not answered any more");
        }
        Found::Unserved => {}
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn eviction(state: &str, responder: &str) -> Eviction {
        serde_json::from_value(json!({
            "metadata": {"name": "e", "namespace": "media"},
            "spec": {"target": {"pod": {"name": "eu-0", "uid": "u"}}},
            "status": {
                "targetResponders": [
                    {"name": responder, "priority": 10000, "state": state},
                    {"name": "imperative-eviction.k8s.io/evictor", "priority": 100, "state": "Inactive"},
                ],
                "responders": [{"name": "imperative-eviction.k8s.io/evictor"}, {"name": responder, "message": "m"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_its_turn_is_seen_to() {
        for (state, responder, expected) in [
            ("Active", EVICTION_RESPONDER, true),
            ("Active", "example.com/other", false),
            ("Inactive", EVICTION_RESPONDER, false),
            ("Canceled", EVICTION_RESPONDER, false),
            ("Interrupted", EVICTION_RESPONDER, false),
            ("Completed", EVICTION_RESPONDER, false),
        ] {
            let eviction = eviction(state, responder);
            let message = said(&eviction).and_then(|said| said.message.as_deref());
            assert_eq!(
                message,
                expected.then_some("m"),
                "{responder} that is {state}"
            );
        }
        assert!(said(&Eviction::default()).is_none());
    }

    /// An API server that knows of evictions, or does not, or lets nobody read them.
    #[derive(Default)]
    struct Server {
        knows: AtomicBool,
        forbids: AtomicBool,
        asked: AtomicUsize,
    }

    impl Server {
        fn client(self: &Arc<Self>) -> Client {
            let server = Arc::clone(self);
            let answer = move |request: Request<Body>| {
                let (status, body) = server.answer(request.uri().path());
                let response = Response::builder().status(status);
                let response = response.body(Body::from(body.to_string().into_bytes()));
                std::future::ready(Ok::<_, Infallible>(response.unwrap()))
            };
            Client::new(tower::service_fn(answer), "default")
        }

        fn answer(&self, path: &str) -> (u16, Value) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let refusal = |code| {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "", "reason": "", "code": code});
                (code, status)
            };
            if !self.knows.load(Ordering::SeqCst) {
                return refusal(404);
            }
            if path == format!("/apis/{API_VERSION}") {
                let names = ["evictions", "evictionrequests"];
                let resources = names.map(|name| {
                    json!({"name": name, "singularName": "", "namespaced": true, "kind": "E", "verbs": []})
                });
                return (
                    200,
                    json!({"kind": "APIResourceList", "groupVersion": API_VERSION, "resources": resources}),
                );
            }
            if self.forbids.load(Ordering::SeqCst) {
                return refusal(403);
            }
            let list = json!({"kind": "EvictionList", "apiVersion": API_VERSION,
                "metadata": {"resourceVersion": "7"}, "items": []});
            (200, list)
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn an_api_server_is_asked_whether_it_knows_of_evictions() {
        for (knows, forbids, expected) in [
            (false, false, Found::Unserved),
            (true, false, Found::Served),
            (true, true, Found::Forbidden),
        ] {
            let server = Arc::new(Server::default());
            server.knows.store(knows, Ordering::SeqCst);
            server.forbids.store(forbids, Ordering::SeqCst);
            let found = runtime().block_on(async { look(&server.client()).await });
            assert_eq!(found.unwrap(), expected);
        }
    }

    #[test]
    fn one_that_knows_of_none_is_left_alone() {
        let server = Arc::new(Server::default());
        runtime().block_on(async {
            let (evictions, following) = follow(server.client(), |_| panic!("there is no news"));
            assert!(!evictions.is_complete());
            let known = async {
                evictions.completed().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokio::select! {
                () = known => {}
                () = following => {}
            }
            assert!(evictions.is_complete() && !evictions.are_served());
            assert!(evictions.asked().is_empty());
        });
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn one_that_knows_of_some_is_watched() {
        let server = Arc::new(Server::default());
        server.knows.store(true, Ordering::SeqCst);
        runtime().block_on(async {
            let (evictions, following) = follow(server.client(), |_| {});
            tokio::select! {
                () = evictions.completed() => {}
                () = following => {}
            }
            assert!(evictions.are_served() && evictions.asked().is_empty());
        });
    }
}
