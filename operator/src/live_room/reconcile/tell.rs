//! Tells the pods of a room their parts.
//!
//! Each change of a room's pods has a number of its own, since it is written to the LiveRoom first, on the condition
//! that nobody else wrote meanwhile. Pods are told after that, and refuse what has a lower number than they know.

use std::time::Duration;

use futures_util::future::join_all;
use kube::ResourceExt;
use kube::runtime::controller::Action as Next;
use showrunner_crds::live_room::{Phase, PodReference};
use showrunner_crds::media_node::Drain;
use showrunner_protocol::control::{
    HostSource, MAX_DRAIN_SECONDS, PodRole, PullStatus, RelaySource, RoomStatus, SourceStatus,
};

use super::{Known, Pods, Rooms, TAKING_REST, Work};
use crate::cluster::names::label;
use crate::cluster::write::WriteError;
use crate::live_room::assignment::{Orders, assignment, has_taken};
use crate::live_room::desired::{Part, State};
use crate::live_room::ledger::{Plan, Set};
use crate::live_room::pull::Source;
use crate::live_room::status::{Member, OnPod, Outcome, Placed};
use crate::pods::control::ControlError;
use crate::pods::{PodId, address, site_of};

/// Rest until a pod that went in the meantime is seen to be gone.
const SEE_SOON: Duration = Duration::from_secs(1);

/// What a room's pods are to be told, by what.
pub(super) struct Told<'a> {
    /// How they were decided to be.
    pub(super) now: &'a Set,
    /// How they are to be.
    pub(super) next: &'a Set,
    /// Placement's word.
    pub(super) plan: &'a Plan,
    /// All of them.
    pub(super) pods: &'a Pods,
    /// Those that have the room and are to have it no more.
    pub(super) left: Vec<&'a Known>,
    /// Those that were lost.
    pub(super) lost: Vec<PodId>,
    /// Where the show comes from.
    pub(super) source: &'a Source,
}

impl Rooms {
    /// Has a room's pods as they should be, writes the Secret of the host, if it is time, and says how it is.
    pub(super) async fn serve(
        &self,
        work: &mut Work<'_>,
        told: &Told<'_>,
        mut version: Option<String>,
    ) -> Result<Next, WriteError> {
        let Told {
            now, next, pods, ..
        } = *told;
        let was_live = work.old.phase == Some(Phase::Live);
        // Nobody is sent to a room's first pod before the status names it: one more write is spared then.
        let is_first = now.revision == 0 && now.parts.is_empty() && next.parts.len() == 1;
        if next.revision != now.revision && !is_first {
            let on = |part: &Part| OnPod::Told(report_of(pods, part, work));
            let Some(placed) = self.placed(told, work, on) else {
                return Ok(Next::requeue(SEE_SOON));
            };
            let written = self
                .say(work, Outcome::On(placed), &told.lost, (None, version))
                .await;
            if let Err(error) = written {
                // Whoever wrote meanwhile may have decided, too: its word is looked at first.
                self.world.fleet.ledger().book(&work.uid, &work.name, None);
                return Err(error);
            }
            version = None;
        }
        let telling = async {
            // The origin first: those who are sent on come to it.
            let mut parts = next.parts.iter();
            let mut answers = Vec::with_capacity(next.parts.len());
            if let Some(origin) = parts.next() {
                answers.push(self.tell(work, (origin, next), told, was_live).await);
            }
            let others = parts.map(|part| self.tell(work, (part, next), told, was_live));
            answers.extend(join_all(others).await);
            answers
        };
        let (answers, secret, ()) = tokio::join!(
            telling,
            self.renew_token(work),
            self.leave(work, &told.left)
        );
        let is_good = answers.iter().all(|on| matches!(on, OnPod::Has(_)));
        let is_refused = matches!(answers.first(), Some(OnPod::Refused(_)));
        let is_unplanned = self.plan(work).is_some_and(|plan| plan.shares.is_empty());
        if is_first && is_refused && is_unplanned {
            // Not said: it is about to be somewhere else.
            self.world.fleet.ledger().book(&work.uid, &work.name, None);
            return Ok(Next::requeue(SEE_SOON));
        }
        let mut answers = answers.into_iter();
        let on = |_: &Part| answers.next().unwrap_or(OnPod::Has(None));
        let Some(placed) = self.placed(told, work, on) else {
            return Ok(Next::requeue(SEE_SOON));
        };
        let late = self
            .say(work, Outcome::On(placed), &told.lost, (secret, version))
            .await?;
        let is_being_handed_over = self.remember(&work.uid, |memory| memory.taking.is_some());
        let late = if is_being_handed_over {
            TAKING_REST.min(late)
        } else {
            late
        };
        if is_good {
            self.remember(&work.uid, |memory| memory.failures = 0);
            return Ok(Next::requeue(self.next_turn(work, late)));
        }
        let rest = self.back_off(work.room).min(late);
        Ok(Next::requeue(self.next_turn(work, rest)))
    }

