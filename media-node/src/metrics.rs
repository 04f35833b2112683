//! What a node tells Prometheus. Labels have few, fixed values: shards and reasons, never rooms.
//!
//! A shard counts in plain fields and adds them up here once a turn, so that a packet costs no
//! atomic operation.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

mod lived;

use self::lived::LivedMetrics;
pub(crate) use self::lived::{
    RecordResult, ReportResult, client_report, retention, session_record, viewer_left,
};
use crate::media::allocation::Why;
use crate::media::ingest::Dropped;
use crate::shard::choice::Change;
use crate::shard::outbox::Sent;

struct Metrics {
    registry: Registry,
    rooms: IntGauge,
    rooms_active: IntGauge,
    cut_off: IntGauge,
    sessions: IntGaugeVec,
    sessions_ended: IntCounterVec,
    joins_refused: IntCounterVec,
    join: Histogram,
    first_picture: Histogram,
    residence: HistogramVec,
    packets: IntCounterVec,
    bytes: IntCounterVec,
    link_packets: IntCounterVec,
    send_calls: IntCounterVec,
    dropped: IntCounterVec,
    shed: IntCounterVec,
    nacks: IntCounterVec,
    keyframe_requests: IntCounterVec,
    recovered: IntCounterVec,
    retransmissions: IntCounterVec,
    switches: IntCounterVec,
    layer_changes: IntCounterVec,
    pauses: IntCounterVec,
    probes: IntCounterVec,
    lost_touch: IntCounterVec,
    repairs_put_off: IntCounterVec,
    viewers: IntGaugeVec,
    estimate: Histogram,
    shard_sessions: IntGaugeVec,
    shard_cpu: CounterVec,
    stored_packets: IntGaugeVec,
    lived: LivedMetrics,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let builder = Builder::default();
        let join_buckets = [
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
        ];
        let residence_buckets = [
            0.000_1, 0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.002_5, 0.003, 0.004, 0.006, 0.01,
            0.02, 0.05, 0.1,
        ];
        Self {
            rooms: builder.gauge("rooms", "Rooms that have a host or viewers on this node."),
            rooms_active: builder.gauge("rooms_active", "Rooms with a host on air."),
            cut_off: builder.gauge("cut_off", "1 while the node hears nobody of those whom it should hear on its media ports."),
            sessions: builder.gauges("sessions", "Sessions by role and state.", &["role", "state"]),
            sessions_ended: builder.counters("sessions_ended_total", "Ended sessions by reason.", &["role", "reason"]),
            joins_refused: builder.counters("joins_refused_total", "Refused joins by reason.", &["reason"]),
            join: builder.histogram("join_seconds", "From the offer to the end of the DTLS handshake.", &join_buckets),
            first_picture: builder.histogram(
                "first_picture_seconds",
                "From a viewer's offer to the first keyframe sent to it.",
                &join_buckets,
            ),
            residence: builder.histograms(
                "residence_seconds",
                "From a packet's arrival at the node to its departure to a viewer (sampled).",
                &residence_buckets,
                &["shard"],
            ),
            packets: builder.counters("packets_total", "Datagrams received and sent.", &["shard", "direction"]),
            bytes: builder.counters("bytes_total", "Bytes received and sent, without IP and UDP headers.", &["shard", "direction"]),
            link_packets: builder.counters(
                "link_packets_total",
                "Media packets taken from other pods, and sent to them, without those sent again.",
                &["shard", "direction"],
            ),
            send_calls: builder.counters("send_calls_total", "System calls that sent datagrams.", &["shard"]),
            dropped: builder.counters("dropped_total", "Received datagrams that were dropped, by reason.", &["shard", "reason"]),
            shed: builder.counters(
                "shed_total",
                "Packets shed because a queue was full: the kernel's send buffer, or the way to another shard.",
                &["shard", "queue"],
            ),
            nacks: builder.counters(
                "nacks_total",
                "Sequence numbers asked for again, by publishers' losses (sent) and viewers' (received).",
                &["shard", "direction"],
            ),
            keyframe_requests: builder.counters(
                "keyframe_requests_total",
                "Keyframe requests sent to publishers and received from viewers.",
                &["shard", "direction"],
            ),
            recovered: builder.counters("recovered_total", "Publishers' packets recovered by retransmission or redundancy.", &["shard"]),
            retransmissions: builder.counters(
                "retransmissions_total",
                "Packets that viewers asked for: sent, no longer stored, sent just before, or due already; and copies sent unasked.",
                &["shard", "result"],
            ),
            switches: builder.counters(
                "switches_total",
                "Layer switches and starts of viewers at a live keyframe.",
                &["shard"],
            ),
            layer_changes: builder.counters(
                "layer_changes_total",
                "Decisions for another layer, up or down, by what called for them: the viewer's path, a limit (the viewer's choice or the room), what is on air.",
                &["shard", "direction", "reason"],
            ),
            pauses: builder.counters("pauses_total", "Pictures paused because a path did not carry the smallest.", &["shard"]),
            probes: builder.counters("probes_total", "Packets sent to find out what a path carries.", &["shard"]),
            lost_touch: builder.counters(
                "lost_touch_total",
                "Viewers who were too far behind their layer to be sent what came next.",
                &["shard"],
            ),
            repairs_put_off: builder.counters(
                "repairs_put_off_total",
                "Retransmissions not sent because the viewer's path was spoken for.",
                &["shard"],
            ),
            viewers: builder.gauges(
                "adapted_viewers",
                "Viewers now whose picture is paused, and who are fed from the store.",
                &["shard", "state"],
            ),
            estimate: builder.histogram(
                "viewer_path_bps",
                "What viewers' paths carry, by the estimate; each viewer once a second.",
                &[
                    1e5, 2e5, 3e5, 5e5, 7.5e5, 1e6, 1.5e6, 2e6, 3e6, 4e6, 6e6, 8e6, 1.2e7, 2e7, 3e7,
                ],
            ),
            shard_sessions: builder.gauges("shard_sessions", "Sessions by shard.", &["shard"]),
            shard_cpu: builder.seconds("shard_cpu_seconds_total", "Time that a shard's thread took of its core.", &["shard"]),
            stored_packets: builder.gauges(
                "stored_packets_allocated",
                "Packet buffers ever allocated; constant in steady state.",
                &["shard"],
            ),
            lived: LivedMetrics::new(&builder),
            registry: builder.registry,
        }
    }
}

