//! What a room's status says, and how often.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use showrunner_crds::live_room::{Endpoints, PodReference};
use showrunner_protocol::room::RoomUid;

use super::{COUNTS_PER_SECOND, Origin, Rooms, Work, id_of, version_of};
use crate::cluster::names::label;
use crate::cluster::write::WriteError;
use crate::live_room::desired::Why;
use crate::live_room::status::{self, Facts, Outcome};
use crate::patch::merge_patch;
use crate::pods::site_of;

/// Counts of one room alone are not written more often than this.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

impl Rooms {
    /// Writes the status, if it says something new. Returns how long it waits with what is not urgent.
    pub(super) async fn say(
        &self,
        work: &Work<'_>,
        outcome: Outcome<'_>,
        why: Option<Why>,
        secret: Option<String>,
        version: Option<String>,
    ) -> Result<Duration, WriteError> {
        let start = work
            .room
            .spec
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.start.as_ref());
        let now = Timestamp::now();
        let facts = Facts {
            generation: work.room.metadata.generation,
            is_early: start.is_some_and(|start| start.0 > now),
            endpoints: self.endpoints(work),
            placement: match &outcome {
                Outcome::On(origin, _) => work.placement(&id_of(origin)),
                Outcome::Ended | Outcome::Waits(_) => work.old.placements,
            },
            outcome,
            host_token_secret: secret.or_else(|| work.old.host_token_secret.clone()),
            now,
        };
        let new = status::next(&work.old, &facts);
        let Some(patch) = merge_patch(&work.old, &new) else {
            return Ok(Duration::MAX);
        };
        if !status::is_urgent(&work.old, &new) && !self.may_count(&work.uid) {
            return Ok(COUNTS_EVERY);
        }
        let mut patch = json!({"status": patch});
        if work.old.origin != new.origin {
            // Who decides by what is not so any more decides again.
            let version = version.or_else(|| work.room.resource_version());
            patch["metadata"] = json!({"resourceVersion": version});
        }
        let api = self.api(work);
        let (name, params, patch) = (
            work.name.name(),
            PatchParams::default(),
            Patch::Merge(&patch),
        );
        let written = api.patch_status(name, &params, &patch);
        let written = self.world.hand.write("liverooms/status", written).await?;
        let version = version_of(&written);
        self.remember(&work.uid, |memory| {
            memory.version = version;
            memory.status_written = Some(Instant::now());
        });
        for happening in status::happenings(&work.old, &new, why) {
            self.world.reports.tell(work.room, happening);
        }
        Ok(Duration::MAX)
    }

    /// Whether counts of a room may be written now: not too often for it, nor for all together.
    fn may_count(&self, uid: &RoomUid) -> bool {
        let clock = Instant::now();
        let written = self.remember(uid, |memory| memory.status_written);
        if written.is_some_and(|at| clock.saturating_duration_since(at) < COUNTS_EVERY) {
            return false;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = clock.saturating_duration_since(counts.1).as_secs_f64();
        counts.0 = (counts.0 + passed * COUNTS_PER_SECOND).min(COUNTS_PER_SECOND);
        counts.1 = clock;
        let may = counts.0 >= 1.0;
        if may {
            counts.0 -= 1.0;
        }
        may
    }

    pub(super) fn reference(&self, work: &Work<'_>, origin: &Origin) -> Option<PodReference> {
        let known = work
            .old
            .origin
            .as_ref()
            .filter(|known| id_of(known) == origin.id);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let pod = origin.pod.as_ref()?;
        Some(PodReference {
            namespace: origin.id.namespace.clone(),
            media_node: site_of(pod)?.to_owned(),
            pod: origin.id.name.clone(),
            region: pod.labels().get(label::REGION)?.clone(),
        })
    }

    pub(super) fn endpoints(&self, work: &Work<'_>) -> Endpoints {
        let url = self.world.config.public_url.trim_end_matches('/');
        let (namespace, room) = (work.name.namespace(), work.name.name());
        let of = |what| format!("{url}/{what}/{namespace}/{room}");
        Endpoints {
            publish: of("whip"),
            watch: of("whep"),
            page: of("rooms"),
        }
    }
}
