//! A viewer's outgoing tracks, and which layer it is on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::bwe::Sent;
use showrunner_rtp::codec::Codec;
use showrunner_rtp::reports::{NtpTime, round_trip};
use showrunner_rtp::rtcp::{self, BufferFull, ReportBlock};
use showrunner_sdp::Watching;

use super::choice::Choice;
use super::outlet::{Outlet, Send};
use super::way::Way;
use crate::lived::Viewing;
use crate::lived::layers::On;
use crate::media::allocation::Rung;
use crate::media::deadline::{Request, Verdict};
use crate::media::forwarder::{Begin, Sublayers};
use crate::media::hiding::Hiding;
use crate::media::layer::Layer;
use crate::media::pacer::{Cursor, Next};
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::quality::Reports;
use crate::media::redundancy::Weight;
use crate::node::LayerChoice;

/// A viewer whose decoder lost its way is started anew from the stored keyframe, but not more
/// often than this.
const MIN_RESTART_INTERVAL: Duration = Duration::from_millis(500);

/// For so long, at most, a layer that is to be left for a worse one is not sent while packets stand
/// in the path's queue: what stands there is shown meanwhile, and the other layer's keyframe comes.
const HELD_BACK: Duration = Duration::from_millis(600);

/// What [`Viewer::feed_one`] did.
enum Fed {
    /// Sent so many bytes of media.
    Sent(usize),
    /// Nothing is to be sent now.
    Nothing,
    /// What was to be sent is too old.
    Lost,
}

/// Numbers that went out together: the first and the last, and what hangs on the most important of
/// their frames.
#[derive(Clone, Copy, Default)]
struct Run(Option<(u64, u64, Weight)>);

impl Run {
    fn add(&mut self, index: u64, weight: Weight) {
        let (first, last, heaviest) = self.0.unwrap_or((index, index, weight));
        self.0 = Some((first.min(index), last.max(index), heaviest.max(weight)));
    }
}

/// A viewer's media.
pub(super) struct Viewer {
    audio: Option<Outlet>,
    video: Option<Outlet>,
    pub(super) way: Way,
    /// Where in its layer it is.
    cursor: Cursor,
    /// It is looked after every few milliseconds.
    pub(super) is_timed: bool,
    /// What it gets is encoded anew for others: it is to be the host's own picture.
    pub(super) transcodes: bool,
    /// What was asked for.
    pub(super) asked: LayerChoice,
    /// What was decided.
    pub(super) choice: Choice,
    /// The layer that is being forwarded, packet by packet.
    pub(super) current: Option<SourceId>,
    /// The layer to go on with at its next keyframe.
    pub(super) target: Option<SourceId>,
    /// Since when it is to leave the current one for a worse one.
    leaves: Option<Instant>,
    /// How much of that, or of the current one, was decided to be sent.
    sublayers: Sublayers,
    last_restart: Option<Instant>,
    first_picture: Option<Instant>,
    /// When the present stretch of video began to be sent.
    video_since: Option<Instant>,
    reports: Reports,
    hiding: Hiding,
    /// Whether the shard knows that there are copies to be sent.
    is_copying: bool,
    /// By how much what was sent last was late, because the viewer is behind.
    lag: Duration,
    /// What it lives through.
    pub(super) lived: Viewing,
}

impl Viewer {
    /// A viewer that has seen nothing yet. `seed` is random: first numbers must not be guessable.
    pub(super) fn new(watching: Watching, seeds: [u64; 2], now: Instant) -> Self {
        let tracks = [&watching.audio, &watching.video].into_iter().flatten();
        Self {
            way: Way::new(now, tracks),
            cursor: Cursor::default(),
            is_timed: false,
            audio: watching.audio.map(|t| Outlet::new(t, seeds[0])),
            video: watching.video.map(|t| Outlet::new(t, seeds[1])),
            transcodes: false,
            asked: LayerChoice::default(),
            choice: Choice::default(),
            current: None,
            target: None,
            leaves: None,
            sublayers: Sublayers::ALL,
            last_restart: None,
            first_picture: None,
            video_since: None,
            reports: Reports::default(),
            hiding: Hiding::default(),
            is_copying: false,
            lag: Duration::ZERO,
            lived: Viewing::default(),
        }
    }

    /// Datagrams of media that it was sent, and their bytes.
    pub(super) fn sent_in_all(&self) -> (u64, u64) {
        let outlets = [&self.audio, &self.video].into_iter().flatten();
        outlets.fold((0, 0), |(packets, bytes), outlet| {
            (packets + outlet.sent.0, bytes + outlet.sent.1)
        })
    }

