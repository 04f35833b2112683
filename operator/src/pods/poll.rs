//! Asks every pod how it is, once a second, and four times as often whether it is there and ready. Of one that takes its
//! time with the answer, two of its neighbours are asked whether it answers them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use showrunner_protocol::control::RoomStatus;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::control::{Control, ControlError};
use super::questions::{Question, Questions};
use super::sight::{Changes, Sights, Silence};
use super::witness::{verdict, witnesses};
use super::{PodId, address, is_leaving};
use crate::cluster::watch::Watched;

/// How often a pod is asked whether it is there: it answers in a few bytes.
const EVERY: Duration = Duration::from_millis(250);
/// Every so many times it is asked for all that it has; one that is to go, or sends clients on, each time.
const STATUS_EVERY: u32 = 4;
/// Pods that are asked at the same time. Each answers within moments or not at all.
const AT_A_TIME: usize = 128;

/// Asks for ever, and tells what is new.
pub async fn poll(
    pods: Watched<Pod>,
    control: Control,
    sights: Arc<Sights>,
    tell: impl Fn(&PodId, &Changes) + Send + Sync + 'static,
) {
    let asker = Arc::new(Asker {
        control,
        sights,
        questions: Questions::default(),
        places: Semaphore::new(AT_A_TIME),
        tell,
    });
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pods.completed().await;
    for tick in 0u32.. {
        ticks.tick().await;
        let all = pods.all();
        let there: HashSet<PodId> = all.iter().map(|pod| PodId::of(pod)).collect();
        asker.sights.retain(|pod| there.contains(pod));
        for (index, pod) in (0u32..).zip(&all) {
            let Some(asked) = Asked::of(pod) else {
                continue;
            };
            // Not all in the same moment.
            let is_turn = tick.wrapping_add(index).is_multiple_of(STATUS_EVERY);
            asker.doubt(&asked, pod, &all);
            asker.ask(asked, is_turn || is_leaving(pod));
        }
    }
}

/// A pod that can be asked.
#[derive(Clone)]
struct Asked {
    id: PodId,
    uid: String,
    address: SocketAddr,
}

impl Asked {
    fn of(pod: &Pod) -> Option<Asked> {
        Some(Asked {
            id: PodId::of(pod),
            uid: pod.uid()?,
            address: address(pod)?,
        })
    }
}

struct Asker<Tell> {
    control: Control,
    sights: Arc<Sights>,
    questions: Questions,
    places: Semaphore,
    tell: Tell,
}

impl<Tell: Fn(&PodId, &Changes) + Send + Sync + 'static> Asker<Tell> {
    /// Asks a pod for all that it has, or whether it is there. One that takes its time with the former is asked the latter
    /// meanwhile.
    fn ask(self: &Arc<Self>, pod: Asked, wants_all: bool) {
        let wants_all = wants_all || self.is_in_motion(&pod);
        let questions = if wants_all {
            &[Question::All, Question::Presence][..]
        } else {
            &[Question::Presence]
        };
        let mut questions = questions.iter().copied();
        let Some(question) = questions.find(|one| self.questions.begin(&pod.id, *one)) else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if this.put(&pod, question).await && this.questions.begin(&pod.id, Question::All) {
                this.put(&pod, Question::All).await;
            }
        });
    }

    /// Asks a question that has begun. True if the answer differs from what is known: there is more to be asked at once.
    async fn put(&self, pod: &Asked, question: Question) -> bool {
        let _place = self.places.acquire().await;
        let since = Instant::now();
        self.questions.is_sent(&pod.id, question, since);
        let answer = self.answer(pod, question).await;
        self.questions.end(&pod.id, question);
        let (changes, is_other) = answer.unwrap_or_else(|error| {
            let changes = self.no_answer(pod, &error, since);
            if changes.is_some() {
                tracing::warn!(pod = %pod.id, "a media pod: {error}");
            }
            (changes, false)
        });
        self.tell(pod, &changes);
        is_other
    }

    async fn answer(
        &self,
        pod: &Asked,
        question: Question,
    ) -> Result<(Changes, bool), ControlError> {
        let (id, uid) = (&pod.id, &pod.uid);
        if question == Question::All {
            let status = self.control.status(pod.address).await?;
            let changes = self.sights.answered(id, uid, status, Instant::now());
            Ok((changes, false))
        } else {
            let is_ready = self.control.is_ready(pod.address).await?;
            let changes = self.sights.is_there(id, uid);
            let known = self.sights.get(id, uid);
            let is_other = known.is_some_and(|sight| sight.is_other_than(is_ready));
            Ok((changes, is_other))
        }
    }

    fn no_answer(&self, pod: &Asked, error: &ControlError, since: Instant) -> Changes {
        let how = match error {
            // Nothing can be said of a pod that can't be asked.
            ControlError::NoKeys(_) => return Changes::default(),
            ControlError::Gone(_) => Silence::Refused,
            ControlError::Unreachable(_) | ControlError::Refused(..) => Silence::Silent,
        };
        let now = Instant::now();
        self.sights.silent(&pod.id, &pod.uid, how, since, now)
    }

    /// Has its neighbours look after a pod that did not answer within a round.
    fn doubt(self: &Arc<Self>, pod: &Asked, of: &Pod, all: &[Arc<Pod>]) {
        let Some(since) = self.questions.sent(&pod.id) else {
            return;
        };
        let known = self.sights.get(&pod.id, &pod.uid);
        if since.elapsed() < EVERY || known.is_none_or(|sight| sight.status.is_none()) {
            return;
        }
        let witnesses = witnesses(of, all, &self.sights);
        if witnesses.is_empty() || !self.questions.begin(&pod.id, Question::Peers) {
            return;
        }
        let (this, pod) = (Arc::clone(self), pod.clone());
        tokio::spawn(async move {
            let ask = |witness| this.control.is_answered_by(witness, pod.address);
            let answers = join_all(witnesses.into_iter().map(ask)).await;
            this.questions.end(&pod.id, Question::Peers);
            // It may have answered in the meantime.
            let is_silent = this.questions.sent(&pod.id) == Some(since);
            if verdict(answers.into_iter().flatten()) == Some(false) && is_silent {
                tracing::warn!(pod = %pod.id, "a media pod: it does not answer its neighbours either");
                let now = Instant::now();
                let changes = this.sights.unseen(&pod.id, &pod.uid, since, now);
                this.tell(&pod, &changes);
            }
        });
    }

    fn tell(&self, pod: &Asked, changes: &Changes) {
        if changes.is_some() {
            (self.tell)(&pod.id, changes);
        }
    }

    /// Whether a room comes to a pod or goes from it: the next step waits for what the pod says, or for it to be there at
    /// all.
    fn is_in_motion(&self, pod: &Asked) -> bool {
        let is_coming = |room: &RoomStatus| {
            let source = room.source.as_ref();
            source.is_some_and(|source| !source.connected)
        };
        self.sights.get(&pod.id, &pod.uid).is_none_or(|sight| {
            let mut rooms = sight.rooms.values();
            sight.status.is_none() || rooms.any(|room| room.leaving || is_coming(room))
        })
    }
}
