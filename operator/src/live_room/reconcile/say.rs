//! What a room's status says, and how often.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use showrunner_crds::live_room::Endpoints;
use showrunner_protocol::room::RoomUid;

use super::{COUNTS_PER_SECOND, Rooms, Work, version_of};
use crate::cluster::write::WriteError;
use crate::live_room::pull;
use crate::live_room::status::{self, Facts, Outcome, Pull};
use crate::patch::merge_patch;
use crate::pods::PodId;

/// Counts of one room alone are not written more often than this.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

impl Rooms {
    /// Writes the status, if it says something new. Returns how long it waits with what is not urgent. A change of pods
    /// is written only if nobody wrote since the room had the version.
    pub(super) async fn say(
        &self,
        work: &mut Work<'_>,
        outcome: Outcome<'_>,
        lost: &[PodId],
        (secret, version): (Option<String>, Option<String>),
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
            outcome,
            pull: self.pull_facts(work),
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
        let is_other = work.old.origin != new.origin || work.old.revision != new.revision;
        if is_other {
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
        let lost = if is_other { lost } else { &[] };
        for happening in status::happenings(&work.old, &new, lost) {
            self.world.reports.tell(work.room, happening);
        }
        work.old = new;
        Ok(Duration::MAX)
    }

    /// What is known of the server that a room is pulled from.
    fn pull_facts(&self, work: &Work<'_>) -> Option<Pull> {
        let pull = pull::of(work.room)?;
        let trouble = self.remember(&work.uid, |memory| {
            memory.source.as_ref().and_then(|read| read.trouble.clone())
        });
        let server = pull.url.split('/').nth(2).unwrap_or_default().to_owned();
        Some(Pull { server, trouble })
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
