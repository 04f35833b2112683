//! The pods that a room was on: they send its clients on, and let it go with the last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use showrunner_crds::live_room::Phase;
use showrunner_crds::media_node::Drain;
use showrunner_protocol::control::RoomStatus;

use super::{Origin, Rooms, Work, assignment, id_of};
use crate::live_room::handover::{self, Farewell, Part, Successor, farewell};
use crate::pods::{PodId, address, is_ended, site_of};

/// How long a pod may try to take a room from the one before …
const TAKING: Duration = Duration::from_secs(3);
/// … and from one that doesn't answer us: it may only be cut off from us.
const TAKING_FROM_SILENT: Duration = Duration::from_millis(800);

impl Rooms {
    /// The pods that have a room beside the one that is its origin.
    pub(super) fn formers(&self, work: &Work<'_>, origin: &PodId) -> Vec<Origin> {
        let pods = self.world.sights.pods_with(&work.name);
        let is_edge = |pod: &PodId| work.old.edges.iter().any(|edge| id_of(edge) == *pod);
        let others = pods
            .into_iter()
            .filter(|pod| pod != origin && !is_edge(pod));
        let found = others.map(|pod| self.find(pod));
        // Of those of an earlier room of the name there is nothing to hand over.
        found
            .filter(|one| one.last_report(work).is_some())
            .collect()
    }

    /// What the origin is to do, while another pod has the host.
    pub(super) fn part(
        &self,
        work: &Work<'_>,
        placement: u64,
        report: Option<&RoomStatus>,
        formers: &[Origin],
    ) -> Part {
        let may_feed = |one: &&Origin| {
            let report = one.last_report(work);
            let has_host = report.is_some_and(|report| report.publishers > 0 && report.active);
            has_host && one.sends_on() && !one.is_gone()
        };
        let feeder = formers.iter().find(may_feed);
        let feeds = feeder.and_then(|one| one.pod.as_ref().and_then(|pod| address(pod)));
        let answers = feeder.is_some_and(|one| one.report(work).is_some());
        let patience = if answers { TAKING } else { TAKING_FROM_SILENT };
        let clock = Instant::now();
        let since = self.remember(&work.uid, |memory| {
            match feeds {
                Some(_) => memory.taking_since.get_or_insert(clock),
                None => memory.taking_since.insert(clock),
            }
            .to_owned()
        });
        handover::origin(Successor {
            placement,
            report,
            feeds,
            gives_up: clock.saturating_duration_since(since) >= patience,
            was_live: work.old.phase == Some(Phase::Live),
        })
    }

    /// Tells them what is due. What does not arrive is due again when they are heard of.
    pub(super) async fn see_off(
        &self,
        work: &Work<'_>,
        placement: u64,
        origin: SocketAddr,
        formers: &[Origin],
    ) {
        for former in formers {
            let (Some(report), Some(address)) = (
                former.report(work),
                former.pod.as_ref().and_then(|pod| address(pod)),
            ) else {
                continue;
            };
            let told = match farewell(report) {
                Farewell::Wait => Ok(()),
                // One of an earlier release has told its viewers itself.
                Farewell::SendOn if !former.sends_on() => Ok(()),
                Farewell::SendOn => {
                    let part = handover::former(placement, origin, self.patience(former));
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
    /// Whether it can send its clients on.
    pub(super) fn sends_on(&self) -> bool {
        let status = self.sight.as_ref().and_then(|sight| sight.status.as_ref());
        status.is_some_and(|status| status.sends_on)
    }

    /// What the pod says of a room; none if it does not answer.
    pub(super) fn report(&self, work: &Work<'_>) -> Option<&RoomStatus> {
        let answers = self.sight.as_ref().is_some_and(|sight| sight.answers());
        self.last_report(work).filter(|_| answers)
    }

    /// What it last said.
    fn last_report(&self, work: &Work<'_>) -> Option<&RoomStatus> {
        let report = self.sight.as_ref()?.rooms.get(&work.name)?;
        (report.uid.as_ref() == Some(&work.uid)).then_some(report)
    }

    /// Whether its program has ended.
    fn is_gone(&self) -> bool {
        let is_over = self.pod.as_ref().is_none_or(|pod| is_ended(pod));
        let sight = self.sight.as_ref();
        is_over || sight.is_some_and(|sight| sight.is_gone(Instant::now()))
    }
}
