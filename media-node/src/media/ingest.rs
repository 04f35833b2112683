//! A publisher's packets: which SSRC is which layer, what is lost, and what the publisher is told.
//!
//! A payload type says the track of a stream, and its RID the layer (RFC 8852), where there are
//! several; a binding is kept for good, since browsers stop sending RID after the first receiver
//! report. RTX (RFC 4588) is unwrapped before losses are counted, so a recovered packet is not
//! asked for again. Redundant audio (RFC 2198) is unpacked: what was lost of it comes with the
//! packets after it.
//!
//! What another pod sends of its host is taken in the same way (see [`super::link`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::dependency::{Dependencies, MAX_GROWTH};
use showrunner_rtp::codec::layering::{LayerTracker, Layering, SpatialSizes};
use showrunner_rtp::codec::{self, Codec, PayloadInfo, opus};
use showrunner_rtp::loss::LossTracker;
use showrunner_rtp::packet::{self, Header};
use showrunner_rtp::red;
use showrunner_rtp::reports::Reception;
use showrunner_rtp::rtcp::{self, BufferFull};
use showrunner_rtp::twcc::Recorder;
use showrunner_sdp::{ExtensionIds, NegotiatedCodec, Publishing, RecvTrack};
use showrunner_transport::srtp::{Receiver, StreamState};

use super::packet::{MAX_PAYLOAD, SourceId};
use super::sync::{StreamClock, Tie};
use super::{ladder, link};

#[cfg(test)]
mod tests;

/// The most SSRCs that one publisher may use: audio, four layers, their RTX, and a restart of all.
const MAX_STREAMS: usize = 24;

/// The same of a link, by which many hosts may come one after the other.
const MAX_STREAMS_OF_LINK: usize = 4 * MAX_STREAMS;

/// The most frames of one redundant audio packet that are looked at.
const MAX_REDUNDANT: usize = 8;

/// The SSRC that the node uses as the sender of its feedback.
pub const FEEDBACK_SSRC: u32 = 1;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The audio track.
    Audio,
    /// The video track.
    Video,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Not RTP, or cut off.
    Malformed,
    /// Failed authentication or was replayed.
    Unauthentic,
    /// An SSRC or payload type that was not negotiated, or too many of them.
    Unknown,
    /// Retransmission of a packet that was not missing, or a bandwidth probe.
    Redundant,
    /// Larger than the node forwards.
    TooLarge,
}

/// What a packet turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all is media, and a box would allocate for each packet"
)]
pub enum Ingested<'a> {
    /// Media, to be stored and forwarded.
    Media(Media<'a>),
    /// Padding: nothing to forward, but its number must not look lost to viewers.
    Padding {
        /// The stream.
        source: SourceId,
        /// Its extended sequence number.
        seq: u64,
    },
}

/// A media packet of a bound stream.
#[derive(Debug)]
pub struct Media<'a> {
    /// Which track.
    pub track: Track,
    /// Which stream.
    pub source: SourceId,
    /// RID, empty without simulcast.
    pub rid: &'a Arc<str>,
    /// Payload format.
    pub codec: Codec,
    /// Extended sequence number.
    pub seq: u64,
    /// Timestamp on the track's common timeline.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Orientation extension, if present.
    pub orientation: Option<u8>,
    /// What the payload header says.
    pub info: PayloadInfo,
    /// Which layer of a scalable stream it is of.
    pub layering: Layering,
    /// Picture sizes of the spatial layers, where they are told here.
    pub spatial_sizes: Option<SpatialSizes>,
    /// Its dependency descriptor, as it came, and what of it is rewritten.
    pub dependencies: Option<(Dependencies, &'a [u8])>,
    /// The payload.
    pub payload: &'a [u8],
}

#[derive(Debug)]
enum Binding {
    Media,
    /// Repairs the stream with this RID of the same track.
    Rtx,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    track: Track,
    rid: Arc<str>,
    binding: Binding,
    source: SourceId,
    srtp: StreamState,
    loss: LossTracker,
    reception: Reception,
    clock: StreamClock,
    layers: LayerTracker,
    highest: Option<u64>,
}

