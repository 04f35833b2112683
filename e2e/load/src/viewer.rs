//! One viewer: receives, checks, and reports back as a browser would.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use showrunner_rtp::codec::{self, Codec, Kind, PayloadInfo};
use showrunner_rtp::packet::{self, Header};
use showrunner_rtp::reports::{NtpTime, Reception};
use showrunner_rtp::rtcp::{self, BufferFull, Packet, Writer};
use showrunner_rtp::seq::{Unwrapper, nearest};
use showrunner_rtp::twcc::Recorder;
use showrunner_transport::dtls::Identity;
use showrunner_transport::srtp::{MAX_OVERHEAD, Receiver, SrtpError, StreamState};

use crate::checker::{Checker, Depth, Findings, Seen};
use crate::screen::{Said, Spectator};
use crate::sdp::{self, codec_of};
use crate::session::Session;
use crate::signalling::Joined;
use crate::socket::{Buffers, ClientSocket};

/// SSRC of our reports.
const OUR_SSRC: u32 = 0x10ad;

/// What the first wait for a retransmission is based on.
const RTT: Duration = Duration::from_millis(50);

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How often arrivals are reported, as a browser does.
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(60);

/// A viewer that can't decode doesn't ask for keyframes faster than this.
const PLI_INTERVAL: Duration = Duration::from_secs(1);

/// Most of an RTCP compound, before it is sealed.
const RTCP_LEN: usize = 1200;

/// A received stream.
struct Stream {
    kind: Kind,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    depth: Depth,
    srtp: StreamState,
    rtx_srtp: StreamState,
    unwrapper: Unwrapper,
    highest: u64,
    reception: Reception,
    checker: Checker,
    timing: Timing,
}

/// When a stream's newest packet came, by our clock and by the sender's.
#[derive(Default)]
struct Timing {
    /// Of the last sender report: a moment, and the stream's timestamp then.
    tie: Option<(NtpTime, u32)>,
    newest: Option<(Instant, u32)>,
}

impl Timing {
    /// From the capture to the arrival of the newest packet, in seconds, but for a constant that is
    /// the same for all streams of one sender.
    fn delay(&self, epoch: Instant, clock_rate: u32) -> Option<f64> {
        let ((ntp, at_tie), (arrival, timestamp)) = (self.tie?, self.newest?);
        let since_tie = f64::from(timestamp.wrapping_sub(at_tie) as i32) / f64::from(clock_rate);
        let captured = ntp.0 as f64 / (1u64 << 32) as f64 + since_tie;
        Some(arrival.saturating_duration_since(epoch).as_secs_f64() - captured)
    }
}

impl Stream {
    fn new(kind: Kind, section: &sdp::Section, depth: Depth) -> Option<Self> {
        // The codec is known for certain with the first packet.
        let codec = section.payload_types.iter().find_map(|pt| codec_of(*pt))?;
        Some(Self {
            kind,
            ssrc: section.ssrc?,
            rtx_ssrc: section.rtx_ssrc,
            depth,
            srtp: StreamState::default(),
            rtx_srtp: StreamState::default(),
            unwrapper: Unwrapper::new(),
            highest: 0,
            reception: Reception::new(codec.clock_rate()),
            checker: Checker::new(codec, depth),
            timing: Timing::default(),
        })
    }

    fn is_of(&self, ssrc: u32) -> bool {
        self.ssrc == ssrc || self.rtx_ssrc == Some(ssrc)
    }

    /// Takes a packet of this stream or of its retransmissions.
    fn on_packet(
        &mut self,
        now: Instant,
        header: &Header,
        datagram: &mut [u8],
        srtp: &Receiver,
    ) -> Result<(), SrtpError> {
        if header.ssrc != self.ssrc {
            return self.on_rtx(now, header, datagram, srtp);
        }
        let Some(codec) = codec_of(header.payload_type) else {
            return Ok(()); // nothing that was agreed on
        };
        let (seq, info) = match self.depth {
            Depth::Headers => (
                self.unwrapper.unwrap(header.sequence_number),
                PayloadInfo::default(),
            ),
            Depth::Full => {
                let opened = srtp.open_rtp(&mut self.srtp, datagram, header.len)?;
                (
                    opened.index,
                    inspect(codec, &datagram[..opened.len], header),
                )
            }
        };
        if seq > self.highest {
            self.highest = seq;
            self.timing.newest = Some((now, header.timestamp));
        }
        self.reception.on_packet(now, seq, header.timestamp);
        self.checker.set_codec(codec);
        let seen = Seen {
            timestamp: header.timestamp,
            marker: header.marker,
            info,
        };
        self.checker.on_packet(now, seq, seen);
        Ok(())
    }

