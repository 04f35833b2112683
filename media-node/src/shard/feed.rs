//! The end of a link that sends: what another pod takes of a room.
//!
//! It gets each layer that it wants as it is, packet for packet, under numbers of the link. A layer that begins to be
//! wanted begins with its stored keyframe, so that the pod has something to start its viewers with at once; what is
//! stored leaves at a bounded pace, and what comes in meanwhile queues behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::bwe::{Config, Estimator, Sent};
use showrunner_rtp::codec::{Codec, Kind};
use showrunner_rtp::reports::{NtpTime, round_trip};
use showrunner_rtp::rtcp::{self, BufferFull, ReportBlock, TransportCc};

use super::outlet::Send;
use crate::media::layer::Layer;
use crate::media::link;
use crate::media::notes::Notes;
use crate::media::packet::{SourceId, StoredPacket};

/// The pace of what is stored, in bytes a second: 200 Mbit/s. A keyframe and a second of a large picture take 50 ms.
const PACE: u64 = 25_000_000;

/// … and the most of it at a time: what a socket's buffer has room for besides all else.
const BURST: u64 = 256 << 10;

/// How many of a stream's latest packets can be asked for again.
const HISTORY: usize = 1024;

/// The most streams that one link carries in its life: their numbers must not begin anew under the same keys, so none is
/// ever forgotten. A link that has had more ends, and the next one begins with keys of its own.
const MAX_STREAMS: usize = 40;

/// The layers that a pod wants, by RID. Sound comes with any, and with none of them.
pub(super) type Wants = Arc<[Arc<str>]>;

/// What another pod is sent of a room.
pub(super) struct Feed {
    /// What hosts' streams are named by; see [`SourceId::on_links`].
    secret: u64,
    seed: u64,
    wants: Option<Wants>,
    streams: Vec<Stream>,
    estimator: Estimator,
    credit: u64,
    refilled: Instant,
    pub(super) notes: Notes,
}

/// One layer or the sound.
struct Stream {
    source: SourceId,
    ssrc: u32,
    kind: Kind,
    rid: Arc<str>,
    /// It is wanted, and has begun.
    is_on: bool,
    /// What is stored and not sent yet, the oldest first.
    backlog: VecDeque<Arc<StoredPacket>>,
    /// Number of the next packet on the link.
    index: u64,
    repair_index: u64,
    /// What the latest packets were, by their numbers on the link: their numbers in the host's stream.
    sent: Box<[Option<(u16, u64)>]>,
    packets: u32,
    octets: u32,
}

impl Feed {
    /// Sends nothing until something is wanted. `seed` is random: first numbers must not be guessable.
    pub(super) fn new(secret: u64, seed: u64, now: Instant) -> Feed {
        let max_bps = 10_000_000_000;
        let config = Config {
            start_bps: PACE * 8,
            max_bps,
            ..Config::default()
        };
        Feed {
            secret,
            seed,
            wants: None,
            streams: Vec::new(),
            estimator: Estimator::new(now, config),
            credit: BURST,
            refilled: now,
            notes: Notes::new(now),
        }
    }

    /// What the pod wants from now on; none: nothing, not even sound.
    pub(super) fn want(&mut self, wants: Option<Wants>) {
        self.wants = wants;
        for stream in &mut self.streams {
            if !is_wanted(self.wants.as_ref(), stream.kind, &stream.rid) {
                stream.is_on = false;
                stream.backlog.clear();
            }
        }
    }

    /// The layers that it wants.
    pub(super) fn wants(&self) -> impl Iterator<Item = &Arc<str>> {
        self.wants.iter().flat_map(|rids| rids.iter())
    }

    /// Whether it must end because it has had more streams than it can carry.
    pub(super) fn is_worn_out(&self) -> bool {
        self.streams.len() >= MAX_STREAMS
    }