/// A lost audio packet that a later one brought, until it is taken.
#[derive(Debug)]
struct Recovered {
    stream: usize,
    seq: u64,
    /// As the publisher counts.
    timestamp: u32,
    arrival: Instant,
    /// Where it is in the datagram.
    frame: Range<usize>,
}

/// Counters of one publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct IngestCounters {
    /// Packets recovered: by retransmission, or audio by redundancy.
    pub recovered: u64,
    /// Sequence numbers asked for by NACK.
    pub nacked: u64,
}

/// Everything that a publisher sends, told apart.
#[derive(Debug)]
pub struct Ingest {
    /// The publisher is another pod, that passes on what its host sends.
    is_link: bool,
    audio: Option<RecvTrack>,
    video: Option<RecvTrack>,
    session: u64,
    /// The publisher is a transcoder: what the names of its layers begin with.
    prefix: Option<Arc<str>>,
    /// The timeline that its layers are put on.
    host: Option<StreamClock>,
    streams: Vec<Stream>,
    twcc: Recorder,
    twcc_started: Instant,
    nack_scratch: Vec<u16>,
    recovered: Vec<Recovered>,
    counters: IngestCounters,
}

impl Ingest {
    /// An ingest for what was negotiated; `session` makes its sources unique in the process.
    pub fn new(publishing: &Publishing, session: u64, now: Instant) -> Self {
        let tracks = (publishing.audio.clone(), publishing.video.clone());
        Self::of(tracks, false, session, now)
    }

    /// An ingest for layers that a transcoder adds to a host's, whose names begin so. Before each packet
    /// [`Self::align_to`] is to be called.
    pub fn of_transcoder(
        publishing: &Publishing,
        prefix: Arc<str>,
        session: u64,
        now: Instant,
    ) -> Self {
        Self {
            prefix: Some(prefix),
            ..Self::new(publishing, session, now)
        }
    }

    /// The host's picture has this timeline.
    pub fn align_to(&mut self, host: StreamClock) {
        self.host = Some(host);
    }

    /// An ingest for what another pod sends.
    pub fn of_link(now: Instant) -> Self {
        let (audio, video) = link::tracks();
        Self::of((Some(audio), Some(video)), true, 0, now)
    }

    fn of(
        (audio, video): (Option<RecvTrack>, Option<RecvTrack>),
        is_link: bool,
        session: u64,
        now: Instant,
    ) -> Self {
        Self {
            is_link,
            audio,
            video,
            session,
            prefix: None,
            host: None,
            streams: Vec::with_capacity(8),
            twcc: Recorder::new(),
            twcc_started: now,
            nack_scratch: Vec::with_capacity(64),
            recovered: Vec::with_capacity(MAX_REDUNDANT),
            counters: IngestCounters::default(),
        }
    }

    /// Counters since the last call.
    pub fn take_counters(&mut self) -> IngestCounters {
        std::mem::take(&mut self.counters)
    }

    /// Packets that were lost on the way, and those of them that were recovered.
    pub fn losses(&self) -> (u64, u64) {
        let lost = self.media_streams().map(|s| s.reception.lost()).sum();
        (lost, self.counters.recovered)
    }