    /// The SSRCs of its media.
    pub(super) fn ssrcs(&self) -> impl Iterator<Item = u32> {
        let outlets = [&self.audio, &self.video].into_iter().flatten();
        outlets.map(|outlet| outlet.track.ssrc)
    }

    /// Whether it takes video at all.
    pub(super) fn takes_video(&self) -> bool {
        self.video.is_some()
    }

    /// The highest spatial layer that it can put together of a stream of this codec.
    pub(super) fn max_spatial(&self, codec: Codec) -> Option<u8> {
        let knows = self.video.as_ref().is_some_and(Outlet::knows_dependencies);
        (codec == Codec::Av1 && !knows).then_some(0)
    }

    /// Whether it takes audio at all.
    pub(super) fn takes_audio(&self) -> bool {
        self.audio.is_some()
    }

    /// When the first picture was sent.
    pub(super) fn first_picture(&self) -> Option<Instant> {
        self.first_picture
    }

    /// Forwards audio.
    pub(super) fn send_audio(
        &mut self,
        source: SourceId,
        packets: &[Arc<StoredPacket>],
        layer: &Layer,
        to: &mut Send<'_>,
    ) {
        let (Some(outlet), Some(first)) = (&mut self.audio, packets.first()) else {
            return;
        };
        if outlet.numbers.source() != Some(source) {
            outlet.numbers.begin(source, first, Begin::Live);
        }
        for packet in packets {
            outlet.send_sound(source, packet, layer, &self.hiding, &mut self.way, to);
        }
        self.lived.on_sent(to.now, &to.frames);
    }

    /// Forwards packets of a layer, if the viewer is on it; or switches to it, if it waits for
    /// that and one of them begins a keyframe. True if it switched.
    pub(super) fn send_video(
        &mut self,
        layer: &Layer,
        packets: &[Arc<StoredPacket>],
        to: &mut Send<'_>,
    ) -> bool {
        let source = layer.source;
        let Some(outlet) = &mut self.video else {
            return false;
        };
        let mut packets = packets;
        let mut switched = false;
        if self.current != Some(source) {
            let key = packets.iter().position(|p| p.starts_keyframe);
            let Some(key) = key.filter(|_| self.target == Some(source)) else {
                return false;
            };
            packets = &packets[key..];
            outlet.numbers.want(self.sublayers);
            outlet.numbers.begin(source, &packets[0], Begin::Live);
            self.current = Some(source);
            self.target = None;
            self.leaves = None;
            self.cursor = Cursor::live_from(packets[0].seq);
            self.first_picture.get_or_insert(to.now);
            self.video_since = Some(to.now);
            switched = true;
        }
        self.refill(to.now);
        let Some(outlet) = &mut self.video else {
            return switched;
        };
        self.hiding.note_lateness(layer.late_by());
        outlet.tell_playout_delay(self.hiding.playout_to_write(to.now));
        self.lag = Duration::ZERO;
        let mut run = Run::default();
        for packet in packets {
            if self.cursor.takes(packet.seq, self.way.budget())
                && let Some(index) = outlet.send(source, packet, Sent::Media, &mut self.way, to)
            {
                let weight = Weight::of(&packet.layering, layer.is_of_keyframe(packet));
                run.add(index, weight);
                self.lived.on_picture(to.now, packet, &to.frames);
            }
        }
        self.copy(to.now, run);
        self.note_layer(to.now, layer);
        switched
    }

    /// Notes which picture of its layer it is sent now.
    pub(super) fn note_layer(&mut self, now: Instant, layer: &Layer) {
        let sent = self.video.as_ref().map(|video| video.numbers.sublayers());
        let (spatial, size) = layer.picture(sent.map_or(u8::MAX, |sublayers| sublayers.spatial));
        let rid = &layer.rid;
        self.lived.on_layer(now, On { rid, spatial, size });
    }

    /// Has what went out sent once more, if the path is such that it needs that.
    fn copy(&mut self, now: Instant, run: Run) {
        let Some((first, last, weight)) = run.0 else {
            return;
        };
        let copies = self.hiding.early_copies(weight);
        if copies > 0 {
            let copied = &mut self.hiding.copies;
            copied.schedule(now, first as u16, last as u16, copies);
        }
    }