    /// A retransmission (RFC 4588 §4): the original's number, then its payload.
    fn on_rtx(
        &mut self,
        now: Instant,
        header: &Header,
        datagram: &mut [u8],
        srtp: &Receiver,
    ) -> Result<(), SrtpError> {
        let opened = srtp.open_rtp(&mut self.rtx_srtp, datagram, header.len)?;
        let payload = packet::payload(&datagram[..opened.len], header).unwrap_or_default();
        let codec = header.payload_type.checked_sub(1).and_then(codec_of);
        let (Some(codec), Some((number, payload))) = (codec, payload.split_first_chunk()) else {
            return Ok(()); // padding, as probes for bandwidth are
        };
        let seq = nearest(self.highest, u16::from_be_bytes(*number));
        let info = codec::inspect(codec, payload);
        let seen = Seen {
            timestamp: header.timestamp,
            marker: header.marker,
            info,
        };
        self.checker.on_packet(now, seq, seen);
        Ok(())
    }
}

/// When packets came, by their transport-wide numbers.
#[derive(Default)]
struct Arrivals {
    recorder: Recorder,
    next_report: Option<Instant>,
}

impl Arrivals {
    /// A packet came, at a time since the Unix epoch by the kernel.
    fn record(&mut self, header: &Header, datagram: &[u8], arrival: Option<Duration>) {
        let mut extensions = header.extensions(datagram);
        let number = extensions.find(|(id, _)| *id == sdp::extension::TRANSPORT_CC);
        let number = number.and_then(|(_, value)| <[u8; 2]>::try_from(value).ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH);
        if let Some(number) = number
            && let Some(arrival) = arrival.or_else(|| now().ok())
        {
            let arrival_us = arrival.as_micros() as u64;
            self.recorder.record(u16::from_be_bytes(number), arrival_us);
        }
    }

    fn report(&mut self, now: Instant, writer: &mut Writer<'_>) -> Result<(), BufferFull> {
        if self.next_report.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.next_report = Some(now + ARRIVALS_INTERVAL);
        self.recorder.write_feedback(writer, OUR_SSRC, 0)
    }
}

fn inspect(codec: Codec, packet: &[u8], header: &Header) -> PayloadInfo {
    codec::inspect(codec, packet::payload(packet, header).unwrap_or_default())
}

/// A viewer.
pub struct Viewer {
    url: String,
    session: Session,
    socket: ClientSocket,
    streams: Vec<Stream>,
    packets: u64,
    bytes: u64,
    unauthentic: u64,
    arrivals: Arrivals,
    next_report: Option<Instant>,
    last_pli: Option<Instant>,
    /// Sum and count of what sound was behind the picture, in seconds.
    skews: (f64, u32),
    spectator: Option<Box<Spectator>>,
}

/// What a viewer lived through.
#[derive(Clone, Debug)]
pub struct Experience {
    /// From the offer to the end of the DTLS handshake; none if that never came.
    pub join: Option<Duration>,
    /// From the offer to the first whole frame of video that is known to be decodable.
    pub first_frame: Option<Duration>,
    /// RTP packets received.
    pub packets: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// Packets that could not be opened.
    pub unauthentic: u64,
    /// How far sound and picture were apart by the sender's reports, on average: what single packets
    /// are late by is no fault of the reports.
    pub skew: Option<Duration>,
    /// Its packets were opened and looked into.
    pub verified: bool,
    /// What the checks of all streams found.
    pub findings: Findings,
    /// Why it ended before its time.
    pub failure: Option<String>,
}