/// Makes and registers metrics. Names and labels are constants, so a clash is a bug that every
/// test would meet.
#[derive(Default)]
struct Builder {
    registry: Registry,
}

impl Builder {
    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("constant metric definition");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("metric names are unique");
        metric
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(self.opts(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.register(CounterVec::new(self.opts(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(self.opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.opts(name, help)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("showrunner")
    }
}

/// All metrics in Prometheus' text format.
pub fn render() -> String {
    let mut out = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&METRICS.registry.gather(), &mut out) {
        tracing::error!(%error, "could not encode metrics");
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Notes the node's rooms and sessions.
pub(crate) fn set_rooms(rooms: usize, active: usize) {
    METRICS.rooms.set(rooms as i64);
    METRICS.rooms_active.set(active as i64);
}

/// Notes whether the node is cut off from its viewers.
pub(crate) fn set_cut_off(is_so: bool) {
    METRICS.cut_off.set(is_so.into());
}

/// Notes that a shard's thread was on its core for so long.
pub(crate) fn shard_ran(shard: u16, time: Duration) {
    let counter = METRICS
        .shard_cpu
        .with_label_values(&[shard.to_string().as_str()]);
    counter.inc_by(time.as_secs_f64());
}

/// Notes how many sessions of a role wait for their peer and are connected.
pub(crate) fn set_sessions(role: &str, connecting: usize, connected: usize) {
    let set = |state, n: usize| {
        METRICS
            .sessions
            .with_label_values(&[role, state])
            .set(n as i64)
    };
    set("connecting", connecting);
    set("connected", connected);
}

/// Counts an ended session.
pub(crate) fn session_ended(role: &str, reason: &str) {
    METRICS
        .sessions_ended
        .with_label_values(&[role, reason])
        .inc();
}

/// Counts a refused join.
pub(crate) fn join_refused(reason: &str) {
    METRICS.joins_refused.with_label_values(&[reason]).inc();
}

/// What all shards have sent.
pub(crate) fn sent() -> Traffic {
    let total = |counters: &IntCounterVec| {
        let families = counters.collect();
        let all = families.iter().flat_map(|family| family.get_metric());
        all.filter(|metric| {
            metric
                .get_label()
                .iter()
                .any(|label| label.value() == "out")
        })
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
    };
    Traffic {
        packets: total(&METRICS.packets),
        bytes: total(&METRICS.bytes),
    }
}

/// Datagrams and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Dropped datagrams, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DropCounts {
    pub(crate) malformed: u64,
    pub(crate) unknown_path: u64,
    pub(crate) unknown_stream: u64,
    pub(crate) unauthentic: u64,
    pub(crate) redundant: u64,
    pub(crate) too_large: u64,
}

/// Why layers change: the path, what the viewer asks for or the room allows, what is on air.
const CHANGE_REASONS: [&str; 3] = ["path", "limit", "on_air"];

impl DropCounts {
    /// Counts a publisher's packet.
    pub(crate) fn count(&mut self, dropped: Dropped) {
        *match dropped {
            Dropped::Malformed => &mut self.malformed,
            Dropped::Unauthentic => &mut self.unauthentic,
            Dropped::Unknown => &mut self.unknown_stream,
            Dropped::Redundant => &mut self.redundant,
            Dropped::TooLarge => &mut self.too_large,
        } += 1;
    }
}

/// The counters of one shard.
pub struct ShardMetrics {
    pub(crate) received: Traffic,
    pub(crate) linked: Linked,
    pub(crate) dropped: DropCounts,
    pub(crate) nacks_sent: u64,
    pub(crate) nacks_received: u64,
    pub(crate) keyframe_requests_sent: u64,
    pub(crate) keyframe_requests_received: u64,
    pub(crate) recovered: u64,
    pub(crate) retransmissions: u64,
    pub(crate) retransmissions_missed: u64,
    pub(crate) retransmissions_on_their_way: u64,
    pub(crate) retransmissions_too_late: u64,
    pub(crate) copies: u64,
    pub(crate) switches: u64,
    /// Packets sent as probes.
    pub(crate) probes: u64,
    /// Times that a viewer lost touch with its layer.
    pub(crate) lost_touch: u64,
    /// Times that a viewer's picture was paused.
    pub(crate) pauses: u64,
    /// Changes of layers: to worse and to better ones, by reason.
    layer_changes: [[u64; CHANGE_REASONS.len()]; 2],
    /// Retransmissions that there was no budget for.
    pub(crate) repairs_put_off: u64,
    shared: Shared,
}

/// Media packets on links to other pods.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linked {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

struct Shared {
    linked: [IntCounter; 2],
    packets_in: IntCounter,
    packets_out: IntCounter,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    send_calls: IntCounter,
    dropped: [IntCounter; 6],
    shed_send: IntCounter,
    shed_relay: IntCounter,
    nacks: [IntCounter; 2],
    keyframe_requests: [IntCounter; 2],
    recovered: IntCounter,
    retransmissions: [IntCounter; 5],
    switches: IntCounter,
    layer_changes: [[IntCounter; CHANGE_REASONS.len()]; 2],
    pauses: IntCounter,
    probes: IntCounter,
    lost_touch: IntCounter,
    repairs_put_off: IntCounter,
    viewers: [IntGauge; 2],
    sessions: IntGauge,
    stored: IntGauge,
    residence: Histogram,
}

impl ShardMetrics {
    /// The metrics of the shard with this index.
    pub fn new(index: usize) -> Self {
        let shard = index.to_string();
        let m = &*METRICS;
        let with =
            |vec: &IntCounterVec, label: &str| vec.with_label_values(&[shard.as_str(), label]);
        let dropped = [
            "malformed",
            "unknown_path",
            "unknown_stream",
            "unauthentic",
            "redundant",
            "too_large",
        ];
        Self {
            received: Traffic::default(),
            dropped: DropCounts::default(),
            nacks_sent: 0,
            nacks_received: 0,
            keyframe_requests_sent: 0,
            keyframe_requests_received: 0,
            linked: Linked::default(),
            recovered: 0,
            retransmissions: 0,
            retransmissions_missed: 0,
            retransmissions_on_their_way: 0,
            retransmissions_too_late: 0,
            copies: 0,
            switches: 0,
            probes: 0,
            lost_touch: 0,
            pauses: 0,
            layer_changes: Default::default(),
            repairs_put_off: 0,
            shared: Shared {
                linked: ["in", "out"].map(|d| with(&m.link_packets, d)),
                packets_in: with(&m.packets, "in"),
                packets_out: with(&m.packets, "out"),
                bytes_in: with(&m.bytes, "in"),
                bytes_out: with(&m.bytes, "out"),
                send_calls: m.send_calls.with_label_values(&[&shard]),
                dropped: dropped.map(|reason| with(&m.dropped, reason)),
                shed_send: with(&m.shed, "send"),
                shed_relay: with(&m.shed, "relay"),
                nacks: ["sent", "received"].map(|d| with(&m.nacks, d)),
                keyframe_requests: ["sent", "received"].map(|d| with(&m.keyframe_requests, d)),
                recovered: m.recovered.with_label_values(&[&shard]),
                retransmissions: ["sent", "not_stored", "on_its_way", "too_late", "unasked"]
                    .map(|r| with(&m.retransmissions, r)),
                switches: m.switches.with_label_values(&[&shard]),
                layer_changes: ["down", "up"].map(|direction| {
                    CHANGE_REASONS.map(|reason| {
                        let labels = [shard.as_str(), direction, reason];
                        m.layer_changes.with_label_values(&labels)
                    })
                }),
                pauses: m.pauses.with_label_values(&[&shard]),
                probes: m.probes.with_label_values(&[&shard]),
                lost_touch: m.lost_touch.with_label_values(&[&shard]),
                repairs_put_off: m.repairs_put_off.with_label_values(&[&shard]),
                viewers: ["paused", "behind"]
                    .map(|state| m.viewers.with_label_values(&[shard.as_str(), state])),
                sessions: m.shard_sessions.with_label_values(&[&shard]),
                stored: m.stored_packets.with_label_values(&[&shard]),
                residence: m.residence.with_label_values(&[&shard]),
            },
        }
    }

    /// A session came up this long after its offer.
    pub(crate) fn joined(&self, after: Duration) {
        METRICS.join.observe(after.as_secs_f64());
    }

    /// A viewer was sent its first picture this long after its offer.
    pub(crate) fn first_picture(&self, after: Duration) {
        METRICS.first_picture.observe(after.as_secs_f64());
    }

    /// A viewer is to be on another layer.
    pub(crate) fn layer_changed(&mut self, change: Change) {
        let reason = match (change.why, change.is_up) {
            (Why::Limit, _) => 1,
            (Why::Best, false) | (Why::OffAir, _) => 2,
            (Why::Best | Why::Path | Why::BackOff, _) => 0,
        };
        self.layer_changes[usize::from(change.is_up)][reason] += 1;
    }

    /// What a viewer's path carries.
    pub(crate) fn path_carries(&self, bps: u64) {
        METRICS.estimate.observe(bps as f64);
    }

    /// How many viewers' pictures are paused, and how many viewers are behind.
    pub(crate) fn set_viewers(&self, paused: usize, behind: usize) {
        self.shared.viewers[0].set(paused as i64);
        self.shared.viewers[1].set(behind as i64);
    }

    /// Where to note how long packets stayed in the node.
    pub(crate) fn residence(&self) -> Histogram {
        self.shared.residence.clone()
    }

    /// A packet for another shard was shed.
    pub(crate) fn shed_relay(&self) {
        self.shared.shed_relay.inc();
    }

    /// Adds up what was counted since the last call.
    pub(crate) fn publish(&mut self, sent: Sent, sessions: usize, stored: u64) {
        fn add(to: &IntCounter, count: &mut u64) {
            let count = std::mem::take(count);
            if count > 0 {
                to.inc_by(count);
            }
        }
        let s = &self.shared;
        add(&s.linked[0], &mut self.linked.received);
        add(&s.linked[1], &mut self.linked.sent);
        add(&s.packets_in, &mut self.received.packets);
        add(&s.bytes_in, &mut self.received.bytes);
        let Sent {
            mut packets,
            mut bytes,
            mut calls,
            mut dropped,
        } = sent;
        add(&s.packets_out, &mut packets);
        add(&s.bytes_out, &mut bytes);
        add(&s.send_calls, &mut calls);
        add(&s.shed_send, &mut dropped);
        let d = &mut self.dropped;
        let counts = [
            &mut d.malformed,
            &mut d.unknown_path,
            &mut d.unknown_stream,
            &mut d.unauthentic,
            &mut d.redundant,
            &mut d.too_large,
        ];
        for (counter, count) in s.dropped.iter().zip(counts) {
            add(counter, count);
        }
        add(&s.nacks[0], &mut self.nacks_sent);
        add(&s.nacks[1], &mut self.nacks_received);
        add(&s.keyframe_requests[0], &mut self.keyframe_requests_sent);
        add(
            &s.keyframe_requests[1],
            &mut self.keyframe_requests_received,
        );
        add(&s.recovered, &mut self.recovered);
        add(&s.retransmissions[0], &mut self.retransmissions);
        add(&s.retransmissions[1], &mut self.retransmissions_missed);
        add(
            &s.retransmissions[2],
            &mut self.retransmissions_on_their_way,
        );
        add(&s.retransmissions[3], &mut self.retransmissions_too_late);
        add(&s.retransmissions[4], &mut self.copies);
        add(&s.switches, &mut self.switches);
        let changes = self.layer_changes.iter_mut().flatten();
        for (counter, count) in s.layer_changes.iter().flatten().zip(changes) {
            add(counter, count);
        }
        add(&s.pauses, &mut self.pauses);
        add(&s.probes, &mut self.probes);
        add(&s.lost_touch, &mut self.lost_touch);
        add(&s.repairs_put_off, &mut self.repairs_put_off);
        s.sessions.set(sessions as i64);
        s.stored.set(stored as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_show_up_once_published() {
        let mut metrics = ShardMetrics::new(99);
        metrics.received.packets = 7;
        metrics.dropped.unauthentic = 2;
        metrics.publish(
            Sent {
                packets: 5,
                ..Sent::default()
            },
            3,
            4,
        );
        metrics.publish(Sent::default(), 3, 4);
        let text = render();
        for line in [
            "showrunner_packets_total{direction=\"in\",shard=\"99\"} 7",
            "showrunner_packets_total{direction=\"out\",shard=\"99\"} 5",
            "showrunner_dropped_total{reason=\"unauthentic\",shard=\"99\"} 2",
            "showrunner_shard_sessions{shard=\"99\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