    /// Begins with stored packets from a keyframe on: all since then up to live (`catch_up`), or
    /// that one picture alone. [`Self::feed`] sends them.
    pub(super) fn begin_stored(
        &mut self,
        layer: &Layer,
        first: &StoredPacket,
        catch_up: bool,
        now: Instant,
    ) {
        let Some(outlet) = &mut self.video else {
            return;
        };
        let live = layer.newest_timestamp();
        self.leaves = None;
        outlet.numbers.want(self.sublayers);
        self.video_since = Some(now);
        self.first_picture.get_or_insert(now);
        self.note_layer(now, layer);
        let Some(outlet) = &mut self.video else {
            return;
        };
        if catch_up {
            let begin = Begin::CatchUp { live };
            outlet.numbers.begin(layer.source, first, begin);
            self.cursor = Cursor::behind_from(first.seq, first.arrival, now);
            self.current = Some(layer.source);
            self.target = None;
        } else {
            let begin = Begin::Still { live };
            outlet.numbers.begin(layer.source, first, begin);
            self.cursor = Cursor::still_from(first.seq);
            self.current = None;
            self.target = Some(layer.source);
        }
    }

    /// The layer that it is to be fed from, if it is behind.
    pub(super) fn is_fed_from(&self) -> Option<SourceId> {
        self.current.or(self.target).filter(|_| self.is_behind())
    }

    /// The number in its layer that it has not been sent yet.
    pub(super) fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Whether stored packets are still to be sent to it.
    pub(super) fn is_behind(&self) -> bool {
        self.cursor.is_behind()
    }

    /// Sends what is stored, as far as the budget goes. False if the viewer has lost touch: what it
    /// would get next came too long ago.
    #[must_use]
    pub(super) fn feed(&mut self, layer: &Layer, to: &mut Send<'_>) -> bool {
        self.refill(to.now);
        while self.way.budget().is_open() {
            match self.feed_one(layer, Sent::Media, to) {
                Fed::Sent(_) => {}
                Fed::Nothing => return true,
                Fed::Lost => return false,
            }
        }
        true
    }

    fn feed_one(&mut self, layer: &Layer, purpose: Sent, to: &mut Send<'_>) -> Fed {
        let Some(outlet) = &mut self.video else {
            return Fed::Nothing;
        };
        loop {
            match self.cursor.next(layer, to.now) {
                Next::Send(packet) => {
                    self.lag = to.now.saturating_duration_since(packet.arrival);
                    outlet.tell_playout_delay(self.hiding.playout_to_write(to.now));
                    let sent = outlet.send(layer.source, packet, purpose, &mut self.way, to);
                    let Some(index) = sent else {
                        continue; // of a layer that it is not sent
                    };
                    let weight = Weight::of(&packet.layering, layer.is_of_keyframe(packet));
                    let mut run = Run::default();
                    run.add(index, weight);
                    self.lived.on_picture(to.now, packet, &to.frames);
                    self.copy(to.now, run);
                    return Fed::Sent(packet.payload().len());
                }
                Next::Skip(seq) => outlet.numbers.skip(layer.source, seq),
                Next::Wait | Next::Done => return Fed::Nothing,
                Next::Lost => return Fed::Lost,
            }
        }
    }

    /// Sends what the estimate wants to be sent beyond the budget, to find out whether the path
    /// carries it: of what the viewer is behind by, if it is, or else what it has already. How
    /// many packets that were.
    pub(super) fn probe(&mut self, layer: Option<&Layer>, to: &mut Send<'_>) -> u64 {
        if !self.video.as_ref().is_some_and(Outlet::knows_rtx) {
            return 0;
        }
        let Some(probe) = self.way.poll_probe(to.now) else {
            return 0;
        };
        let (mut sent, mut packets) = (0, 0);
        while sent < probe.bytes {
            let purpose = Sent::Probe(probe.cluster);
            let fed = match layer {
                Some(layer) if self.is_behind() => self.feed_one(layer, purpose, to),
                _ => Fed::Nothing,
            };
            let len = match (fed, &mut self.video) {
                (Fed::Sent(len), _) => len,
                (Fed::Nothing | Fed::Lost, Some(outlet)) => {
                    match outlet.send_more(layer, purpose, &mut self.way, to) {
                        Some(len) => len,
                        None => return packets,
                    }
                }
                (_, None) => return packets,
            };
            sent += len;
            packets += 1;
        }
        packets
    }

