//! The WHEP extension for server-sent events (`urn:ietf:params:whep:ext:core:server-sent-events`), and the same for
//! hosts and transcoders.
//!
//! A POST makes a stream of the event types it lists, a GET follows it. A stream begins with the room's present state,
//! so what a client missed while it was not connected needs no queue, but for `reconnect`, which is kept.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::body::ACCEPT_POST;
use super::problem::Problem;
use super::registry::Entry;
use super::session::{Found, find};
use super::{App, JSON, body, cors};
use crate::node::{
    Adaptation, EndReason, LayerInfo, Node, Role, RoomEvent, SessionError, SessionId,
};

const RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
/// How often a quiet stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Streams of one session; a further one replaces the oldest.
const MAX_STREAMS: usize = 4;

/// `/sessions/{id}/events`
pub(super) fn collection() -> MethodRouter<App> {
    post(create).options(options_of_collection)
}

/// `/sessions/{id}/events/{stream}`
pub(super) fn stream() -> MethodRouter<App> {
    get(follow).delete(destroy).options(options_of_stream)
}

/// The Link field that announces it. Hosts have it as well, though WHIP knows no such extension.
pub(super) fn link(session: &str, role: Role) -> Option<HeaderValue> {
    let names: Vec<_> = EventType::of_role(role).iter().map(|t| t.name()).collect();
    let names = names.join(",");
    let link = format!("<{session}/events>; rel=\"{RELATION}\"; events=\"{names}\"");
    HeaderValue::try_from(link).ok()
}

/// What a stream can tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventType {
    Active,
    Inactive,
    Layers,
    Adaptation,
    ViewerCount,
    Reconnect,
    Ended,
    Wanted,
}

impl EventType {
    const OF_VIEWERS: [EventType; 7] = [
        EventType::Active,
        EventType::Inactive,
        EventType::Layers,
        EventType::Adaptation,
        EventType::ViewerCount,
        EventType::Reconnect,
        EventType::Ended,
    ];
    const OF_SENDERS: [EventType; 5] = [
        EventType::Layers,
        EventType::ViewerCount,
        EventType::Reconnect,
        EventType::Ended,
        EventType::Wanted,
    ];

    fn of_role(role: Role) -> &'static [EventType] {
        match role {
            Role::Publisher | Role::Transcoder => &EventType::OF_SENDERS,
            Role::Viewer => &EventType::OF_VIEWERS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            EventType::Active => "active",
            EventType::Inactive => "inactive",
            EventType::Layers => "layers",
            EventType::Adaptation => "adaptation",
            EventType::ViewerCount => "viewercount",
            EventType::Reconnect => "reconnect",
            EventType::Ended => "ended",
            EventType::Wanted => "wanted",
        }
    }

    fn of(event: &RoomEvent) -> EventType {
        match event {
            RoomEvent::Active => EventType::Active,
            RoomEvent::Inactive => EventType::Inactive,
            RoomEvent::Layers(_) => EventType::Layers,
            RoomEvent::Adaptation(_) => EventType::Adaptation,
            RoomEvent::ViewerCount(_) => EventType::ViewerCount,
            RoomEvent::Reconnect { .. } => EventType::Reconnect,
            RoomEvent::Ended => EventType::Ended,
            RoomEvent::Wanted(_) => EventType::Wanted,
        }
    }
}

/// The event streams of a session, oldest first.
#[derive(Default)]
pub(super) struct Streams {
    open: VecDeque<EventStream>,
    next: u32,
}

struct EventStream {
    number: u32,
    types: Vec<EventType>,
    /// What has happened since nobody follows; with its follower while there is one.
    waiting: Option<broadcast::Receiver<RoomEvent>>,
    /// Gone when the stream is destroyed, which ends its followers.
    alive: watch::Sender<()>,
}