    /// Opens and names one RTP packet.
    ///
    /// # Errors
    /// Says why the packet was dropped; the session goes on.
    pub fn on_rtp<'a>(
        &'a mut self,
        now: Instant,
        arrival: Instant,
        datagram: &'a mut [u8],
        srtp: &Receiver,
    ) -> Result<Ingested<'a>, Dropped> {
        let header = Header::parse(datagram).map_err(|_| Dropped::Malformed)?;
        let at = match self.position(header.ssrc) {
            Some(at) => {
                let state = &mut self.streams[at].srtp;
                let opened = srtp.open_rtp(state, datagram, header.len);
                (at, opened.map_err(|_| Dropped::Unauthentic)?)
            }
            None => {
                // Nothing is remembered of an SSRC until a packet of it proves authentic.
                let mut state = StreamState::default();
                let opened = srtp
                    .open_rtp(&mut state, datagram, header.len)
                    .map_err(|_| Dropped::Unauthentic)?;
                (self.bind(&header, datagram, state)?, opened)
            }
        };
        let (at, opened) = at;
        let packet = datagram.get(..opened.len).ok_or(Dropped::Malformed)?;
        self.record_arrival(&header, packet, arrival);
        match self.streams[at].binding {
            Binding::Media => self.on_media(now, arrival, at, &header, packet, opened.index),
            Binding::Rtx => self.on_rtx(now, arrival, at, &header, packet),
        }
    }

    /// A lost packet that the last one of [`Self::on_rtp`] brought along in `datagram`, which it has
    /// opened; the oldest first, until there is none.
    pub fn next_recovered<'a>(&'a mut self, datagram: &'a [u8]) -> Option<Media<'a>> {
        let recovered = self.recovered.pop()?;
        let payload = datagram.get(recovered.frame)?;
        let (at, arrival) = (recovered.stream, recovered.arrival);
        let timestamp = self.common_timestamp(at, recovered.timestamp, arrival, false);
        let stream = &self.streams[at];
        self.counters.recovered += 1;
        Some(Media {
            track: stream.track,
            source: stream.source,
            rid: &stream.rid,
            codec: Codec::Opus,
            seq: recovered.seq,
            timestamp,
            marker: false,
            orientation: None,
            info: PayloadInfo::default(),
            layering: Layering::default(),
            spatial_sizes: None,
            dependencies: None,
            payload,
        })
    }

    /// Takes a sender report: (SSRC, tie of times). True if it was for one of the streams.
    pub fn on_sender_report(&mut self, now: Instant, ssrc: u32, tie: Tie) -> bool {
        let Some(at) = self.position(ssrc) else {
            return false;
        };
        let stream = &mut self.streams[at];
        let rate = clock_rate(stream.track);
        stream.clock.on_sender_report(tie, rate);
        stream.reception.on_sender_report(now, tie.ntp);
        true
    }

    /// The tie of times of a track, on its common timeline.
    pub fn common_tie(&self, track: Track) -> Option<Tie> {
        let mut of_track = self.media_streams().filter(|s| s.track == track);
        if self.is_link {
            // The streams of hosts that went are still there.
            return of_track.next_back()?.clock.common_tie();
        }
        of_track.find_map(|s| s.clock.common_tie())
    }

    /// The tie of times of the picture, if it can be compared with another publisher's.
    pub fn steady_picture(&self) -> Option<Tie> {
        let mut video = self.media_streams().filter(|s| s.track == Track::Video);
        video.find_map(|s| s.clock.steady_tie())
    }

    /// The SSRC of a source, to ask it for a keyframe.
    pub fn ssrc_of(&self, source: SourceId) -> Option<u32> {
        self.streams
            .iter()
            .find(|s| s.source == source)
            .map(|s| s.ssrc)
    }

    /// Writes due NACKs (RFC 4585 §6.2.1).
    ///
    /// # Errors
    /// If the writer has no room; the rest goes out with the next call.
    pub fn write_nacks(
        &mut self,
        now: Instant,
        rtt: Duration,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        for stream in &mut self.streams {
            let repeats_itself = stream.track == Track::Audio && !self.is_link;
            if !matches!(stream.binding, Binding::Media) || repeats_itself {
                continue;
            }
            self.nack_scratch.clear();
            stream.loss.poll(now, rtt, &mut self.nack_scratch);
            if !self.nack_scratch.is_empty() {
                self.counters.nacked += self.nack_scratch.len() as u64;
                out.nack(FEEDBACK_SSRC, stream.ssrc, &self.nack_scratch)?;
            }
        }
        Ok(())
    }

    /// Writes transport-wide feedback, if so many packets came since the last.
    ///
    /// # Errors
    /// If the writer has no room.
    pub fn write_transport_cc(
        &mut self,
        at_least: u64,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        if self.twcc.unreported() < at_least {
            return Ok(());
        }
        let Some(media_ssrc) = self.media_streams().next().map(|s| s.ssrc) else {
            return Ok(());
        };
        self.twcc.write_feedback(out, FEEDBACK_SSRC, media_ssrc)?;
        Ok(())
    }

    /// Writes a receiver report on all bound streams. Streams get their first report only once
    /// bound: a browser takes it as leave to stop sending RID.
    ///
    /// # Errors
    /// If the writer has no room.
    pub fn write_receiver_report(
        &mut self,
        now: Instant,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        let mut blocks = [rtcp::ReportBlock::default(); MAX_STREAMS];
        let mut count = 0;
        let streams = self.streams.iter_mut().rev();
        let media = streams.filter(|s| matches!(s.binding, Binding::Media));
        for (stream, room) in media.zip(&mut blocks) {
            if let Some(block) = stream.reception.report(now, stream.ssrc) {
                *room = block;
                count += 1;
            }
        }
        out.receiver_report(FEEDBACK_SSRC, &blocks[..count])
    }

    fn media_streams(&self) -> impl DoubleEndedIterator<Item = &Stream> {
        self.streams
            .iter()
            .filter(|s| matches!(s.binding, Binding::Media))
    }

    fn position(&self, ssrc: u32) -> Option<usize> {
        self.streams.iter().position(|s| s.ssrc == ssrc)
    }

    fn record_arrival(&mut self, header: &Header, packet: &[u8], arrival: Instant) {
        let ids =
            [&self.audio, &self.video].map(|t| t.as_ref().and_then(|t| t.extensions.transport_cc));
        let seq = header
            .extensions(packet)
            .find(|(id, _)| ids.contains(&Some(*id)))
            .and_then(|(_, value)| value.first_chunk::<2>().copied());
        if let Some(seq) = seq {
            let at = arrival.saturating_duration_since(self.twcc_started);
            self.twcc
                .record(u16::from_be_bytes(seq), at.as_micros() as u64);
        }
    }

    /// Finds out what a new SSRC is (see the module's text).
    fn bind(
        &mut self,
        header: &Header,
        packet: &[u8],
        srtp: StreamState,
    ) -> Result<usize, Dropped> {
        let most = match self.is_link {
            true => MAX_STREAMS_OF_LINK,
            false => MAX_STREAMS,
        };
        if self.streams.len() >= most {
            return Err(Dropped::Unknown);
        }
        let video = self.video.as_ref().map(|t| (Track::Video, t));
        let audio = self.audio.as_ref().map(|t| (Track::Audio, t));
        let (track, negotiated, rtx) = [video, audio]
            .into_iter()
            .flatten()
            .find_map(|(track, n)| {
                let rtx = payload_kind(&n.codecs, header.payload_type)?.is_rtx();
                Some((track, n, rtx))
            })
            .ok_or(Dropped::Unknown)?;
        let named = named_rid(header, packet, &negotiated.extensions, rtx && !self.is_link);
        let rid: Arc<str> = match named {
            // Its layers are the host's, which the other pod has agreed on.
            named if self.is_link => str::from_utf8(named.unwrap_or_default())
                .map_err(|_| Dropped::Unknown)?
                .into(),
            Some(rid) => negotiated
                .rids
                .iter()
                .find(|r| r.as_bytes() == rid)
                .map(|r| Arc::from(r.as_str()))
                .ok_or(Dropped::Unknown)?,
            // Without simulcast there is one stream a track; with it, a stream must name itself.
            None if negotiated.rids.is_empty() => Arc::from(""),
            None => return Err(Dropped::Unknown),
        };
        let rid = match &self.prefix {
            Some(prefix) => ladder::name(prefix, &rid),
            None => rid,
        };
        let source = match self.is_link {
            true => SourceId::relayed(header.ssrc),
            false => SourceId::of_session(self.session, self.streams.len()),
        };
        self.streams.push(Stream {
            ssrc: header.ssrc,
            track,
            rid,
            binding: if rtx { Binding::Rtx } else { Binding::Media },
            source,
            srtp,
            loss: LossTracker::new(),
            reception: Reception::new(clock_rate(track)),
            clock: StreamClock::default(),
            layers: LayerTracker::default(),
            highest: None,
        });
        Ok(self.streams.len() - 1)
    }

    fn on_media<'a>(
        &'a mut self,
        now: Instant,
        arrival: Instant,
        at: usize,
        header: &Header,
        packet: &'a [u8],
        seq: u64,
    ) -> Result<Ingested<'a>, Dropped> {
        let kind = self
            .kind_of(at, header.payload_type)
            .ok_or(Dropped::Unknown)?;
        let payload = packet::payload(packet, header).map_err(|_| Dropped::Malformed)?;
        let stream = &mut self.streams[at];
        stream.highest = stream.highest.max(Some(seq));
        stream.loss.on_packet(now, seq);
        stream.reception.on_packet(arrival, seq, header.timestamp);
        let payload = match kind {
            PayloadKind::Redundant { frames, .. } if !payload.is_empty() => {
                let end = header.len + payload.len();
                self.unpack(
                    now,
                    arrival,
                    at,
                    header.timestamp,
                    seq,
                    frames,
                    payload,
                    end,
                )?
            }
            _ => payload,
        };
        self.name(arrival, at, kind.codec(), header, packet, seq, payload)
    }

    /// RFC 2198: the packet's own frame. Notes those before it that were lost.
    ///
    /// Blocks have times and no numbers. A frame is taken for that of the packet before only if it
    /// ends just where the next one begins.
    #[expect(clippy::too_many_arguments, reason = "the pieces of one packet")]
    fn unpack<'a>(
        &mut self,
        now: Instant,
        arrival: Instant,
        at: usize,
        timestamp: u32,
        seq: u64,
        frames: u8,
        payload: &'a [u8],
        end: usize,
    ) -> Result<&'a [u8], Dropped> {
        self.recovered.clear();
        let mut blocks = [None; MAX_REDUNDANT];
        let all = red::blocks(payload).map_err(|_| Dropped::Malformed)?;
        let unread = all.count_left().saturating_sub(MAX_REDUNDANT);
        for (slot, block) in blocks.iter_mut().zip(all.skip(unread)) {
            *slot = Some(block);
        }
        let mut newest_first = blocks.iter().rev().flatten();
        let own = newest_first.next().ok_or(Dropped::Malformed)?;
        if own.payload_type != frames {
            return Err(Dropped::Unknown);
        }
        let stream = &mut self.streams[at];
        let mut end = end - own.frame.len();
        let mut offset = 0;
        for (earlier, block) in (1..).zip(newest_first) {
            let frame = end - block.frame.len()..end;
            end = frame.start;
            let Some(duration) = opus::duration(block.frame) else {
                break;
            };
            offset += duration;
            if block.payload_type != frames || block.offset != offset {
                break;
            }
            let Some(seq) = seq.checked_sub(earlier) else {
                break;
            };
            if stream.loss.is_missing(seq) {
                stream.loss.on_packet(now, seq);
                self.recovered.push(Recovered {
                    stream: at,
                    seq,
                    timestamp: timestamp.wrapping_sub(offset),
                    arrival,
                    frame,
                });
            }
        }
        Ok(own.frame)
    }

    /// RFC 4588 §4: the payload begins with the original sequence number.
    fn on_rtx<'a>(
        &'a mut self,
        now: Instant,
        arrival: Instant,
        at: usize,
        header: &Header,
        packet: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        let payload = packet::payload(packet, header).map_err(|_| Dropped::Malformed)?;
        let (original, payload) = payload.split_first_chunk::<2>().ok_or(Dropped::Redundant)?;
        let at = self.repaired(at).ok_or(Dropped::Redundant)?;
        let codec = self
            .kind_of(at, header.payload_type)
            .ok_or(Dropped::Unknown)?
            .codec();
        let stream = &mut self.streams[at];
        let highest = stream.highest.ok_or(Dropped::Redundant)?;
        let behind = (highest as u16).wrapping_sub(u16::from_be_bytes(*original));
        let seq = highest
            .checked_sub(u64::from(behind))
            .filter(|seq| stream.loss.is_missing(*seq))
            .ok_or(Dropped::Redundant)?;
        stream.loss.on_packet(now, seq);
        self.counters.recovered += 1;
        self.name(arrival, at, codec, header, packet, seq, payload)
    }

    /// The stream that this one repairs.
    fn repaired(&self, at: usize) -> Option<usize> {
        let repairs = self.streams.get(at)?;
        if self.is_link {
            return self.position(link::repair_ssrc(repairs.ssrc));
        }
        // The newest binding of a RID, in case the publisher changed SSRCs.
        self.streams.iter().rposition(|s| {
            let is_media = matches!(s.binding, Binding::Media);
            is_media && s.track == repairs.track && s.rid == repairs.rid
        })
    }

    /// Names a packet of a link, which says itself what it is.
    fn name_marked<'a>(
        &'a mut self,
        arrival: Instant,
        at: usize,
        codec: Codec,
        header: &Header,
        packet: &'a [u8],
        payload: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        let marked = link::read(header.extensions(packet)).ok_or(Dropped::Malformed)?;
        let seq = marked.mark.seq;
        if payload.is_empty() {
            let source = self.streams[at].source;
            return Ok(Ingested::Padding { source, seq });
        }
        let extensions = self.extensions(at);
        let dependencies = extension(header, packet, extensions.dependency_descriptor);
        let dependencies = dependencies.filter(|_| codec == Codec::Av1);
        // It has room for each receiver's own bits already.
        if payload.len() + dependencies.map_or(0, <[u8]>::len) > MAX_PAYLOAD {
            return Err(Dropped::TooLarge);
        }
        let orientation = extension(header, packet, extensions.orientation);
        let orientation = orientation.and_then(|value| value.first().copied());
        let info = codec::inspect(codec, payload);
        let stream = &mut self.streams[at];
        let placed = stream.layers.place(&info, dependencies, header.timestamp);
        stream.clock.is_common(header.timestamp, arrival);
        Ok(Ingested::Media(Media {
            track: stream.track,
            source: stream.source,
            rid: &stream.rid,
            codec,
            seq,
            timestamp: header.timestamp,
            marker: header.marker,
            orientation,
            info,
            layering: marked.mark.layering,
            dependencies: placed.dependencies.zip(dependencies),
            spatial_sizes: marked.spatial_sizes,
            payload,
        }))
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one packet")]
    fn name<'a>(
        &'a mut self,
        arrival: Instant,
        at: usize,
        codec: Codec,
        header: &Header,
        packet: &'a [u8],
        seq: u64,
        payload: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        if self.is_link {
            return self.name_marked(arrival, at, codec, header, packet, payload);
        }
        if payload.is_empty() {
            let source = self.streams[at].source;
            return Ok(Ingested::Padding { source, seq });
        }
        let info = codec::inspect(codec, payload);
        let extensions = self.extensions(at);
        let orientation = extension(header, packet, extensions.orientation);
        let orientation = orientation.and_then(|value| value.first().copied());
        let dependencies = extension(header, packet, extensions.dependency_descriptor);
        let stored = dependencies.map_or(0, |value| value.len() + MAX_GROWTH);
        if payload.len() + stored > MAX_PAYLOAD {
            return Err(Dropped::TooLarge);
        }
        let tracker = &mut self.streams[at].layers;
        let placed = tracker.place(&info, dependencies, header.timestamp);
        let timestamp = self.common_timestamp(at, header.timestamp, arrival, info.starts_keyframe);
        let stream = &self.streams[at];
        Ok(Ingested::Media(Media {
            track: stream.track,
            source: stream.source,
            rid: &stream.rid,
            codec,
            seq,
            timestamp,
            marker: header.marker,
            orientation,
            info,
            layering: placed.layering,
            spatial_sizes: placed.sizes,
            // Of other codecs the payload says enough.
            dependencies: placed
                .dependencies
                .zip(dependencies)
                .filter(|_| codec == Codec::Av1),
            payload,
        }))
    }

    fn common_timestamp(
        &mut self,
        at: usize,
        timestamp: u32,
        arrival: Instant,
        keyframe: bool,
    ) -> u32 {
        let track = self.streams[at].track;
        let mut clock = std::mem::take(&mut self.streams[at].clock);
        let before = || {
            let mut streams = self.streams.iter().take(at);
            streams.find(|s| matches!(s.binding, Binding::Media) && s.track == track)
        };
        let reference = self.host.as_ref().or_else(|| before().map(|s| &s.clock));
        let common = clock.common(timestamp, arrival, keyframe, clock_rate(track), reference);
        self.streams[at].clock = clock;
        common
    }

    fn negotiated(&self, track: Track) -> Option<&RecvTrack> {
        match track {
            Track::Audio => self.audio.as_ref(),
            Track::Video => self.video.as_ref(),
        }
    }

    fn extensions(&self, at: usize) -> ExtensionIds {
        let track = self.negotiated(self.streams[at].track);
        track.map(|track| track.extensions).unwrap_or_default()
    }

    fn kind_of(&self, at: usize, payload_type: u8) -> Option<PayloadKind> {
        let track = self.negotiated(self.streams[at].track)?;
        payload_kind(&track.codecs, payload_type)
    }
}