    /// Sends one packet that changes nothing, which it answers if it is there.
    pub(super) fn ask(&mut self, layer: Option<&Layer>, to: &mut Send<'_>) {
        if let Some(video) = &mut self.video {
            video.send_more(layer, Sent::Retransmission, &mut self.way, to);
        }
    }

    /// Says how much to send of the layer that it is on, or is to be on next.
    pub(super) fn decide_sublayers(&mut self, rung: &Rung) {
        self.sublayers = Sublayers {
            spatial: rung.spatial,
            temporal: rung.temporal,
        };
    }

    /// Has it sent as much of its layer as was decided. True if only a keyframe of that layer
    /// brings all of it.
    pub(super) fn follow_sublayers(&mut self) -> bool {
        let Some(video) = &mut self.video else {
            return false;
        };
        video.numbers.want(self.sublayers);
        video.numbers.waits_for_keyframe()
    }

    /// It is to be on a worse layer: until it is, as little of the current one is sent as can be.
    pub(super) fn leave(&mut self, now: Instant) {
        self.leaves = Some(now);
        if let Some(video) = &mut self.video {
            let spatial = video.numbers.sublayers().spatial;
            video.numbers.want(Sublayers {
                spatial,
                temporal: 0,
            });
        }
    }

    /// It stays on the current layer.
    pub(super) fn stay(&mut self) {
        self.target = None;
        self.leaves = None;
    }

    /// Time has passed for the budget.
    fn refill(&mut self, now: Instant) {
        let is_let_go = self
            .leaves
            .is_some_and(|at| now.saturating_duration_since(at) < HELD_BACK);
        self.way.hold_back(is_let_go);
        self.way.refill(now);
    }

    /// Whether what it was sent of a layer is worth repairing: not on a path that is full, once that
    /// layer is left or about to be. The repairs would be ahead of the other layer's keyframe.
    pub(super) fn repairs(&self, now: Instant, source: SourceId) -> bool {
        let stays = self.current.or(self.target) == Some(source) && self.leaves.is_none();
        stays || !self.way.was_full(now)
    }

    /// It is on no layer any more, and begins with the next keyframe of `target`.
    pub(super) fn begin_anew(&mut self, target: Option<SourceId>) {
        self.leaves = None;
        self.current = None;
        self.target = target;
        self.cursor = Cursor::default();
    }

    /// A layer is over. One that is on it goes on with the next keyframe of another, and nothing is shown of it until
    /// then; one that is behind begins anew, since what it was to be sent next is gone.
    pub(super) fn layer_ended(&mut self, source: SourceId) {
        if self.current == Some(source) && !self.is_behind() {
            return;
        }
        if self.current == Some(source) || self.target == Some(source) {
            let current = self.current.filter(|current| *current != source);
            match current {
                Some(_) => self.target = None,
                None => self.begin_anew(None),
            }
        }
    }

    /// A number of a source carries no media: leave it out.
    pub(super) fn skip(&mut self, source: SourceId, seq: u64) {
        if let Some(audio) = &mut self.audio {
            audio.numbers.skip(source, seq);
        }
        // A viewer that is behind comes to it later, and one that is shown a still begins anew.
        if self.current == Some(source)
            && !self.is_behind()
            && let Some(video) = &mut self.video
        {
            video.numbers.skip(source, seq);
        }
    }

    /// What went out under a number, if the SSRC is ours: (is video, source, its number).
    pub(super) fn sent(&self, ssrc: u32, seq: u16) -> Option<(bool, SourceId, u64)> {
        let (video, outlet) = match (&self.audio, &self.video) {
            (Some(audio), _) if audio.track.ssrc == ssrc => (false, audio),
            (_, Some(video)) if video.track.ssrc == ssrc => (true, video),
            _ => return None,
        };
        let (source, number) = outlet.numbers.sent(seq)?;
        Some((video, source, number))
    }

    /// Sends a packet again that [`Self::sent`] named. True if it went out.
    pub(super) fn send_again(
        &mut self,
        video: bool,
        seq: u16,
        source: SourceId,
        packet: &StoredPacket,
        to: &mut Send<'_>,
    ) -> bool {
        let outlet = if video {
            &mut self.video
        } else {
            &mut self.audio
        };
        let Some(outlet) = outlet else {
            return false;
        };
        let purpose = Sent::Retransmission;
        let Some(len) = outlet.send_again(seq, packet, source, purpose, &mut self.way, to) else {
            return false;
        };
        to.outbox.commit(len, to.path, &mut to.links);
        self.lived.on_sent_again();
        true
    }

