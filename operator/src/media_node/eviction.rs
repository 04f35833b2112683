//! What is said of an eviction that somebody asked for, while its pod is seen off. Pure.

use k8s_openapi::api::lifecycle::v1alpha1::ResponderStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::desired::{Sessions, Stage};
use crate::cluster::names::EVICTION_RESPONDER;

/// How often it is said that all goes on: Kubernetes wants that every twenty minutes, and not every twenty seconds.
const HEARTBEAT_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// The pod that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Is there.
    There {
        /// Where it is in its life.
        stage: Stage,
        /// The sessions on it.
        sessions: Sessions,
        /// When it is gone at the latest, once it is being deleted.
        ends: Option<Timestamp>,
    },
    /// Is not there any more.
    Gone,
}

/// What is to be said after what was said; none if that is still so. Its times are whole seconds, as Kubernetes keeps
/// them.
#[must_use]
pub fn next(said: &ResponderStatus, target: &Target, now: Timestamp) -> Option<ResponderStatus> {
    if said.completion_time.is_some() {
        return None;
    }
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let started = said.start_time.as_ref().map_or(now, |time| time.0);
    let heartbeat = said.heartbeat_time.as_ref().map(|time| time.0);
    let is_due = heartbeat.is_none_or(|at| now.duration_since(at) >= HEARTBEAT_EVERY);
    let known = said.message.as_deref().unwrap_or_default();
    let told = tell(target);
    // A deadline that is over is none any more: Kubernetes takes none of the past.
    let expected = told.expected.filter(|at| *at >= now);
    let is_news = !known.starts_with(told.message)
        || said.expected_completion_time.as_ref().map(|time| time.0) != expected;
    if !is_due && !is_news && !told.is_complete {
        return None;
    }
    // The clock of whoever set the start may be ahead of this one.
    let now = now.max(started);
    let heartbeat = heartbeat.filter(|_| !is_due).unwrap_or(now);
    let sessions = told.sessions.map(|count| format!(" ({count} sessions)"));
    Some(ResponderStatus {
        name: EVICTION_RESPONDER.to_owned(),
        start_time: None,
        heartbeat_time: Some(Time(heartbeat)),
        expected_completion_time: expected.map(Time),
        completion_time: told.is_complete.then_some(Time(now)),
        message: Some(told.message.to_owned() + &sessions.unwrap_or_default()),
    })
}

struct Told {
    message: &'static str,
    sessions: Option<u32>,
    expected: Option<Timestamp>,
    is_complete: bool,
}

fn tell(target: &Target) -> Told {
    let Target::There {
        stage,
        sessions,
        ends,
    } = target
    else {
        return Told {
            message: "the pod is gone",
            sessions: None,
            expected: None,
            is_complete: true,
        };
    };
    let seconds = |at: u64| i64::try_from(at).ok().map(Timestamp::from_second);
    let (message, expected) = match stage {
        Stage::Unready | Stage::Ready => (
            "the pod serves until another one of its MediaNode is ready",
            None,
        ),
        Stage::Draining { deadline, .. } => (
            "the pod drains: its rooms go to other pods, and its sessions after them",
            seconds(*deadline).and_then(Result::ok),
        ),
        Stage::Terminating => ("the pod is being deleted", *ends),
        Stage::Ended => ("the pod has ended", None),
    };
    Told {
        message,
        sessions: match sessions {
            Sessions::Count(count) => Some(*count),
            Sessions::Impossible | Sessions::Unknown => None,
        },
        expected,
        is_complete: *stage == Stage::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn there(stage: Stage) -> Target {
        Target::There {
            stage,
            sessions: Sessions::Count(7),
            ends: Some(at(NOW + 60)),
        }
    }

    fn draining(deadline: i64) -> Target {
        there(Stage::Draining {
            deadline: u64::try_from(deadline).unwrap(),
            is_aware: true,
        })
    }

    fn started() -> ResponderStatus {
        ResponderStatus {
            name: EVICTION_RESPONDER.to_owned(),
            start_time: Some(Time(at(NOW - 5))),
            ..ResponderStatus::default()
        }
    }

    /// As the API server has it after an answer.
    fn after(answer: ResponderStatus) -> ResponderStatus {
        ResponderStatus {
            start_time: started().start_time,
            ..answer
        }
    }

    fn seconds(time: Option<&Time>) -> Option<i64> {
        time.map(|time| time.0.as_second() - NOW)
    }

    #[test]
    fn it_is_said_how_far_a_pod_is() {
        for (target, message, expected, completed) in [
            (there(Stage::Ready), "serves until another", None, None),
            (
                draining(NOW + 600),
                "drains: its rooms go to other pods, and its sessions after them (7 sessions)",
                Some(600),
                None,
            ),
            (draining(NOW - 1), "drains", None, None),
            (
                there(Stage::Terminating),
                "is being deleted",
                Some(60),
                None,
            ),
            (there(Stage::Ended), "has ended", None, Some(0)),
            (Target::Gone, "is gone", None, Some(0)),
        ] {
            let answer = next(&started(), &target, at(NOW)).unwrap();
            assert!(answer.message.unwrap().contains(message), "{target:?}");
            assert_eq!(seconds(answer.heartbeat_time.as_ref()), Some(0));
            assert_eq!(
                seconds(answer.expected_completion_time.as_ref()),
                expected,
                "{target:?}"
            );
            assert_eq!(
                seconds(answer.completion_time.as_ref()),
                completed,
                "{target:?}"
            );
            assert_eq!(answer.start_time, None, "it is not ours to set");
        }
    }

    #[test]
    fn what_is_still_so_is_said_again_every_half_a_minute() {
        let target = draining(NOW + 600);
        let said = after(next(&started(), &target, at(NOW)).unwrap());
        let mut fewer = target.clone();
        if let Target::There { sessions, .. } = &mut fewer {
            *sessions = Sessions::Count(3);
        }
        assert_eq!(next(&said, &fewer, at(NOW + 29)), None);
        let again = next(&said, &fewer, at(NOW + 30)).unwrap();
        assert_eq!(seconds(again.heartbeat_time.as_ref()), Some(30));
        assert!(again.message.unwrap().ends_with("(3 sessions)"));
    }

    #[test]
    fn news_is_told_at_once_but_hearts_beat_no_faster() {
        let said = after(next(&started(), &there(Stage::Ready), at(NOW)).unwrap());
        let news = next(&said, &draining(NOW + 600), at(NOW + 3)).unwrap();
        assert_eq!(seconds(news.heartbeat_time.as_ref()), Some(0));
        assert_eq!(seconds(news.expected_completion_time.as_ref()), Some(600));
        let end = next(&after(news), &Target::Gone, at(NOW + 9)).unwrap();
        assert_eq!(seconds(end.completion_time.as_ref()), Some(9));
        assert_eq!(seconds(end.heartbeat_time.as_ref()), Some(0));
        assert_eq!(
            next(&after(end), &Target::Gone, at(NOW + 99)),
            None,
            "it is over"
        );
    }

    #[test]
    fn no_time_is_before_the_start() {
        let early = at(NOW - 9);
        let answer = next(&started(), &Target::Gone, early).unwrap();
        assert_eq!(seconds(answer.heartbeat_time.as_ref()), Some(-5));
        assert_eq!(seconds(answer.completion_time.as_ref()), Some(-5));
    }
}
