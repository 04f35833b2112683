//! A publisher's packets: which SSRC is which layer, what is lost, and what the publisher is told.
//!
//! A packet's way ([`Ingest::on_rtp`]): it is opened, and its SSRC bound to a layer if it is new (`binding`); when it
//! came is kept for `feedback`; one that comes again takes the place of what was lost (`repair`), redundant audio is
//! unpacked (`redundant`), and losses are counted; then it is named (`naming`) with a time that all layers share
//! (`timeline`). Retransmissions are unwrapped and lost audio is found before losses are looked for, so what has come
//! that way is not asked for again.
//!
//! What another pod sends of its host is taken in the same way (see [`super::link`]).

mod binding;
mod feedback;
mod naming;
mod outcome;
mod redundant;
mod repair;
mod streams;
#[cfg(test)]
mod tests;
mod timeline;

use std::sync::Arc;
use std::time::Instant;

use showrunner_rtp::packet::{self, Header};
use showrunner_rtp::twcc::Recorder;
use showrunner_sdp::{Publishing, RecvTrack};
use showrunner_transport::srtp::{Opened, Receiver, StreamState};

use self::binding::PayloadKind;
pub use self::feedback::FEEDBACK_SSRC;
pub use self::outcome::{Dropped, Ingested, Media, Track};
use self::redundant::{MAX_REDUNDANT, Recovered};
use self::streams::{Binding, Stream};
use super::link;
use super::sync::StreamClock;

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
        let (at, opened) = self.open(&header, datagram, srtp)?;
        let packet = Incoming {
            now,
            arrival,
            at,
            seq: opened.index,
            header,
            bytes: datagram.get(..opened.len).ok_or(Dropped::Malformed)?,
        };
        self.record_arrival(&packet);
        match self.streams[at].binding {
            Binding::Media => self.on_media(&packet),
            Binding::Rtx => self.on_rtx(packet),
        }
    }

    /// Decrypts a packet in its place, and finds its stream.
    fn open(
        &mut self,
        header: &Header,
        datagram: &mut [u8],
        srtp: &Receiver,
    ) -> Result<(usize, Opened), Dropped> {
        if let Some(at) = self.position(header.ssrc) {
            let state = &mut self.streams[at].srtp;
            let opened = srtp.open_rtp(state, datagram, header.len);
            return Ok((at, opened.map_err(|_| Dropped::Unauthentic)?));
        }
        // Nothing is remembered of an SSRC until a packet of it proves authentic.
        let mut state = StreamState::default();
        let opened = srtp
            .open_rtp(&mut state, datagram, header.len)
            .map_err(|_| Dropped::Unauthentic)?;
        Ok((self.bind(header, datagram, state)?, opened))
    }

    fn on_media<'a>(&'a mut self, packet: &Incoming<'a>) -> Result<Ingested<'a>, Dropped> {
        let kind = self
            .kind_of(packet.at, packet.header.payload_type)
            .ok_or(Dropped::Unknown)?;
        let payload = packet.payload()?;
        self.streams[packet.at].count(packet);
        let payload = match kind {
            PayloadKind::Redundant { frames, .. } if !payload.is_empty() => {
                self.unpack(packet, frames, payload)?
            }
            _ => payload,
        };
        self.name(packet, kind.codec(), payload)
    }
}

/// A packet that proved authentic, on its way through.
#[derive(Clone, Copy, Debug)]
struct Incoming<'a> {
    now: Instant,
    arrival: Instant,
    /// Which of the streams it is of.
    at: usize,
    /// Its extended sequence number.
    seq: u64,
    header: Header,
    /// In the clear, with its header.
    bytes: &'a [u8],
}

impl<'a> Incoming<'a> {
    fn payload(&self) -> Result<&'a [u8], Dropped> {
        packet::payload(self.bytes, &self.header).map_err(|_| Dropped::Malformed)
    }
}

/// A header extension of a packet, if it was agreed on and the packet has it.
fn extension<'a>(header: &Header, packet: &'a [u8], id: Option<u8>) -> Option<&'a [u8]> {
    let id = id?;
    let mut elements = header.extensions(packet);
    elements
        .find(|(each, _)| *each == id)
        .map(|(_, value)| value)
}
