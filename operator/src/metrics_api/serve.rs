//! Answers requests: who asks, whether they may, and only then what it is about.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::Value;
use showrunner_door::Shown;

use super::answer;
use super::catalog::{CUSTOM, EXTERNAL, External, Subject};
use super::discovery;
use super::population::{Population, Seen, Which, selects_unlabelled};
use super::reading::Moment;
use super::refusal::Refusal;
use super::request::{self, Attributes};
use super::review::Reviews;
use super::selector::parse;
use crate::pods::PodId;
use crate::world::World;

/// Whatever has the name: the API server's own way to ask for many at once.
const ALL: &str = "*";

/// What answers.
pub struct Server {
    /// What there is.
    pub world: Arc<World>,
    /// Who may ask.
    pub reviews: Reviews,
}

/// Its routes: all paths, since whoever may not ask is not told which there are.
pub fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(answer).with_state(server)
}

async fn answer(State(server): State<Arc<Server>>, asked: Request) -> Response {
    // What is asked is all in its head: the body is not read.
    let (asked, _) = asked.into_parts();
    match server.answer(&asked).await {
        Ok(found) => Json(found).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selectors {
    label_selector: String,
    metric_label_selector: String,
}

impl Server {
    async fn answer(&self, asked: &Parts) -> Result<Value, Refusal> {
        let path = asked.uri.path();
        let request = request::read(&asked.method, path)
            .ok_or_else(|| Refusal::bad_request("this is no path of an API".to_owned()))?;
        let shown = asked.extensions.get::<Shown>().map(|shown| &shown.0);
        let user = self.reviews.user(shown, &asked.headers).await?;
        self.reviews.may(&user, &request).await?;
        if !request.reads() {
            return Err(Refusal::not_allowed());
        }
        let missing =
            || Refusal::not_found("the server could not find the requested resource".to_owned());
        match &request {
            request::Request::Path { path, .. } => discovery::at(path).ok_or_else(missing),
            request::Request::Resource(of) => self.values(of, &asked.uri)?.ok_or_else(missing),
        }
    }

    fn values(&self, of: &Attributes, uri: &Uri) -> Result<Option<Value>, Refusal> {
        let selectors = Query::<Selectors>::try_from_uri(uri);
        let Query(selectors) =
            selectors.map_err(|error| Refusal::bad_request(error.to_string()))?;
        let api = [CUSTOM, EXTERNAL]
            .into_iter()
            .find(|api| api.group == of.group && api.version == of.version);
        match api {
            Some(CUSTOM) => self.custom(of, &selectors),
            Some(EXTERNAL) => self.external(of, &selectors),
            _ => Ok(None),
        }
    }

    fn custom(&self, of: &Attributes, selectors: &Selectors) -> Result<Option<Value>, Refusal> {
        let subject = Subject::named(&of.resource);
        let found = subject.and_then(|subject| Some((subject, subject.measure(&of.subresource)?)));
        let Some((subject, measure)) = found else {
            return Ok(None);
        };
        if of.namespace.is_empty() {
            return Ok(None);
        }
        let invalid =
            |error: super::selector::InvalidSelector| Refusal::bad_request(error.to_string());
        let which = match of.name.as_str() {
            ALL => Which::Selected(parse(&selectors.label_selector).map_err(invalid)?),
            name => Which::Named(name),
        };
        let by_labels = parse(&selectors.metric_label_selector).map_err(invalid)?;
        let mut all = self
            .population()?
            .described((subject, measure), &of.namespace, &which);
        all.retain(|_| selects_unlabelled(&by_labels));
        if let (Which::Named(name), true) = (&which, all.is_empty()) {
            return Err(Refusal::not_found(format!(
                "the server could not find the metric {} for {} {name}",
                of.subresource, of.resource
            )));
        }
        Ok(Some(answer::custom(subject, measure, &of.namespace, &all)))
    }

    fn external(&self, of: &Attributes, selectors: &Selectors) -> Result<Option<Value>, Refusal> {
        let Some(metric) = External::named(&of.resource) else {
            return Ok(None);
        };
        if of.namespace.is_empty() || !of.name.is_empty() {
            return Ok(None);
        }
        let selector = parse(&selectors.label_selector);
        let selector = selector.map_err(|error| Refusal::bad_request(error.to_string()))?;
        let all = self.population()?.labelled(metric, &of.namespace);
        Ok(Some(answer::external(metric, &selector, all)))
    }

    /// All there is now, if all was seen once.
    fn population(&self) -> Result<Population, Refusal> {
        let world = &self.world;
        if !world.is_complete() {
            let why = "it has not read yet what there is".to_owned();
            return Err(Refusal::unavailable(why));
        }
        let now = Moment::now();
        let seen = world.pods.all().into_iter().map(|pod| {
            let uid = pod.uid();
            let sight = uid.and_then(|uid| world.sights.get(&PodId::of(&pod), &uid));
            Seen::new(pod, sight, now)
        });
        Ok(Population {
            pods: seen.collect(),
            sites: world.sites.all(),
            rooms: world.rooms.all(),
            now,
        })
    }
}
