//! What is said of a room whose show is pulled from another server. Pure.

use showrunner_crds::condition::{PULLED, room};
use showrunner_protocol::control::{PullFailure, PullStatus};

use super::{Member, OnPod, Outcome, waits};
use crate::condition::Said;
use crate::live_room::pull::Trouble;

/// What is known of the server.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Its name, of the URL.
    pub server: String,
    /// Why the pod can't be told what it needs.
    pub trouble: Option<Trouble>,
}

/// Of a room that is pulled; none: what was said last is as good.
pub(super) fn pulled(pull: &Pull, outcome: &Outcome<'_>) -> Option<Said> {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(placed) => on(pull, &placed.members)?,
    };
    Some(Said {
        of: PULLED,
        is,
        reason,
        message,
    })
}

fn on(pull: &Pull, members: &[Member<'_>]) -> Option<(bool, &'static str, String)> {
    if let Some(trouble) = &pull.trouble {
        return Some((false, trouble.reason, trouble.message.clone()));
    }
    let reports = members.iter().filter_map(|member| member.on.report());
    let mut pulls = reports.filter_map(|report| report.pull.as_ref());
    // While the room goes to another pod, the one before still has the show.
    let is_connected = |status: &&PullStatus| status.connected;
    if pulls.clone().any(|status| is_connected(&status)) {
        let message = format!("the show comes from {}", pull.server);
        return Some((true, room::CONNECTED, message));
    }
    if let Some(problem) = pulls.find_map(|status| status.problem.as_ref()) {
        let reason = reason(problem.failure);
        return Some((false, reason, problem.message.clone()));
    }
    let is_silent = matches!(
        members.first().map(|origin| &origin.on),
        Some(OnPod::Unreachable(_))
    );
    let message = format!("the pod asks {}", pull.server);
    (!is_silent).then_some((false, room::CONNECTING, message))
}

fn reason(failure: PullFailure) -> &'static str {
    match failure {
        PullFailure::Invalid => room::SOURCE_INVALID,
        PullFailure::Unreachable => room::SOURCE_UNREACHABLE,
        PullFailure::Unauthorized => room::SOURCE_UNAUTHORIZED,
        PullFailure::NotLive => room::SOURCE_NOT_LIVE,
        PullFailure::Refused => room::SOURCE_REFUSED,
        PullFailure::BadAnswer => room::SOURCE_BAD_ANSWER,
        PullFailure::NoMedia => room::SOURCE_NO_MEDIA,
        PullFailure::Ended => room::SOURCE_ENDED,
        PullFailure::Busy | PullFailure::Other => room::POD_REFUSED,
    }
}

/// Whether a reason is one that somebody should hear of.
pub(super) fn is_failure(reason: &str) -> bool {
    ![room::CONNECTED, room::CONNECTING, room::ENDED].contains(&reason)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use showrunner_crds::LiveRoomStatus;
    use showrunner_crds::live_room::{Endpoints, PodReference};
    use showrunner_protocol::RoomName;
    use showrunner_protocol::control::{PullProblem, RoomStatus};

    use super::super::{Facts, Placed, happenings, next};
    use super::*;
    use crate::condition;
    use crate::live_room::desired::Part;
    use crate::pods::PodId;

    /// What a pod says of it.
    fn report(connected: bool, problem: Option<PullFailure>) -> RoomStatus {
        let problem = problem.map(|failure| PullProblem {
            failure,
            message: "it says no".to_owned(),
        });
        RoomStatus {
            pull: Some(PullStatus {
                version: "1".to_owned(),
                connected,
                problem,
            }),
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        }
    }

    /// The status of a room on pods that take it so.
    fn on(old: &LiveRoomStatus, pods: &[OnPod<'_>], pull: Option<Pull>) -> LiveRoomStatus {
        let part = Part {
            pod: PodId {
                namespace: "media".into(),
                name: "a".into(),
            },
            source: None,
            space: 0,
            leaves: false,
        };
        let members = pods.iter().map(|on| Member {
            at: PodReference {
                namespace: "media".into(),
                media_node: "eu".into(),
                pod: "a".into(),
                region: "eu".into(),
            },
            part: &part,
            on: on.clone(),
        });
        let facts = Facts {
            generation: Some(2),
            outcome: Outcome::On(Placed {
                revision: 1,
                members: members.collect(),
                short: None,
            }),
            is_early: false,
            endpoints: Endpoints {
                publish: "p".into(),
                watch: "w".into(),
                page: "r".into(),
            },
            pull,
            host_token_secret: None,
            now: Timestamp::from_second(100).unwrap(),
        };
        next(old, &facts)
    }

    fn server(trouble: Option<Trouble>) -> Option<Pull> {
        let server = "live.example.com".to_owned();
        Some(Pull { server, trouble })
    }

    fn said(status: &LiveRoomStatus) -> Option<(&str, &str)> {
        let mut conditions = status.conditions.iter();
        let said = conditions.find(|one| one.type_ == PULLED)?;
        Some((&said.status, &said.reason))
    }

    #[test]
    fn a_source_is_said_as_its_pod_says() {
        let none = LiveRoomStatus::default();
        let (there, asks) = (report(true, None), report(false, None));
        let refused = report(false, Some(PullFailure::Unauthorized));
        let has = |report| [OnPod::Has(Some(report))];
        let asked = on(&none, &has(&asks), server(None));
        assert_eq!(said(&asked), Some(("False", "Connecting")));
        assert_eq!(happenings(&none, &asked, &[]).len(), 1, "only its place");
        let failed = on(&asked, &has(&refused), server(None));
        assert_eq!(said(&failed), Some(("False", "SourceUnauthorized")));
        let told = happenings(&asked, &failed, &[]);
        assert_eq!(
            (told[0].reason, told[0].note.as_str()),
            ("PullFailed", "it says no")
        );
        assert!(happenings(&failed, &failed, &[]).is_empty(), "once");
        let connected = on(&failed, &has(&there), server(None));
        assert_eq!(said(&connected), Some(("True", "Connected")));
        assert_eq!(happenings(&failed, &connected, &[])[0].reason, "Pulled");
        // While it goes to another pod, the one before still has it.
        let both = [OnPod::Has(Some(&asks)), OnPod::Has(Some(&there))];
        let moving = on(&connected, &both, server(None));
        assert_eq!(said(&moving), Some(("True", "Connected")));
        // Of a silent pod what it said last is as good.
        let silent = [OnPod::Unreachable("x".into())];
        let unknown = on(&connected, &silent, server(None));
        assert_eq!(said(&unknown), Some(("True", "Connected")));
        // And of a room with a host there is nothing to say.
        assert_eq!(said(&on(&connected, &has(&there), None)), None);
        let ready = |status: &LiveRoomStatus| {
            let mut all = status.conditions.iter();
            let ready = all.find(|one| one.type_ == "Ready").unwrap();
            ready.message.clone()
        };
        assert_eq!(ready(&connected), "takes viewers");
    }

    #[test]
    fn what_keeps_a_pod_from_being_told_is_said_first() {
        let there = report(true, None);
        let trouble = Trouble {
            reason: room::SOURCE_FORBIDDEN,
            message: "may not".to_owned(),
        };
        let old = LiveRoomStatus::default();
        let status = on(&old, &[OnPod::Has(Some(&there))], server(Some(trouble)));
        assert_eq!(said(&status), Some(("False", "SourceForbidden")));
        assert!(
            condition::is(&status.conditions, "Ready"),
            "viewers may come"
        );
    }
}
