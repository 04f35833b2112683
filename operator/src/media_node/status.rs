//! What is said of a site. Pure.

use k8s_openapi::jiff::Timestamp;
use showrunner_crds::MediaNodeStatus;
use showrunner_crds::autoscaling::AutoscalingStatus;
use showrunner_crds::condition::{DEGRADED, PROGRESSING, READY, site};

use super::desired::Summary;
use super::observe::Trouble;
use crate::autoscaling::say::urgent;
use crate::condition::{Said, say};

/// What is known of a site.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Of the spec that was looked at.
    pub generation: Option<i64>,
    /// Pods that are wanted.
    pub replicas: u32,
    /// What autoscaling has decided, if it does.
    pub autoscaling: Option<AutoscalingStatus>,
    /// How many there are.
    pub summary: Summary,
    /// Finds them.
    pub selector: String,
    /// What is wrong, the worst first.
    pub troubles: Vec<Trouble>,
    /// When.
    pub now: Timestamp,
}

/// The status of a site that had another one.
#[must_use]
pub fn next(old: &MediaNodeStatus, facts: &Facts) -> MediaNodeStatus {
    let summary = facts.summary;
    let mut status = MediaNodeStatus {
        observed_generation: facts.generation,
        replicas: summary.replicas,
        ready_replicas: summary.ready,
        updated_replicas: summary.updated,
        draining_replicas: summary.draining,
        selector: facts.selector.clone(),
        sessions: summary.sessions,
        rooms: summary.rooms,
        autoscaling: facts.autoscaling.clone(),
        conditions: old.conditions.clone(),
    };
    for said in [ready(facts), progressing(facts), degraded(facts)] {
        say(&mut status.conditions, said, facts.generation, facts.now);
    }
    status
}

/// Whether a status says something else than how many sessions and rooms there are, and how full the site is.
#[must_use]
pub fn is_urgent(old: &MediaNodeStatus, new: &MediaNodeStatus) -> bool {
    let without_counts = |status: &MediaNodeStatus| MediaNodeStatus {
        sessions: 0,
        rooms: 0,
        autoscaling: status.autoscaling.as_ref().map(urgent),
        ..status.clone()
    };
    without_counts(old) != without_counts(new)
}

fn ready(facts: &Facts) -> Said {
    let (summary, wanted) = (facts.summary, facts.replicas);
    let is = summary.is_complete(wanted);
    let (reason, message) = if is {
        (
            site::COMPLETE,
            format!("{wanted} of {wanted} pods are ready"),
        )
    } else if let Some(trouble) = facts.troubles.first() {
        (trouble.reason, trouble.message.clone())
    } else {
        (
            doing(summary),
            format!("{} of {wanted} pods are ready", summary.ready),
        )
    };
    Said {
        of: READY,
        is,
        reason,
        message,
    }
}

fn progressing(facts: &Facts) -> Said {
    let summary = facts.summary;
    let is = !summary.is_complete(facts.replicas) || summary.draining > 0;
    let (reason, message) = if !is {
        (site::COMPLETE, String::new())
    } else if summary.is_complete(facts.replicas) {
        (
            site::DRAINING,
            format!("{} pods are about to go", summary.draining),
        )
    } else {
        let message = format!(
            "{} pods, of which {} are ready and {} of the present template; {} are wanted",
            summary.replicas, summary.ready, summary.updated, facts.replicas
        );
        (doing(summary), message)
    };
    Said {
        of: PROGRESSING,
        is,
        reason,
        message,
    }
}

fn doing(summary: Summary) -> &'static str {
    if summary.updated < summary.replicas {
        site::ROLLING_OUT
    } else {
        site::SCALING
    }
}

fn degraded(facts: &Facts) -> Said {
    match facts.troubles.first() {
        Some(trouble) => Said {
            of: DEGRADED,
            is: true,
            reason: trouble.reason,
            message: trouble.message.clone(),
        },
        None => Said {
            of: DEGRADED,
            is: false,
            reason: site::AS_EXPECTED,
            message: String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{is, reason};

    fn facts(summary: [u32; 4], trouble: Option<&'static str>) -> Facts {
        let [replicas, ready, updated, draining] = summary;
        Facts {
            generation: Some(3),
            replicas: 2,
            autoscaling: None,
            summary: Summary {
                replicas,
                ready,
                updated,
                draining,
                sessions: 5,
                rooms: 1,
            },
            selector: "a=b".into(),
            troubles: trouble
                .map(|reason| Trouble {
                    reason,
                    message: "m".into(),
                })
                .into_iter()
                .collect(),
            now: Timestamp::from_second(100).unwrap(),
        }
    }

    #[test]
    fn conditions_follow_from_the_pods() {
        for (summary, trouble, expected) in [
            (
                [2, 2, 2, 0],
                None,
                [
                    (true, "Complete"),
                    (false, "Complete"),
                    (false, "AsExpected"),
                ],
            ),
            (
                [2, 1, 2, 0],
                None,
                [(false, "Scaling"), (true, "Scaling"), (false, "AsExpected")],
            ),
            (
                [3, 3, 1, 0],
                None,
                [
                    (false, "RollingOut"),
                    (true, "RollingOut"),
                    (false, "AsExpected"),
                ],
            ),
            (
                [2, 2, 2, 1],
                None,
                [
                    (true, "Complete"),
                    (true, "Draining"),
                    (false, "AsExpected"),
                ],
            ),
            (
                [2, 1, 2, 0],
                Some("ImagePull"),
                [(false, "ImagePull"), (true, "Scaling"), (true, "ImagePull")],
            ),
            (
                [0, 0, 0, 0],
                Some("PodRefused"),
                [
                    (false, "PodRefused"),
                    (true, "Scaling"),
                    (true, "PodRefused"),
                ],
            ),
        ] {
            let status = next(&MediaNodeStatus::default(), &facts(summary, trouble));
            let said = [READY, PROGRESSING, DEGRADED].map(|of| {
                (
                    is(&status.conditions, of),
                    reason(&status.conditions, of).unwrap(),
                )
            });
            assert_eq!(said, expected, "{summary:?}");
            assert_eq!(status.observed_generation, Some(3));
        }
    }

    #[test]
    fn saying_it_again_changes_nothing_and_counts_can_wait() {
        let first = next(&MediaNodeStatus::default(), &facts([2, 2, 2, 0], None));
        let mut later = facts([2, 2, 2, 0], None);
        later.now = Timestamp::from_second(200).unwrap();
        assert_eq!(next(&first, &later), first);
        later.summary.sessions = 6;
        let second = next(&first, &later);
        assert!(second != first && !is_urgent(&first, &second));
        later.summary.ready = 1;
        assert!(is_urgent(&first, &next(&first, &later)));
    }
}
