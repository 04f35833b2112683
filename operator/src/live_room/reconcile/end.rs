//! The end of a room: its time is over, or it was deleted.

use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use serde_json::json;
use showrunner_crds::LiveRoom;
use showrunner_crds::condition;

use super::{Known, Rooms, Work, version_of};
use crate::cluster::events::Happening;
use crate::cluster::names::ROOM_FINALIZER;
use crate::cluster::write::WriteError;
use crate::live_room::status::Outcome;
use crate::pods::PodId;
use crate::pods::control::ControlError;

/// How long a pod may take to end a room that was deleted.
const END_PATIENCE: i64 = 10;

impl Rooms {
    /// So that a room that is deleted is taken off its pod before it is gone. Returns the new version, if it was added.
    pub(super) async fn add_finalizer(
        &self,
        work: &Work<'_>,
    ) -> Result<Option<String>, WriteError> {
        let finalizers = work.room.finalizers();
        if finalizers.iter().any(|one| one == ROOM_FINALIZER) {
            return Ok(None);
        }
        let mut finalizers = finalizers.to_vec();
        finalizers.push(ROOM_FINALIZER.to_owned());
        let written = self.write_finalizers(work, &finalizers).await?;
        let version = version_of(&written);
        self.remember(&work.uid, |memory| memory.version = version);
        Ok(written.resource_version())
    }

    async fn write_finalizers(
        &self,
        work: &Work<'_>,
        finalizers: &[String],
    ) -> Result<LiveRoom, WriteError> {
        let patch = json!({"metadata": {
            "resourceVersion": work.room.resource_version(),
            "finalizers": finalizers,
        }});
        let api = self.api(work);
        let params = PatchParams::default();
        self.world
            .hand
            .write(
                "liverooms",
                api.patch(work.name.name(), &params, &Patch::Merge(&patch)),
            )
            .await
    }

    /// A room that is over.
    pub(super) async fn end(&self, mut work: Work<'_>) -> Result<Next, WriteError> {
        // One that does not answer is asked again when it does: its room is a stray then.
        if let Err((pod, error)) = self.end_everywhere(&work).await {
            tracing::warn!(%pod, "a room that is over can't be ended: {error}");
        }
        self.world.fleet.release(&work.uid);
        let version = self.add_finalizer(&work).await?;
        self.say(&mut work, Outcome::Ended, &[], (None, version))
            .await?;
        Ok(Next::await_change())
    }

    /// A room that was deleted.
    pub(super) async fn finish(&self, work: &Work<'_>) -> Result<Next, WriteError> {
        let finalizers = work.room.finalizers();
        if !finalizers.iter().any(|one| one == ROOM_FINALIZER) {
            self.drop(work);
            return Ok(Next::await_change());
        }
        if let Err((pod, error)) = self.end_everywhere(work).await {
            let deleted = work.room.metadata.deletion_timestamp.as_ref();
            let waited = deleted.map_or(END_PATIENCE, |at| {
                Timestamp::now().as_second() - at.0.as_second()
            });
            if waited < END_PATIENCE {
                return Ok(Next::requeue(Duration::from_secs(1)));
            }
            let note = format!(
                "pod {} did not say that it ended the room: {error}",
                pod.name
            );
            self.world.reports.tell(
                work.room,
                Happening::warning(condition::room::POD_UNREACHABLE, "End", note),
            );
        }
        let others: Vec<String> = finalizers
            .iter()
            .filter(|one| *one != ROOM_FINALIZER)
            .cloned()
            .collect();
        match self.write_finalizers(work, &others).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => self.drop(work),
        }
        Ok(Next::await_change())
    }

    /// Ends a room on all its pods.
    async fn end_everywhere(&self, work: &Work<'_>) -> Result<(), (PodId, ControlError)> {
        let set = self.set(work);
        let pods: Vec<Known> = set.parts.iter().map(|part| self.find(&part.pod)).collect();
        let ended = pods.iter().map(async |known| {
            let ended = self.end_on(known, work).await;
            ended.map_err(|error| (known.id.clone(), error))
        });
        join_all(ended).await.into_iter().collect()
    }

    /// Ends a room on a pod; one that is gone has ended it.
    pub(super) async fn end_on(&self, known: &Known, work: &Work<'_>) -> Result<(), ControlError> {
        let Some(address) = known.address() else {
            return Ok(());
        };
        self.world.control.end(address, &work.name, &work.uid).await
    }
}