impl Streams {
    fn add(&mut self, types: Vec<EventType>, events: broadcast::Receiver<RoomEvent>) -> u32 {
        if self.open.len() == MAX_STREAMS {
            self.open.pop_front();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.push_back(EventStream {
            number,
            types,
            waiting: Some(events),
            alive: watch::Sender::new(()),
        });
        number
    }

    fn get(&mut self, number: u32) -> Option<&mut EventStream> {
        self.open.iter_mut().find(|s| s.number == number)
    }

    fn remove(&mut self, number: u32) -> bool {
        let before = self.open.len();
        self.open.retain(|s| s.number != number);
        self.open.len() < before
    }
}

async fn options_of_collection() -> Response {
    cors::options("POST, OPTIONS", Some((ACCEPT_POST, JSON)))
}

async fn options_of_stream() -> Response {
    cors::options("GET, HEAD, DELETE, OPTIONS", None)
}

/// Makes a stream of the listed event types; without a body, of all.
async fn create(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let found = find(&app, &id, &headers)?;
    let text = body::text(body).await?;
    let types = if text.trim().is_empty() {
        EventType::of_role(found.role).to_vec()
    } else {
        body::require(&headers, JSON, ACCEPT_POST)?;
        read_types(&text, EventType::of_role(found.role))?
    };
    let (_, events) = app.node().events(&found.id)?;
    let number = found.entry.streams().add(types, events);
    let location = format!("/sessions/{}/events/{number}", found.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

fn read_types(text: &str, offered: &[EventType]) -> Result<Vec<EventType>, Problem> {
    let names: Vec<String> = serde_json::from_str(text).map_err(|error| {
        let detail = format!("the body is not a JSON array of event types: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let mut types = Vec::new();
    for name in &names {
        let Some(known) = offered.iter().copied().find(|t| t.name() == name) else {
            let all: Vec<_> = offered.iter().map(|t| t.name()).collect();
            let all = all.join(", ");
            let detail = format!("there is no event type {name:?} here; there are {all}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        };
        if !types.contains(&known) {
            types.push(known);
        }
    }
    Ok(types)
}

async fn destroy(
    State(app): State<App>,
    Path((id, number)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let found = find(&app, &id, &headers)?;
    if found.entry.streams().remove(number) {
        return Ok(StatusCode::OK);
    }
    Err(no_such_stream())
}

async fn follow(
    State(app): State<App>,
    Path((id, number)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = find(&app, &id, &headers)?;
    let follower = Follower::new(&app, &found, number)?;
    let stream = Sse::new(follower.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let not_stored = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((not_stored, stream).into_response())
}

fn no_such_stream() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no such event stream: it was deleted or never existed",
    )
}

/// One GET on a stream, until the client leaves, the stream is destroyed or the session ends.
struct Follower {
    node: Node,
    id: SessionId,
    entry: Arc<Entry>,
    number: u32,
    types: Vec<EventType>,
    role: Role,
    video_index: usize,
    /// To be sent before anything new.
    first: VecDeque<RoomEvent>,
    /// To be sent at a moment of this viewer's own.
    later: Option<(Instant, RoomEvent)>,
    /// Always there, but for the moment of dropping.
    events: Option<broadcast::Receiver<RoomEvent>>,
    /// What this viewer is sent of the picture.
    adaptation: watch::Receiver<Option<Adaptation>>,
    alive: watch::Receiver<()>,
    ended: watch::Receiver<Option<EndReason>>,
}

impl Follower {
    fn new(app: &App, found: &Found, number: u32) -> Result<Follower, Problem> {
        let ended = app.node().ended(&found.id).ok_or(SessionError::NotFound)?;
        let adaptation = app.node().adaptation(&found.id);
        let mut adaptation = adaptation.ok_or(SessionError::NotFound)?;
        adaptation.mark_changed();
        let mut streams = found.entry.streams();
        let stream = streams.get(number).ok_or_else(no_such_stream)?;
        let mut first = VecDeque::new();
        let missed = stream.waiting.take().map(|mut events| {
            first = kept(&mut events);
            events
        });
        let (now, fresh) = app.node().events(&found.id)?;
        // A session never hears of the end of a publication that it has not seen.
        let is_news = |e: &RoomEvent| *e != RoomEvent::Inactive || found.entry.has_seen_active();
        first.extend(now.into_iter().filter(is_news));
        Ok(Follower {
            node: app.node().clone(),
            id: found.id.clone(),
            entry: Arc::clone(&found.entry),
            number,
            types: stream.types.clone(),
            role: found.role,
            video_index: found.entry.video_index.unwrap_or_default(),
            first,
            later: None,
            events: Some(missed.unwrap_or(fresh)),
            adaptation,
            alive: stream.alive.subscribe(),
            ended,
        })
    }

    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// The next event of the stream's types.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = match self.first.pop_front() {
                Some(event) => event,
                None => self.receive().await?,
            };
            if let Some(later) = put_off(&event, self.role) {
                self.later = Some(later);
                continue;
            }
            let event = match event {
                RoomEvent::Wanted(rids) => match self.node.wanted_of(&self.id, &rids) {
                    Some(own) => RoomEvent::Wanted(own),
                    None => continue,
                },
                event => event,
            };
            if event == RoomEvent::Active {
                self.entry.saw_active();
            }
            if self.types.contains(&EventType::of(&event)) {
                return Some(self.write(&event));
            }
        }
    }

    async fn receive(&mut self) -> Option<RoomEvent> {
        let events = self.events.as_mut()?;
        loop {
            let due = self.later.as_ref().map(|(at, _)| *at);
            tokio::select! {
                // What was said before the end is heard before the end.
                biased;
                event = events.recv() => match event {
                    Ok(event) => return Some(event),
                    // Each event tells of a whole state, so the next of its type makes up for those that were missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    return self.later.take().map(|(_, event)| event);
                }
                changed = self.adaptation.changed() => match changed {
                    Ok(()) => {
                        let adaptation = self.adaptation.borrow_and_update().clone();
                        if let Some(adaptation) = adaptation {
                            return Some(RoomEvent::Adaptation(adaptation));
                        }
                    }
                    Err(_) => return None,
                },
                _ = self.alive.changed() => return None,
                _ = self.ended.wait_for(Option::is_some) => return None,
            }
        }
    }

    fn write(&self, event: &RoomEvent) -> Event {
        let data = match event {
            RoomEvent::Active | RoomEvent::Inactive | RoomEvent::Ended => json!({}),
            RoomEvent::Layers(layers) => {
                let layers: Vec<_> = layers.iter().map(layer).collect();
                json!({ self.video_index.to_string(): layers })
            }
            RoomEvent::Wanted(rids) => {
                let rids: Vec<&str> = rids.iter().map(AsRef::as_ref).collect();
                json!({ "rids": rids })
            }
            RoomEvent::Adaptation(adaptation) => adapted(adaptation),
            RoomEvent::ViewerCount(viewers) => json!({ "viewercount": viewers }),
            RoomEvent::Reconnect { url: Some(url), .. } => json!({ "url": url }),
            RoomEvent::Reconnect { url: None, .. } => json!({}),
        };
        Event::default()
            .event(EventType::of(event).name())
            .data(data.to_string())
    }
}

impl Drop for Follower {
    /// Keeps what happens from now on for whoever follows next.
    fn drop(&mut self) {
        if let Some(stream) = self.entry.streams().get(self.number) {
            stream.waiting = self.events.take();
        }
    }
}

/// Of what has happened while nobody followed, that which the present state does not tell.
fn kept(events: &mut broadcast::Receiver<RoomEvent>) -> VecDeque<RoomEvent> {
    let mut kept = VecDeque::new();
    loop {
        match events.try_recv() {
            Ok(event @ RoomEvent::Reconnect { .. }) => kept.push_back(event),
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return kept,
        }
    }
}

/// When this viewer is told, of an event that not all are told at once. Hosts go first: so viewers who follow find them.
fn put_off(event: &RoomEvent, role: Role) -> Option<(Instant, RoomEvent)> {
    let RoomEvent::Reconnect { url, within } = event else {
        return None;
    };
    if within.is_zero() || role == Role::Publisher {
        return None;
    }
    let mut random = [0; 4];
    // Without randomness all are told at once, which still moves them.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
    let event = RoomEvent::Reconnect {
        url: url.clone(),
        within: Duration::ZERO,
    };
    Some((Instant::now() + within.mul_f64(share), event))
}

fn adapted(adaptation: &Adaptation) -> serde_json::Value {
    let mut value = json!({
        "state": if adaptation.layer.is_some() { "playing" } else { "paused" },
        "reason": adaptation.reason.name(),
        "estimateBps": adaptation.estimate_bps,
    });
    if let (Some(layer), Some(object)) = (&adaptation.layer, value.as_object_mut()) {
        object.insert("rid".into(), (*layer.rid).into());
        if let Some((width, height)) = layer.size {
            object.insert("width".into(), width.into());
            object.insert("height".into(), height.into());
        }
    }
    value
}

fn layer(layer: &LayerInfo) -> serde_json::Value {
    let mut value = json!({ "rid": layer.rid, "bitrate": layer.bitrate_bps });
    let Some(object) = value.as_object_mut() else {
        return value;
    };
    if let Some((width, height)) = layer.size {
        object.insert("width".into(), width.into());
        object.insert("height".into(), height.into());
    }
    for (name, id) in [
        ("spatialLayerId", layer.spatial_layer_id),
        ("temporalLayerId", layer.temporal_layer_id),
    ] {
        if let Some(id) = id {
            object.insert(name.into(), id.into());
        }
    }
    value
}