    /// A set for its status; none if one of its pods went in the meantime, and nothing is known of it.
    fn placed<'a>(
        &self,
        told: &Told<'a>,
        work: &Work<'_>,
        mut on: impl FnMut(&Part) -> OnPod<'a>,
    ) -> Option<Placed<'a>> {
        let members = told.next.parts.iter().map(|part| {
            Some(Member {
                at: reference(told.pods.get(&part.pod)?, work)?,
                part,
                on: on(part),
            })
        });
        let is_short = !told.plan.shares.is_empty();
        Some(Placed {
            revision: told.next.revision,
            members: members.collect::<Option<Vec<_>>>()?,
            short: told.plan.why.clone().filter(|_| is_short),
        })
    }

    /// Tells a pod its part, if it does not say that it knows.
    async fn tell<'p>(
        &self,
        work: &Work<'_>,
        (part, set): (&Part, &Set),
        told: &Told<'p>,
        was_live: bool,
    ) -> OnPod<'p> {
        let pods: &'p Pods = told.pods;
        let unreachable = |why: &str| OnPod::Unreachable(why.to_owned());
        let Some(known) = pods.get(&part.pod) else {
            return unreachable("it is not there");
        };
        let role = match &part.source {
            None => PodRole::Origin,
            Some(source) => match pods.get(source).and_then(Known::address) {
                Some(address) => PodRole::Edge {
                    source: RelaySource { address },
                },
                None => return unreachable("the pod that it takes the room from has no address"),
            },
        };
        let orders = Orders {
            revision: set.revision,
            role,
            leave: part.leaves.then(|| self.patience(known)),
            awaits_host: was_live,
            host: match part.source {
                None => told.source.host.clone(),
                Some(_) => HostSource::Publish,
            },
        };
        let wanted = assignment(work.room, &work.uid, orders);
        let report = known.report(work);
        if known.state == State::Lost {
            return unreachable("it does not answer");
        }
        let is_taken = known
            .status()
            .zip(report)
            .is_some_and(|(status, report)| has_taken(status, report, &wanted));
        if is_taken {
            return OnPod::Has(report);
        }
        let Some(address) = known.address() else {
            return unreachable("it has no address");
        };
        match self
            .world
            .control
            .assign(address, &work.name, &wanted)
            .await
        {
            Ok(()) => {
                if let Some(uid) = known.pod.as_ref().and_then(|pod| pod.uid()) {
                    let source = match &wanted.role {
                        PodRole::Origin => None,
                        PodRole::Edge { source } => Some(SourceStatus {
                            address: source.address,
                            connected: false,
                            hops: None,
                        }),
                    };
                    let told = RoomStatus {
                        uid: Some(work.uid.clone()),
                        generation: Some(wanted.generation),
                        revision: Some(wanted.revision),
                        leaving: wanted.leave.is_some(),
                        source,
                        pull: pull_of(&wanted.host),
                        ..RoomStatus::of(work.name.clone())
                    };
                    self.world.sights.assigned(&known.id, &uid, told);
                }
                OnPod::Has(report)
            }
            Err(ControlError::Refused(code, why)) => {
                // It has no place for it, or is to go: another may have.
                if code == 503 {
                    self.world.fleet.refuse(&work.uid, &known.id);
                }
                OnPod::Refused(why)
            }
            Err(
                ControlError::Gone(why)
                | ControlError::Unreachable(why)
                | ControlError::NoKeys(why),
            ) => OnPod::Unreachable(why),
        }
    }

    /// How long a pod keeps clients that don't move, in seconds: if it is to go, its site says.
    fn patience(&self, known: &Known) -> u32 {
        if known.state != State::Leaving {
            return LONG;
        }
        let site = known.pod.as_ref().and_then(|pod| site_of(pod));
        let site = site.and_then(|site| self.world.sites.get(Some(&known.id.namespace), site));
        site.map_or(Drain::default().deadline_seconds, |site| {
            site.spec.drain.deadline_seconds
        })
    }

    /// Ends a room on pods that nobody is on any more. One that does not do so is found again: the room is a stray then.
    async fn leave(&self, work: &Work<'_>, pods: &[&Known]) {
        let ended = pods.iter().map(async |known| {
            if let Err(error) = self.end_on(known, work).await {
                tracing::warn!(pod = %known.id, "a room that went elsewhere can't be ended: {error}");
            }
        });
        join_all(ended).await;
    }
}

/// How long a pod that is to stay keeps clients that don't move, in seconds: they are in nobody's way.
const LONG: u32 = MAX_DRAIN_SECONDS;

impl Known {
    pub(super) fn address(&self) -> Option<std::net::SocketAddr> {
        self.pod.as_ref().and_then(|pod| address(pod))
    }
}

/// What a pod will say of it that was told so.
fn pull_of(host: &HostSource) -> Option<PullStatus> {
    match host {
        HostSource::Publish => None,
        HostSource::Pull { from } => Some(PullStatus {
            version: from
                .as_ref()
                .map(|from| from.version.clone())
                .unwrap_or_default(),
            ..PullStatus::default()
        }),
    }
}

fn report_of<'p>(pods: &'p Pods, part: &Part, work: &Work<'_>) -> Option<&'p RoomStatus> {
    pods.get(&part.pod)?.report(work)
}

/// Where a pod is: by its labels, or by what was said of it when it was there.
fn reference(known: &Known, work: &Work<'_>) -> Option<PodReference> {
    let by_labels = || {
        let pod = known.pod.as_ref()?;
        Some((
            site_of(pod)?.to_owned(),
            pod.labels().get(label::REGION)?.clone(),
        ))
    };
    let by_status = || {
        let is_it =
            |namespace: &str, pod: &str| namespace == known.id.namespace && pod == known.id.name;
        let origin = work.old.origin.iter();
        let origin = origin.map(|one| (&one.namespace, &one.pod, &one.media_node, &one.region));
        let edges = work.old.edges.iter();
        let edges = edges.map(|one| (&one.namespace, &one.pod, &one.media_node, &one.region));
        let mut said = origin.chain(edges);
        let (_, _, site, region) = said.find(|(namespace, pod, ..)| is_it(namespace, pod))?;
        Some((site.clone(), region.clone()))
    };
    let (media_node, region) = by_status().or_else(by_labels)?;
    Some(PodReference {
        namespace: known.id.namespace.clone(),
        media_node,
        pod: known.id.name.clone(),
        region,
    })
}