impl Experience {
    /// Whether it noticed nothing wrong in what it received.
    pub fn is_flawless(&self) -> bool {
        self.findings.is_flawless() && self.unauthentic == 0
    }
}

impl Viewer {
    /// A viewer that was let in.
    pub fn new(
        joined: Joined,
        socket: ClientSocket,
        depth: Depth,
        spectator: Option<Box<Spectator>>,
    ) -> Self {
        let answer = joined.answer;
        let kinds = [Kind::Audio, Kind::Video];
        let streams = kinds
            .iter()
            .filter_map(|k| Stream::new(*k, answer.section(*k), depth));
        Self {
            url: joined.url,
            streams: streams.collect(),
            session: Session::new(joined.ice, &answer, joined.since),
            socket,
            packets: 0,
            bytes: 0,
            unauthentic: 0,
            arrivals: Arrivals::default(),
            next_report: None,
            last_pli: None,
            skews: (0.0, 0),
            spectator,
        }
    }

    /// The session's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// When its offer was posted.
    pub fn since(&self) -> Instant {
        self.session.since()
    }

    /// Packets and bytes received so far.
    pub fn received(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }

    /// Whether the session is up.
    pub fn is_connected(&self) -> bool {
        self.session.srtp.is_some()
    }

    /// Whether it has failed or ended.
    pub fn is_over(&self, now: Instant) -> bool {
        self.session.failure(now).is_some()
    }

    /// Takes in what waits at the socket.
    pub fn on_readable(&mut self, now: Instant, buffers: &mut Buffers, identity: &Identity) {
        let Self {
            session,
            socket,
            streams,
            packets,
            bytes,
            unauthentic,
            arrivals,
            spectator,
            ..
        } = self;
        socket.receive(buffers, |arrival, datagram| {
            if session.handle(now, datagram, identity) {
                return;
            }
            let Some(srtp) = &mut session.srtp else {
                return; // media that overtook the handshake's end; a browser can't use it either
            };
            if packet::is_rtcp(datagram) {
                match srtp.receiver.open_rtcp(datagram) {
                    Ok(len) => on_rtcp(now, &datagram[..len], streams),
                    Err(_) => *unauthentic += 1,
                }
                return;
            }
            *packets += 1;
            *bytes += datagram.len() as u64;
            let Ok(header) = Header::parse(datagram) else {
                *unauthentic += 1;
                return;
            };
            let Some(stream) = streams.iter_mut().find(|s| s.is_of(header.ssrc)) else {
                *unauthentic += 1;
                return;
            };
            arrivals.record(&header, datagram, arrival);
            let frames = stream.checker.frames();
            match stream.on_packet(now, &header, datagram, &srtp.receiver) {
                Ok(()) => {}
                Err(SrtpError::Replay) => stream.checker.on_replay(),
                Err(_) => *unauthentic += 1,
            }
            if let Some(spectator) = spectator
                && stream.kind == Kind::Video
                && stream.checker.frames() > frames
            {
                spectator.on_frame(now);
            }
        });
        self.on_time(now);
    }

    /// Does what is due by the clock; call it some times a second.
    pub fn on_time(&mut self, now: Instant) {
        if let Some(spectator) = &mut self.spectator {
            spectator.on_time(now);
        }
        let socket = &self.socket;
        self.session
            .poll(now, |datagram| socket.send(datagram, None));
        if self.session.srtp.is_none() {
            return;
        }
        let mut buffer = [0; RTCP_LEN + MAX_OVERHEAD];
        let mut writer = Writer::new(&mut buffer[..RTCP_LEN]);
        // A full buffer only means that the rest goes with the next call.
        let _ = self.write_feedback(now, &mut writer);
        let len = writer.finish();
        if let Some(srtp) = self.session.srtp.as_mut().filter(|_| len > 0)
            && let Ok(len) = srtp.sender.seal_rtcp(&mut buffer, len)
        {
            self.socket.send(&buffer[..len], None);
        }
    }

