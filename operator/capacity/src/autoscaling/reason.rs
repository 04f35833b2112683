//! Why there are as many pods as there are, for people.

use super::need::Needs;
use super::{Decision, Observation, Policy};

/// What asks for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The least that there may be.
    Minimum,
    /// A schedule.
    Schedule,
    /// Viewers who are there.
    Viewers,
    /// Viewers whom rooms expect.
    Expected,
    /// Viewers who will be there if they go on coming.
    Forecast,
    /// Rooms.
    Rooms,
    /// Media sent.
    Egress,
    /// Packets sent.
    Packets,
    /// Processor time.
    Cpu,
}

impl Signal {
    /// In a word, as in a status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Signal::Minimum => "Minimum",
            Signal::Schedule => "Schedule",
            Signal::Viewers => "Viewers",
            Signal::Expected => "ExpectedViewers",
            Signal::Forecast => "Forecast",
            Signal::Rooms => "Rooms",
            Signal::Egress => "Egress",
            Signal::Packets => "Packets",
            Signal::Cpu => "CPU",
        }
    }
}

/// What holds a change back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Pods that serve don't say how they are.
    Silent,
    /// It has not watched for long enough to give up a pod.
    New,
    /// Not long ago more were needed.
    Recent,
    /// Pods are added, or given up, only so fast.
    Pace,
    /// There may be no more.
    Maximum,
}

impl Hold {
    /// All of them.
    pub const ALL: [Hold; 5] = [
        Hold::Silent,
        Hold::New,
        Hold::Recent,
        Hold::Pace,
        Hold::Maximum,
    ];

    /// In a word, as in a status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hold::Silent => "MissingMetrics",
            Hold::New => "JustStarted",
            Hold::Recent => "Stabilizing",
            Hold::Pace => "RateLimited",
            Hold::Maximum => "Maximum",
        }
    }
}

/// As in: `12 pods for 9340 viewers and 500 kept free, 900 a pod`.
pub(super) fn sentence(
    policy: &Policy,
    seen: &Observation<'_>,
    needs: &Needs,
    decision: &Decision,
) -> String {
    let asks = asks(policy, seen, needs, decision);
    let wanted = count(decision.wanted, "pod");
    let mut text = format!("{wanted} {asks}");
    if let Some(hold) = decision.hold {
        text.push_str("; ");
        text.push_str(&held(policy, needs, decision, hold));
    }
    if policy.is_dry_run && decision.replicas != seen.replicas {
        let stays = format!("; a dry run: it stays at {}", seen.replicas);
        text.push_str(&stays);
    }
    text
}

fn asks(policy: &Policy, seen: &Observation<'_>, needs: &Needs, decision: &Decision) -> String {
    let targets = &policy.targets;
    let each = |amount: u64, target: Option<u32>| amount * u64::from(target.unwrap_or(100)) / 100;
    let viewers = each(seen.capacity.viewers, targets.viewers);
    let free = if needs.spare >= 1.0 {
        format!(" and {:.0} kept free", needs.spare)
    } else {
        String::new()
    };
    let there = needs.viewers;
    match decision.signal {
        Signal::Minimum => "as the least that there may be".to_owned(),
        Signal::Schedule => {
            let name = needs.schedule.as_deref().unwrap_or_default();
            format!("by the schedule {name}")
        }
        Signal::Viewers => format!("for {there:.0} viewers{free}, {viewers} a pod"),
        Signal::Expected => {
            let more = needs.promised;
            format!(
                "for {there:.0} viewers, {more:.0} whom rooms expect besides{free}, {viewers} a pod"
            )
        }
        Signal::Forecast => {
            let (more, lead) = (needs.promised, decision.lead_seconds);
            format!(
                "for {there:.0} viewers, {more:.0} more within {lead} s if they go on coming{free}, {viewers} a pod"
            )
        }
        Signal::Rooms => {
            let (rooms, each) = (needs.totals.rooms, each(seen.capacity.rooms, targets.rooms));
            format!("for {rooms:.0} rooms and those kept free, {each} a pod")
        }
        Signal::Egress => {
            let each = each(seen.capacity.egress_bps, targets.egress) / 1_000_000;
            let sent = needs.totals.egress_bps / 1e6;
            format!("for {sent:.0} Mbit/s sent and what comes, {each} a pod")
        }
        Signal::Packets => {
            let each = each(seen.capacity.packets, targets.packets);
            let sent = needs.totals.packets;
            format!("for {sent:.0} packets a second and what comes, {each} a pod")
        }
        Signal::Cpu => {
            let target = targets.cpu.unwrap_or(100);
            let used = 100.0 * needs.totals.cpu;
            format!("for {used:.0} % of a core and what comes, {target} % a pod")
        }
    }
}

fn held(policy: &Policy, needs: &Needs, decision: &Decision, hold: Hold) -> String {
    let replicas = decision.replicas;
    match hold {
        Hold::Silent if needs.silent == 1 => {
            format!("it stays at {replicas} because 1 pod does not say how busy it is")
        }
        Hold::Silent => {
            let silent = needs.silent;
            format!("it stays at {replicas} because {silent} pods do not say how busy they are")
        }
        Hold::New => format!("it stays at {replicas} until more is known than of the last moments"),
        Hold::Recent => {
            let within = policy.stabilization_seconds;
            format!("it is {replicas} because more were needed within the last {within} s")
        }
        Hold::Pace => format!("it is {replicas} for now because the pace is limited"),
        Hold::Maximum => {
            let (asked, max) = (needs.most.pods, policy.max);
            format!("{asked} would be needed, and there may be no more than {max}")
        }
    }
}

fn count(number: u32, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
