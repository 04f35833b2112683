//! How pods are, as far as rooms mind. Pure.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;

use super::desired::State;
use crate::pods::sight::Sight;
use crate::pods::{self, address, is_leaving, is_ready};

/// Where a pod is in its life, by the API server and by what it says itself.
#[must_use]
pub fn state(pod: Option<&Pod>, sight: Option<&Sight>, now: Instant) -> State {
    let Some(pod) = pod.filter(|pod| !pods::is_ended(pod)) else {
        return State::Gone;
    };
    let is_being_deleted = pod.metadata.deletion_timestamp.is_some();
    // One that has an address and was not asked yet may well answer.
    let was_asked = sight.is_some() || address(pod).is_none();
    let is_lost = sight.is_none_or(|sight| sight.is_lost(now));
    let status = sight.and_then(|sight| sight.status.as_ref());
    // One that is cut off is left as one that drains is: its host and other pods may reach it still.
    let is_to_be_left = status.is_some_and(|status| status.draining || status.cut_off);
    // One that its kubelet finds ready, or that its neighbours reach, may only be cut off from us for a moment.
    let is_confirmed = is_being_deleted
        || !is_ready(pod)
        || sight.is_some_and(|sight| sight.hangs(now) || sight.is_dead(now));
    if is_lost && was_asked && is_confirmed {
        State::Lost
    } else if is_leaving(pod) || is_to_be_left {
        State::Leaving
    } else {
        State::Serving
    }
}

/// Whether others can take rooms from it, as far as is known: its program has not ended, and does not hang.
#[must_use]
pub fn may_feed(pod: Option<&Pod>, sight: Option<&Sight>, now: Instant) -> bool {
    let Some(pod) = pod.filter(|pod| !pods::is_ended(pod)) else {
        return false;
    };
    !sight.is_some_and(|sight| sight.is_gone(now) || hangs(pod, sight, now))
}

/// Whether it answers nobody, neither its neighbours nor its kubelet, which is on the same machine: who is only cut off
/// from us does. One that is to go is unready, and its kubelet tells no more of it.
fn hangs(pod: &Pod, sight: &Sight, now: Instant) -> bool {
    let status = sight.status.as_ref();
    let was_ready = status.is_some_and(|status| status.ready && !status.draining);
    let is_found_dead = was_ready && !is_ready(pod) && !is_leaving(pod);
    sight.hangs(now) || (sight.is_lost(now) && is_found_dead)
}

/// Whether a pod takes rooms that it does not have.
#[must_use]
pub fn is_open(pod: &Pod, sight: Option<&Sight>) -> bool {
    let answers = sight.filter(|sight| sight.answers());
    let status = answers.and_then(|sight| sight.status.as_ref());
    is_ready(pod)
        && !is_leaving(pod)
        && status.is_some_and(|status| status.ready && !status.draining && !status.cut_off)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use showrunner_protocol::control::PodStatus;

    use super::*;
    use crate::pods::PodId;
    use crate::pods::sight::{LOST_AFTER, Sights, Silence};

    fn pod(is_ready: bool, annotations: serde_json::Value) -> Pod {
        let ready = if is_ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"annotations": annotations},
            "status": {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": ready}]},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn id() -> PodId {
        PodId {
            namespace: "media".into(),
            name: "eu-0".into(),
        }
    }

    /// What is known of a pod that said this, and then nothing for so long.
    fn silent(draining: bool, how: Silence, since: Duration) -> (std::sync::Arc<Sight>, Instant) {
        let (sights, start) = (Sights::default(), Instant::now());
        let id = id();
        let status = PodStatus {
            ready: !draining,
            draining,
            ..PodStatus::default()
        };
        sights.answered(&id, "1", status, start);
        let now = start + since;
        sights.silent(&id, "1", how, start, now);
        (sights.get(&id, "1").unwrap(), now)
    }

    /// What is known of a pod that neither we nor its neighbours got an answer from for so long.
    fn unseen(since: Duration) -> (std::sync::Arc<Sight>, Instant) {
        let (sights, start) = (Sights::default(), Instant::now());
        let id = id();
        sights.answered(&id, "1", PodStatus::default(), start);
        let now = start + since;
        sights.unseen(&id, "1", start, now);
        (sights.get(&id, "1").unwrap(), now)
    }

    #[test]
    fn who_answers_no_neighbour_is_lost_before_its_kubelet_says_so() {
        let ready = pod(true, json!({}));
        let seen =
            |sight: (std::sync::Arc<Sight>, Instant)| state(Some(&ready), Some(&sight.0), sight.1);
        assert_eq!(seen(unseen(LOST_AFTER)), State::Lost);
        assert_eq!(seen(unseen(LOST_AFTER / 2)), State::Serving, "for a moment");
        let (silent, now) = silent(false, Silence::Silent, LOST_AFTER);
        assert_eq!(
            seen((silent, now)),
            State::Serving,
            "it may be cut off from us"
        );
    }

    #[test]
    fn who_is_cut_off_from_its_viewers_is_left_and_feeds_others_meanwhile() {
        let (sights, start) = (Sights::default(), Instant::now());
        let id = id();
        let known = |ready, cut_off| {
            let status = PodStatus {
                ready,
                cut_off,
                ..PodStatus::default()
            };
            sights.answered(&id, "1", status, start);
            sights.get(&id, "1").unwrap()
        };
        for is_ready in [true, false] {
            let pod = pod(is_ready, json!({}));
            for ready in [true, false] {
                let sight = known(ready, true);
                assert_eq!(state(Some(&pod), Some(&sight), start), State::Leaving);
                assert!(may_feed(Some(&pod), Some(&sight), start));
                assert!(!is_open(&pod, Some(&sight)));
            }
        }
        let (pod, sight) = (pod(true, json!({})), known(true, false));
        assert_eq!(state(Some(&pod), Some(&sight), start), State::Serving);
        assert!(is_open(&pod, Some(&sight)), "it is over");
    }

    #[test]
    fn who_answers_neither_us_nor_its_kubelet_feeds_nobody() {
        let (sight, now) = silent(false, Silence::Silent, LOST_AFTER);
        let none = json!({});
        let feeds = |pod: &Pod, sight, now| may_feed(Some(pod), Some(sight), now);
        assert!(!feeds(&pod(false, none.clone()), &sight, now), "it hangs");
        assert!(
            feeds(&pod(true, none.clone()), &sight, now),
            "it is cut off from us, perhaps"
        );
        let to_go = json!({"showrunner.dev/drain-deadline": "7"});
        assert!(
            feeds(&pod(false, to_go), &sight, now),
            "it would be unready in any case"
        );
        let (drains, now) = silent(true, Silence::Silent, LOST_AFTER);
        assert!(
            feeds(&pod(false, none.clone()), &drains, now),
            "so would it"
        );
        let (early, now) = silent(false, Silence::Silent, LOST_AFTER / 2);
        assert!(
            feeds(&pod(false, none.clone()), &early, now),
            "for a moment"
        );
        let (unseen, now) = unseen(LOST_AFTER);
        assert!(!feeds(&pod(true, none.clone()), &unseen, now), "it hangs");
        let (gone, now) = silent(false, Silence::Refused, LOST_AFTER);
        assert!(
            !feeds(&pod(true, none), &gone, now),
            "its program has ended"
        );
        assert!(!may_feed(None, None, now), "there is none");
    }
}
