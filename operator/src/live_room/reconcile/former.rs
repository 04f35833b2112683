//! The pods that a room was on: they send its clients on, and let it go with the last.

use showrunner_crds::media_node::Drain;
use showrunner_protocol::control::RoomStatus;

use super::{Origin, Rooms, Work, assignment};
use crate::live_room::handover::{self, Farewell, farewell};
use crate::pods::{PodId, address, site_of};

impl Rooms {
    /// The pods that have a room beside the one that is its origin.
    pub(super) fn formers(&self, work: &Work<'_>, origin: &PodId) -> Vec<Origin> {
        let pods = self.world.sights.pods_with(&work.name);
        let others = pods.into_iter().filter(|pod| pod != origin);
        let found = others.map(|pod| self.find(pod));
        // Of those of an earlier room of the name there is nothing to hand over.
        found.filter(|one| one.report(work).is_some()).collect()
    }

    /// Tells them what is due. What does not arrive is due again when they are heard of.
    pub(super) async fn see_off(&self, work: &Work<'_>, placement: u64, formers: &[Origin]) {
        for former in formers {
            let (Some(report), Some(address)) = (
                former.report(work),
                former.pod.as_ref().and_then(|pod| address(pod)),
            ) else {
                continue;
            };
            let told = match farewell(report) {
                Farewell::Wait => Ok(()),
                Farewell::SendOn => {
                    let part = handover::former(placement, self.patience(former));
                    let told = assignment(work.room, &work.uid, part);
                    self.world.control.assign(address, &work.name, &told).await
                }
                Farewell::End => self.world.control.end(address, &work.name, &work.uid).await,
            };
            if let Err(error) = told {
                tracing::warn!(pod = %former.id, "a pod that a room was on: {error}");
            }
        }
    }

    /// How long a pod keeps sessions that don't move, in seconds: its site says.
    fn patience(&self, former: &Origin) -> u32 {
        let site = former.pod.as_ref().and_then(|pod| site_of(pod));
        let site = site.and_then(|site| self.world.sites.get(Some(&former.id.namespace), site));
        site.map_or(Drain::default().deadline_seconds, |site| {
            site.spec.drain.deadline_seconds
        })
    }
}

impl Origin {
    /// What the pod last said of a room.
    pub(super) fn report(&self, work: &Work<'_>) -> Option<&RoomStatus> {
        let sight = self.sight.as_ref().filter(|sight| sight.answers())?;
        let report = sight.rooms.get(&work.name)?;
        (report.uid.as_ref() == Some(&work.uid)).then_some(report)
    }
}