    /// Whether a packet that [`Self::sent`] named and that is asked for is worth sending.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        seq: u16,
        packet: &StoredPacket,
        layer: &Layer,
    ) -> Verdict {
        // What was stored when the viewer began was sent to it then.
        let sent = packet
            .arrival
            .max(self.video_since.unwrap_or(packet.arrival));
        let request = Request {
            seq,
            age: now.saturating_duration_since(sent).saturating_sub(self.lag),
            is_needed: !layer.is_superseded(packet),
        };
        let (path, held_back) = (self.hiding.path(), self.hiding.held_back());
        self.hiding.answers.judge(now, request, path, held_back)
    }

    /// Has an answer sent more than once, if the path is such that it needs that.
    pub(super) fn repeat_answer(&mut self, now: Instant, seq: u16) {
        let again = self.hiding.answers_per_request().saturating_sub(1);
        self.hiding.copies.schedule(now, seq, seq, again);
    }

    /// Whether there are copies to be sent that the shard has not been told of; it is then.
    pub(super) fn begins_copying(&mut self) -> bool {
        let begins = !self.is_copying && !self.hiding.copies.is_empty();
        self.is_copying |= begins;
        begins
    }

    /// The next packets of the video stream to be sent once more: first and last number.
    pub(super) fn next_copies(&mut self, now: Instant) -> Option<(u16, u16)> {
        let next = self.hiding.copies.poll(now);
        self.is_copying = !self.hiding.copies.is_empty();
        next
    }

    /// Whether there are copies to be sent later.
    pub(super) fn is_copying(&self) -> bool {
        self.is_copying
    }

    /// What went out under a number of the video stream.
    pub(super) fn sent_video(&self, seq: u16) -> Option<(SourceId, u64)> {
        self.video.as_ref()?.numbers.sent(seq)
    }

    /// A packet of the video stream is sent once more.
    pub(super) fn sent_copy(&mut self, now: Instant, seq: u16) {
        self.hiding.answers.sent(now, seq);
    }

    /// Takes what the viewer reports of one of its streams (RFC 3550 §6.4.1).
    pub(super) fn on_report(&mut self, now: Instant, ntp: NtpTime, block: &ReportBlock) {
        let is =
            |outlet: &Option<Outlet>| outlet.as_ref().is_some_and(|o| o.track.ssrc == block.ssrc);
        let video = is(&self.video);
        if video || is(&self.audio) {
            let most = self.way.most_own_loss(now);
            self.reports.on_report(now, ntp, video, block, most);
            let rtt = round_trip(ntp, block.last_sr, block.delay_since_last_sr);
            self.lived.on_report(now, block, rtt);
            if video {
                self.way.on_receiver_report(now, block.fraction_lost, rtt);
            }
            self.protect(now);
        }
    }

    /// What the path would have to carry for losses to be hidden best, beside so many bit/s.
    pub(super) fn hiding_goal_bps(&self, wanted_bps: u64) -> Option<u64> {
        self.hiding.goal_bps(wanted_bps)
    }

    /// Has losses hidden as the path needs it now.
    pub(super) fn protect(&mut self, now: Instant) {
        let room = self.way.room(self.choice.wanted_bps());
        self.hiding.update(now, self.reports.quality(), Some(room));
    }

    /// Whether a keyframe request by the viewer is to be followed now.
    pub(super) fn may_restart(&mut self, now: Instant) -> bool {
        let may = self
            .last_restart
            .is_none_or(|at| now.saturating_duration_since(at) >= MIN_RESTART_INTERVAL);
        if may {
            self.last_restart = Some(now);
        }
        may
    }

    /// Writes sender reports for both tracks (RFC 3550 §6.4.1) and their common name.
    ///
    /// # Errors
    /// If the writer has no room.
    pub(super) fn write_sender_reports(
        &self,
        ntp: NtpTime,
        audio: Option<u32>,
        video: Option<u32>,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        for (outlet, timestamp) in [(&self.audio, audio), (&self.video, video)] {
            if let Some(outlet) = outlet {
                outlet.write_sender_report(ntp, timestamp, out)?;
                out.sdes_cname(outlet.track.ssrc, CNAME)?;
            }
        }
        Ok(())
    }
}

/// The canonical name (RFC 7022) that ties a viewer's audio and video together.
const CNAME: &str = "showrunner";