/// What a payload type stands for.
#[derive(Clone, Copy)]
enum PayloadKind {
    Media(Codec),
    /// Its frames have the payload type `frames`.
    Redundant {
        codec: Codec,
        frames: u8,
    },
    Rtx(Codec),
}

impl PayloadKind {
    fn is_rtx(&self) -> bool {
        matches!(self, Self::Rtx(_))
    }

    fn codec(&self) -> Codec {
        match self {
            Self::Media(codec) | Self::Redundant { codec, .. } | Self::Rtx(codec) => *codec,
        }
    }
}

fn payload_kind(codecs: &[NegotiatedCodec], payload_type: u8) -> Option<PayloadKind> {
    codecs.iter().find_map(|c| {
        if c.payload_type == payload_type {
            Some(PayloadKind::Media(c.codec))
        } else if c.rtx_payload_type == Some(payload_type) {
            Some(PayloadKind::Rtx(c.codec))
        } else if c.red_payload_type == Some(payload_type) {
            Some(PayloadKind::Redundant {
                codec: c.codec,
                frames: c.payload_type,
            })
        } else {
            None
        }
    })
}

/// The RID that a packet names: of its own stream, or for RTX of the stream it repairs.
fn named_rid<'a>(
    header: &Header,
    packet: &'a [u8],
    ids: &ExtensionIds,
    rtx: bool,
) -> Option<&'a [u8]> {
    extension(header, packet, if rtx { ids.repaired_rid } else { ids.rid })
}

/// A header extension of a packet, if it was agreed on and the packet has it.
fn extension<'a>(header: &Header, packet: &'a [u8], id: Option<u8>) -> Option<&'a [u8]> {
    let id = id?;
    let mut elements = header.extensions(packet);
    elements
        .find(|(each, _)| *each == id)
        .map(|(_, value)| value)
}

fn clock_rate(track: Track) -> u32 {
    match track {
        Track::Audio => 48_000,
        Track::Video => 90_000,
    }
}
