//! Which metrics there are, and what of.

use super::quantity::Quantity;
use super::reading::Reading;

/// The group and version of metrics that objects of the cluster have.
pub const CUSTOM: Api = Api {
    group: "custom.metrics.k8s.io",
    version: "v1beta2",
};
/// The group and version of metrics that are looked for by their labels.
pub const EXTERNAL: Api = Api {
    group: "external.metrics.k8s.io",
    version: "v1beta1",
};

/// A group and version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its group.
    pub group: &'static str,
    /// The one version of it.
    pub version: &'static str,
}

impl Api {
    /// As objects name it.
    #[must_use]
    pub fn group_version(self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The name of the object that says who serves it.
    #[must_use]
    pub fn service(self) -> String {
        format!("{}.{}", self.version, self.group)
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Connected viewers.
    Viewers,
    /// Sessions of all kinds, those that connect too.
    Sessions,
    /// Rooms.
    Rooms,
    /// Media sent, in bits a second.
    Egress,
    /// Media packets sent, a second.
    Packets,
    /// The share of a core that the busiest shard of a pod uses; of a MediaNode, the mean of its pods.
    Cpu,
}

/// All that is measured of pods and MediaNodes.
pub const MEASURES: [Measure; 6] = [
    Measure::Viewers,
    Measure::Sessions,
    Measure::Rooms,
    Measure::Egress,
    Measure::Packets,
    Measure::Cpu,
];

impl Measure {
    /// Its name without what it is of.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Measure::Viewers => "viewers",
            Measure::Sessions => "sessions",
            Measure::Rooms => "rooms",
            Measure::Egress => "egress_bits_per_second",
            Measure::Packets => "packets_per_second",
            Measure::Cpu => "cpu_utilization",
        }
    }

    /// Its name as an object's metric: it says whose it is, since other programs' metrics may be of the same objects.
    #[must_use]
    pub fn custom_name(self) -> String {
        format!("showrunner_{}", self.name())
    }

    /// Over how long it is measured, in seconds; none for what is counted at the moment.
    #[must_use]
    pub fn window_seconds(self) -> Option<i64> {
        match self {
            Measure::Viewers | Measure::Sessions | Measure::Rooms => None,
            Measure::Egress | Measure::Packets | Measure::Cpu => Some(1),
        }
    }

    /// Of one pod.
    #[must_use]
    pub fn of(self, reading: &Reading) -> Quantity {
        match self {
            Measure::Viewers => Quantity::whole(reading.viewers),
            Measure::Sessions => Quantity::whole(reading.sessions),
            Measure::Rooms => Quantity::whole(reading.rooms),
            Measure::Egress => Quantity::whole(reading.egress_bps),
            Measure::Packets => Quantity::whole(reading.packets_per_second),
            Measure::Cpu => Quantity::share(reading.peak_cpu),
        }
    }

    /// Of several pods together.
    #[must_use]
    pub fn of_all(self, readings: &[&Reading]) -> Quantity {
        let one_by_one = readings.iter().map(|reading| self.of(reading));
        let sum = one_by_one.fold(Quantity::default(), Quantity::plus);
        match self {
            Measure::Cpu => sum.over(readings.len()),
            _ => sum,
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A media pod.
    Pod,
    /// A site.
    MediaNode,
    /// A room.
    LiveRoom,
}

/// All of them.
pub const SUBJECTS: [Subject; 3] = [Subject::Pod, Subject::MediaNode, Subject::LiveRoom];

impl Subject {
    /// As paths name it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Subject::Pod => "pods",
            Subject::MediaNode => "medianodes.showrunner.dev",
            Subject::LiveRoom => "liverooms.showrunner.dev",
        }
    }

    /// Its kind, and the group and version of that.
    #[must_use]
    pub fn kind(self) -> (&'static str, &'static str) {
        match self {
            Subject::Pod => ("Pod", "v1"),
            Subject::MediaNode => ("MediaNode", "showrunner.dev/v1alpha1"),
            Subject::LiveRoom => ("LiveRoom", "showrunner.dev/v1alpha1"),
        }
    }

    /// What is measured of it.
    #[must_use]
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Subject::Pod | Subject::MediaNode => &MEASURES,
            Subject::LiveRoom => &[Measure::Viewers],
        }
    }

    /// The one with this name in paths.
    #[must_use]
    pub fn named(resource: &str) -> Option<Subject> {
        SUBJECTS.into_iter().find(|one| one.resource() == resource)
    }

    /// Its metric of this name.
    #[must_use]
    pub fn measure(self, name: &str) -> Option<Measure> {
        let mut measures = self.measures().iter().copied();
        measures.find(|measure| measure.custom_name() == name)
    }
}

/// A metric that is looked for by its labels: what is measured of all MediaNodes or LiveRooms of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// What of.
    pub subject: Subject,
    /// What.
    pub measure: Measure,
}

impl External {
    /// All there are.
    pub fn all() -> impl Iterator<Item = External> {
        let subjects = [Subject::MediaNode, Subject::LiveRoom];
        subjects.into_iter().flat_map(|subject| {
            let measures = subject.measures().iter();
            measures.map(move |measure| External {
                subject,
                measure: *measure,
            })
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        let of = match self.subject {
            Subject::Pod => "pod",
            Subject::MediaNode => "medianode",
            Subject::LiveRoom => "liveroom",
        };
        format!("showrunner_{of}_{}", self.measure.name())
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<External> {
        External::all().find(|one| one.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_found_again() {
        for subject in SUBJECTS {
            assert_eq!(Subject::named(subject.resource()), Some(subject));
            for measure in subject.measures() {
                let found = subject.measure(&measure.custom_name());
                assert_eq!(found, Some(*measure));
            }
        }
        assert_eq!(Subject::LiveRoom.measure("showrunner_sessions"), None);
        for external in External::all() {
            assert_eq!(External::named(&external.name()), Some(external));
        }
        assert_eq!(External::all().count(), 7);
        assert_eq!(External::named("showrunner_pod_viewers"), None);
    }

    #[test]
    fn a_site_has_the_sum_of_its_pods_and_their_mean_load() {
        let reading = |viewers, peak_cpu| Reading {
            viewers,
            peak_cpu,
            ..Reading::default()
        };
        let (one, other) = (reading(3, 0.25), reading(4, 0.75));
        let all = [&one, &other];
        assert_eq!(Measure::Viewers.of_all(&all), Quantity::whole(7));
        assert_eq!(Measure::Cpu.of_all(&all), Quantity::milli(500));
        assert_eq!(Measure::Cpu.of_all(&[]), Quantity::default());
    }
}