    /// Sends what came in of a layer, or begins with what is stored of it if it has become wanted; how many packets.
    pub(super) fn send(
        &mut self,
        layer: &Layer,
        pending: &[Arc<StoredPacket>],
        to: &mut Send<'_>,
    ) -> u64 {
        if !is_wanted(self.wants.as_ref(), layer.codec.kind(), &layer.rid) {
            return 0;
        }
        let Some(at) = self.stream(layer) else {
            return 0;
        };
        let stream = &mut self.streams[at];
        if !stream.is_on {
            stream.is_on = true;
            stream.backlog = layer.snapshot().into();
        } else if !stream.backlog.is_empty() {
            stream.backlog.extend(pending.iter().cloned());
        } else {
            for packet in pending {
                stream.send(packet, &mut self.estimator, to);
            }
            return pending.len() as u64;
        }
        self.catch_up(to)
    }

    /// Sends what is stored, as far as the pace allows; how many packets.
    pub(super) fn catch_up(&mut self, to: &mut Send<'_>) -> u64 {
        let elapsed = to.now.saturating_duration_since(self.refilled);
        let earned = PACE * elapsed.min(Duration::from_secs(1)).as_micros() as u64 / 1_000_000;
        self.credit = (self.credit + earned).min(BURST);
        self.refilled = to.now;
        let mut count = 0;
        for stream in &mut self.streams {
            while self.credit > 0
                && let Some(packet) = stream.backlog.pop_front()
            {
                let bytes = stream.send(&packet, &mut self.estimator, to);
                self.credit = self.credit.saturating_sub(bytes as u64);
                count += 1;
            }
        }
        count
    }

    /// A number of a layer carries no media: the pod's viewers must not wait for it.
    pub(super) fn skip(&mut self, layer: &Layer, seq: u64, to: &mut Send<'_>) {
        let stream = self.streams.iter_mut().find(|s| s.source == layer.source);
        if let Some(stream) = stream.filter(|s| s.is_on) {
            stream.skip(layer.codec, seq, &mut self.estimator, to);
        }
    }

    /// The stream that has an SSRC on the link.
    pub(super) fn source_of(&self, ssrc: u32) -> Option<SourceId> {
        let stream = self.streams.iter().find(|s| s.ssrc == ssrc)?;
        Some(stream.source)
    }

    /// Which packet of the host's stream had a number on the link, if that is remembered.
    pub(super) fn sent(&self, ssrc: u32, seq: u16) -> Option<(SourceId, u64)> {
        let stream = self.streams.iter().find(|s| s.ssrc == ssrc)?;
        let (_, number) = stream.sent[usize::from(seq) % HISTORY].filter(|(had, _)| *had == seq)?;
        Some((stream.source, number))
    }

    /// Sends a packet again, which had this number on the link.
    pub(super) fn send_again(
        &mut self,
        ssrc: u32,
        seq: u16,
        packet: &StoredPacket,
        to: &mut Send<'_>,
    ) -> bool {
        let stream = self.streams.iter_mut().find(|s| s.ssrc == ssrc);
        stream.is_some_and(|stream| stream.send_again(seq, packet, &mut self.estimator, to))
    }

    /// The pod says when packets came.
    pub(super) fn on_feedback(&mut self, now: Instant, feedback: &TransportCc<'_>) {
        self.estimator.on_feedback(now, feedback);
    }

    /// The pod says what it lost.
    pub(super) fn on_report(&mut self, now: Instant, ntp: NtpTime, block: &ReportBlock) {
        let rtt = round_trip(ntp, block.last_sr, block.delay_since_last_sr);
        let lost = f32::from(block.fraction_lost) / 256.0;
        self.estimator.on_receiver_report(now, lost, rtt);
    }

    /// Time has passed; to be called some times a second.
    pub(super) fn on_tick(&mut self, now: Instant) {
        self.estimator.on_tick(now);
    }

    /// Writes sender reports: which moments of the tracks' common timelines belong together.
    ///
    /// # Errors
    /// If there is no room for all.
    pub(super) fn write_sender_reports(
        &self,
        ntp: NtpTime,
        audio: Option<u32>,
        video: Option<u32>,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        for stream in self.streams.iter().filter(|s| s.is_on && s.packets > 0) {
            let timestamp = match stream.kind {
                Kind::Audio => audio,
                Kind::Video => video,
            };
            if let Some(timestamp) = timestamp {
                let Stream {
                    ssrc,
                    packets,
                    octets,
                    ..
                } = *stream;
                out.sender_report(ssrc, ntp, timestamp, packets, octets)?;
            }
        }
        Ok(())
    }