    fn write_feedback(&mut self, now: Instant, writer: &mut Writer<'_>) -> Result<(), BufferFull> {
        if self.next_report.is_none_or(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.measure_skew();
            let blocks = self
                .streams
                .iter_mut()
                .filter_map(|s| s.reception.report(now, s.ssrc));
            writer.receiver_report(OUR_SSRC, &blocks.collect::<Vec<_>>())?;
        }
        self.arrivals.report(now, writer)?;
        for stream in &mut self.streams {
            stream.checker.judge_waiting(now);
            let mut seqs = Vec::new();
            // Sound is neither retransmitted nor asked for again, as in browsers.
            if stream.rtx_ssrc.is_some() {
                stream.checker.loss.poll(now, RTT, &mut seqs);
            }
            if !seqs.is_empty() {
                writer.nack(OUR_SSRC, stream.ssrc, &seqs)?;
            }
            let recently = self.last_pli.is_some_and(|at| now < at + PLI_INTERVAL);
            if stream.checker.needs_keyframe() && !recently {
                self.last_pli = Some(now);
                writer.pli(OUR_SSRC, stream.ssrc)?;
            }
        }
        Ok(())
    }

    fn measure_skew(&mut self) {
        let epoch = self.session.since();
        let delay = |kind: Kind, clock_rate| {
            let stream = self.streams.iter().find(|s| s.kind == kind)?;
            stream.timing.delay(epoch, clock_rate)
        };
        let delays = delay(Kind::Audio, 48_000).zip(delay(Kind::Video, 90_000));
        if let Some((audio, video)) = delays {
            self.skews.0 += video - audio;
            self.skews.1 += 1;
        }
    }

    /// Ends the viewer: its session's URL, its socket (to be kept open until the node knows), and
    /// what it lived through.
    pub fn leave(self, now: Instant) -> (String, ClientSocket, Experience) {
        if let Some(spectator) = &self.spectator {
            spectator.say(Said::Over);
        }
        let mut findings = Findings::default();
        for stream in &self.streams {
            findings.add(&stream.checker.findings());
        }
        let video = self
            .streams
            .iter()
            .find(|s| s.kind == Kind::Video && s.depth == Depth::Full);
        let first = video.and_then(|s| s.checker.first_frame());
        let (sum, count) = self.skews;
        let experience = Experience {
            join: self.session.join_time(),
            first_frame: first.map(|at| at.saturating_duration_since(self.session.since())),
            packets: self.packets,
            bytes: self.bytes,
            unauthentic: self.unauthentic,
            skew: (count > 0).then(|| Duration::from_secs_f64((sum / f64::from(count)).abs())),
            verified: self.streams.iter().any(|s| s.depth == Depth::Full),
            findings,
            failure: self.session.failure(now),
        };
        (self.url, self.socket, experience)
    }
}

fn on_rtcp(now: Instant, compound: &[u8], streams: &mut [Stream]) {
    for packet in rtcp::packets(compound).flatten() {
        if let Packet::SenderReport(report) = packet
            && let Some(stream) = streams.iter_mut().find(|s| s.ssrc == report.ssrc)
        {
            stream.reception.on_sender_report(now, report.ntp);
            stream.timing.tie = Some((report.ntp, report.rtp_timestamp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_were_captured_together_and_come_together_have_one_delay() {
        let epoch = Instant::now();
        let arrival = epoch + Duration::from_millis(700);
        let tie = NtpTime(5_000 << 32);
        let sound = Timing {
            tie: Some((tie, 0)),
            newest: Some((arrival, 24_000)),
        };
        // Its timestamp wraps between report and packet.
        let picture = Timing {
            tie: Some((tie, u32::MAX - 44_999)),
            newest: Some((arrival, 0)),
        };
        let delay = sound.delay(epoch, 48_000).unwrap();
        assert!((delay - (0.7 - 5_000.5)).abs() < 1e-6);
        assert!((picture.delay(epoch, 90_000).unwrap() - delay).abs() < 1e-6);
        assert_eq!(Timing { tie: None, ..sound }.delay(epoch, 48_000), None);
    }
}
