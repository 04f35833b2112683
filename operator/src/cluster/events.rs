//! Events, for people: written after what they tell of, at a bounded rate. When thousands of things happen at once,
//! some are left out and counted; the status of each object says it all.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;

use super::names::MANAGER;
use super::write::Hand;
use crate::metrics::Metrics;

/// Events that wait to be written.
const QUEUE: usize = 512;
/// The time between two.
const PACE: Duration = Duration::from_millis(25);
/// The longest note of an Event, in bytes.
const MAX_NOTE: usize = 1000;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// In a word.
    pub reason: &'static str,
    /// What the operator did or was about to do, in a word.
    pub action: &'static str,
    /// In a sentence.
    pub note: String,
    /// Another object that it is about.
    pub related: Option<ObjectReference>,
}

impl Happening {
    /// Something that is as it should be.
    #[must_use]
    pub fn normal(reason: &'static str, action: &'static str, note: String) -> Happening {
        Happening {
            is_warning: false,
            reason,
            action,
            note,
            related: None,
        }
    }

    /// Which is about another object, too: without it, several are counted as one.
    #[must_use]
    pub fn about<K: Resource<DynamicType = ()>>(mut self, other: &K) -> Happening {
        self.related = Some(other.object_ref(&()));
        self
    }

    /// Something that somebody should look at.
    #[must_use]
    pub fn warning(reason: &'static str, action: &'static str, note: String) -> Happening {
        Happening {
            is_warning: true,
            reason,
            action,
            note,
            related: None,
        }
    }
}

/// Takes Events.
#[derive(Clone, Debug)]
pub struct Reports {
    queue: mpsc::Sender<(Happening, ObjectReference)>,
    metrics: Metrics,
}

impl Reports {
    /// Something happened to an object.
    pub fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, happening: Happening) {
        let reference = object.object_ref(&());
        if self.queue.try_send((happening, reference)).is_err() {
            self.metrics.event_left_out();
            tracing::debug!("an Event of {} is left out", object.name_any());
        }
    }
}

/// What takes Events, and what writes them.
pub fn reports(
    hand: Hand,
    metrics: Metrics,
    instance: &str,
) -> (Reports, impl Future<Output = ()> + Send + use<>) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let recorder = Recorder::new(
        hand.client(),
        Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance.to_owned()),
        },
    );
    (Reports { queue, metrics }, write(waiting, hand, recorder))
}

async fn write(
    mut waiting: mpsc::Receiver<(Happening, ObjectReference)>,
    hand: Hand,
    recorder: Recorder,
) {
    while let Some((happening, reference)) = waiting.recv().await {
        let event = event(happening);
        let written = hand
            .write("events", recorder.publish(&event, &reference))
            .await;
        if let Err(error) = written {
            tracing::debug!("an Event could not be written: {error}");
        }
        tokio::time::sleep(PACE).await;
    }
}

fn event(happening: Happening) -> Event {
    let mut note = happening.note;
    let end = (0..=MAX_NOTE.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end));
    note.truncate(end.unwrap_or(0));
    Event {
        type_: if happening.is_warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: happening.reason.to_owned(),
        note: Some(note),
        action: happening.action.to_owned(),
        secondary: happening.related,
    }
}