    fn stream(&mut self, layer: &Layer) -> Option<usize> {
        let known = self.streams.iter().position(|s| s.source == layer.source);
        if known.is_some() || self.is_worn_out() {
            return known;
        }
        let ssrc = layer.source.on_links(self.secret);
        let clashes = |s: &Stream| s.ssrc == ssrc || s.ssrc == link::repair_ssrc(ssrc);
        if self.streams.iter().any(clashes) {
            // One in four billion. Two texts under one number would give the keys away; without this layer the room
            // goes on.
            tracing::warn!(rid = %layer.rid, "a layer can't be told from another on the link, and is left out");
            return None;
        }
        let first = |bits: u32| (self.seed.rotate_left(bits) ^ u64::from(ssrc)) & 0x7fff;
        self.streams.push(Stream {
            source: layer.source,
            ssrc,
            kind: layer.codec.kind(),
            rid: Arc::clone(&layer.rid),
            is_on: false,
            backlog: VecDeque::new(),
            index: first(0),
            repair_index: first(32),
            sent: vec![None; HISTORY].into_boxed_slice(),
            packets: 0,
            octets: 0,
        });
        Some(self.streams.len() - 1)
    }
}

fn is_wanted(wants: Option<&Wants>, kind: Kind, rid: &str) -> bool {
    wants.is_some_and(|rids| kind == Kind::Audio || rids.iter().any(|wanted| **wanted == *rid))
}

impl Stream {
    /// Sends a packet; how many bytes that were.
    fn send(
        &mut self,
        packet: &StoredPacket,
        estimator: &mut Estimator,
        to: &mut Send<'_>,
    ) -> usize {
        let head = self.next_head(packet.payload().len(), Sent::Media, estimator, to);
        let Ok(len) = link::write(to.outbox.room(), head, packet, to.srtp) else {
            return 0;
        };
        let seq = self.index as u16;
        self.sent[usize::from(seq) % HISTORY] = Some((seq, packet.seq));
        self.index += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
        to.outbox.commit(len, to.path, &mut to.links);
        len
    }

    fn skip(&mut self, codec: Codec, seq: u64, estimator: &mut Estimator, to: &mut Send<'_>) {
        let head = self.next_head(0, Sent::Media, estimator, to);
        if let Ok(len) = link::write_padding(to.outbox.room(), head, codec, seq, to.srtp) {
            self.sent[usize::from(self.index as u16) % HISTORY] = None;
            self.index += 1;
            to.outbox.commit(len, to.path, &mut to.links);
        }
    }

    fn send_again(
        &mut self,
        seq: u16,
        packet: &StoredPacket,
        estimator: &mut Estimator,
        to: &mut Send<'_>,
    ) -> bool {
        let bytes = packet.payload().len();
        let head = link::Head {
            ssrc: link::repair_ssrc(self.ssrc),
            index: self.repair_index,
            ..self.next_head(bytes, Sent::Retransmission, estimator, to)
        };
        let written = link::write_again(to.outbox.room(), head, seq, packet, to.srtp);
        let Ok(len) = written else { return false };
        self.repair_index += 1;
        to.outbox.commit(len, to.path, &mut to.links);
        true
    }

    fn next_head(
        &self,
        payload: usize,
        purpose: Sent,
        estimator: &mut Estimator,
        to: &Send<'_>,
    ) -> link::Head<'_> {
        /// What a packet is longer by on the wire than its payload, roughly.
        const OVERHEAD: usize = 76;
        link::Head {
            ssrc: self.ssrc,
            rid: &self.rid,
            index: self.index,
            transport_number: estimator.on_sent(to.now, payload + OVERHEAD, purpose),
        }
    }
}
