//! Tells the pods of a room their parts.
//!
//! Each change of a room's pods has a number of its own, since it is written to the LiveRoom first, on the condition
//! that nobody else wrote meanwhile. Pods are told after that, and refuse what has a lower number than they know.

use std::time::Duration;

use futures_util::future::join_all;
use kube::ResourceExt;
use kube::runtime::controller::Action as Next;
use showrunner_crds::live_room::PodReference;
use showrunner_protocol::control::{PodRole, RelaySource, RoomStatus, SourceStatus};

use super::{Known, Pods, Rooms, Work};
use crate::cluster::names::label;
use crate::cluster::write::WriteError;
use crate::live_room::assignment::{assignment, has_taken};
use crate::live_room::desired::Part;
use crate::live_room::ledger::{Plan, Set};
use crate::live_room::status::{Member, OnPod, Outcome, Placed};
use crate::pods::control::ControlError;
use crate::pods::{PodId, address, site_of};

/// Rest until a pod that went in the meantime is seen to be gone.
const SEE_SOON: Duration = Duration::from_secs(1);

impl Rooms {
    /// Has a room's pods as they should be, writes the Secret of the host, if it is time, and says how it is.
    pub(super) async fn serve(
        &self,
        work: &mut Work<'_>,
        (now, next): (&Set, &Set),
        (pods, plan): (&Pods, &Plan),
        lost: &[PodId],
        version: Option<String>,
    ) -> Result<Next, WriteError> {
        let short = plan.why.clone().filter(|_| !plan.shares.is_empty());
        // Nobody is sent to a room's first pod before the status names it: one more write is spared then.
        let is_first = now.revision == 0 && now.parts.is_empty() && next.parts.len() == 1;
        let mut version = version;
        if next.revision != now.revision && !is_first {
            let told = |part: &Part| OnPod::Told(report_of(pods, part, work));
            let Some(members) = self.members(next, pods, work, told) else {
                return Ok(Next::requeue(SEE_SOON));
            };
            let placed = Placed {
                revision: next.revision,
                members,
                short: short.clone(),
            };
            let written = self
                .say(work, Outcome::On(placed), lost, (None, version))
                .await;
            if let Err(error) = written {
                // Whoever wrote meanwhile may have decided, too: its word is looked at first.
                self.world.fleet.ledger().book(&work.uid, &work.name, None);
                return Err(error);
            }
            version = None;
        }
        let parts = next.parts.iter();
        let telling = parts.map(|part| self.tell(work, (part, next), pods));
        let leaving = now.parts.iter().filter(|part| !next.has(&part.pod));
        let leaving =
            leaving.filter_map(|part| pods.get(&part.pod).filter(|known| known.state.is_alive()));
        let (mut told, secret, ()) = tokio::join!(
            join_all(telling),
            self.renew_token(work),
            self.leave(work, leaving)
        );
        let is_good = told.iter().all(|on| matches!(on, OnPod::Has(_)));
        let is_refused = |on: Option<&OnPod<'_>>| matches!(on, Some(OnPod::Refused(_)));
        if is_first
            && is_refused(told.first())
            && self.plan(work).is_some_and(|plan| plan.shares.is_empty())
        {
            // Not said: it is about to be somewhere else.
            self.world.fleet.ledger().book(&work.uid, &work.name, None);
            return Ok(Next::requeue(SEE_SOON));
        }
        let mut told = told.drain(..);
        let on = |_: &Part| told.next().unwrap_or(OnPod::Has(None));
        let Some(members) = self.members(next, pods, work, on) else {
            return Ok(Next::requeue(SEE_SOON));
        };
        let placed = Placed {
            revision: next.revision,
            members,
            short,
        };
        let late = self
            .say(work, Outcome::On(placed), lost, (secret, version))
            .await?;
        if is_good {
            self.remember(&work.uid, |memory| memory.failures = 0);
            return Ok(Next::requeue(self.next_turn(work, late)));
        }
        let rest = self.back_off(work.room);
        Ok(Next::requeue(self.next_turn(work, rest)))
    }

    /// The pods of a set for its status; none if one of them went in the meantime, and nothing is known of it.
    fn members<'a>(
        &self,
        set: &'a Set,
        pods: &Pods,
        work: &Work<'_>,
        mut on: impl FnMut(&Part) -> OnPod<'a>,
    ) -> Option<Vec<Member<'a>>> {
        let parts = set.parts.iter();
        parts
            .map(|part| {
                Some(Member {
                    at: reference(pods.get(&part.pod)?, work)?,
                    part,
                    on: on(part),
                })
            })
            .collect()
    }

    /// Tells a pod its part, if it does not say that it knows.
    async fn tell<'p>(
        &self,
        work: &Work<'_>,
        (part, set): (&Part, &Set),
        pods: &'p Pods,
    ) -> OnPod<'p> {
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
        let wanted = assignment(work.room, &work.uid, (set.revision, role));
        let report = known.report(work);
        if !known.is_lost() && report.is_some_and(|report| has_taken(report, &wanted)) {
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
                        source,
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
            Err(ControlError::Unreachable(why) | ControlError::NoKeys(why)) => {
                OnPod::Unreachable(why)
            }
        }
    }

    /// Ends a room on pods that nobody is on any more. One that does not do so is found again: the room is a stray then.
    async fn leave(&self, work: &Work<'_>, pods: impl Iterator<Item = &Known>) {
        let ended = pods.map(async |known| {
            if let Err(error) = self.end_on(known, work).await {
                tracing::warn!(pod = %known.id, "a room that went elsewhere can't be ended: {error}");
            }
        });
        join_all(ended).await;
    }
}

impl Known {
    pub(super) fn address(&self) -> Option<std::net::SocketAddr> {
        self.pod.as_ref().and_then(|pod| address(pod))
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
