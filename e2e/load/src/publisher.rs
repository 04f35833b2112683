//! One host: keeps its tracks going, and does what the node asks of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use showrunner_rtp::packet;
use showrunner_rtp::reports::NtpTime;
use showrunner_rtp::rtcp::{self, BufferFull, Packet, Writer};
use showrunner_transport::dtls::Identity;
use showrunner_transport::srtp::MAX_OVERHEAD;

use crate::batch::Batch;
use crate::frame_log::FrameLog;
use crate::program::Program;
use crate::sdp;
use crate::session::{Session, Srtp};
use crate::signalling::Joined;
use crate::socket::{Buffers, ClientSocket};
use crate::track::{Track, Wire};

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Nodes send feedback many times a second: none for this long is a reason to ask, as for pages.
const SILENCE: Duration = Duration::from_millis(600);

/// Most of an RTCP compound, before it is sealed.
const RTCP_LEN: usize = 1200;

/// What a host was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Keyframes, by PLI or FIR.
    pub keyframes: u64,
    /// Packets, by NACK.
    pub packets: u64,
    /// Of those, how many were sent again.
    pub resent: u64,
}

/// When a broadcast began, by both clocks.
#[derive(Clone, Copy, Debug)]
struct Start {
    at: Instant,
    unix: Duration,
}

/// A host.
pub struct Publisher {
    url: String,
    session: Session,
    socket: ClientSocket,
    tracks: Vec<Track>,
    transport_seq: u16,
    start: Option<Start>,
    next_report: Option<Instant>,
    asked: Asked,
    batch: Batch,
    /// When feedback came last.
    heard: Option<Instant>,
}

impl Publisher {
    /// A host that was let in, with the streams that the node agreed to.
    ///
    /// # Errors
    /// If the node refused one of them.
    pub fn new(joined: Joined, socket: ClientSocket, program: &Program) -> Result<Self, String> {
        let answer = joined.answer;
        let mut tracks = Vec::new();
        for stream in &program.streams {
            let codec = stream.source.codec;
            let section = answer.section(codec.kind());
            if !section.payload_types.contains(&sdp::payload_type(codec)) {
                return Err(format!("the node doesn't take {}", codec.name()));
            }
            tracks.push(Track::new(stream.clone(), section));
        }
        Ok(Self {
            url: joined.url,
            session: Session::new(joined.ice, &answer, joined.since),
            socket,
            tracks,
            transport_seq: 0,
            start: None,
            next_report: None,
            asked: Asked::default(),
            batch: Batch::default(),
            heard: None,
        })
    }

    /// The session's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it sends.
    pub fn is_on_air(&self) -> bool {
        self.start.is_some()
    }

    /// Why it has ended; none as long as it may go on.
    pub fn failure(&self, now: Instant) -> Option<String> {
        self.session.failure(now)
    }

    /// Whether no feedback comes any more.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|heard| now.saturating_duration_since(heard) >= SILENCE)
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Takes in what waits at the socket.
    pub fn on_readable(
        &mut self,
        now: Instant,
        buffers: &mut Buffers,
        identity: &Identity,
        log: &mut FrameLog,
    ) {
        let Self {
            session,
            socket,
            tracks,
            transport_seq,
            asked,
            heard,
            ..
        } = self;
        socket.receive(buffers, |_, datagram| {
            if session.handle(now, datagram, identity) || !packet::is_rtcp(datagram) {
                return;
            }
            let Some(Srtp { sender, receiver }) = &mut session.srtp else {
                return;
            };
            let Ok(len) = receiver.open_rtcp(datagram) else {
                return;
            };
            *heard = Some(now);
            let mut send = |packet: &[u8]| socket.send(packet, None);
            let mut wire = Wire {
                srtp: sender,
                transport_seq,
                send: &mut send,
            };
            for packet in rtcp::packets(&datagram[..len]).flatten() {
                on_feedback(now, packet, tracks, asked, &mut wire);
            }
        });
        self.on_time(now, log);
    }

    /// Sends what is due by the clock, and puts the frames of layers into the log.
    pub fn on_time(&mut self, now: Instant, log: &mut FrameLog) {
        let socket = &self.socket;
        self.session
            .poll(now, |datagram| socket.send(datagram, None));
        let Some(srtp) = &mut self.session.srtp else {
            return;
        };
        let start = *self.start.get_or_insert_with(|| Start {
            at: now,
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        });
        let (batch, segments) = (&mut self.batch, socket.max_segments());
        let mut send =
            |packet: &[u8]| batch.push(packet, segments, |run, size| socket.send(run, size));
        let transport_seq = &mut self.transport_seq;
        let mut wire = Wire {
            srtp: &srtp.sender,
            transport_seq,
            send: &mut send,
        };
        for track in &mut self.tracks {
            while track.due(start.at) <= now {
                let frame = track.send_frame(now, &mut wire);
                if let Some(rid) = track.rid() {
                    log.add(rid, frame, start.unix + (now - start.at));
                }
            }
        }
        self.batch.flush(|run, size| socket.send(run, size));
        if self.next_report.is_none_or(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            let mut buffer = [0; RTCP_LEN + MAX_OVERHEAD];
            let mut writer = Writer::new(&mut buffer[..RTCP_LEN]);
            // There is room for the reports of more tracks than a node takes.
            let _ = report(start, now, &self.tracks, &mut writer);
            let len = writer.finish();
            if let Ok(len) = srtp.sender.seal_rtcp(&mut buffer, len) {
                socket.send(&buffer[..len], None);
            }
        }
    }

    /// When [`Self::on_time`] is next due, once it is on air.
    pub fn due(&self) -> Option<Instant> {
        let start = self.start?;
        self.tracks
            .iter()
            .map(|t| t.due(start.at))
            .chain(self.next_report)
            .min()
    }
}

fn on_feedback(
    now: Instant,
    packet: Packet<'_>,
    tracks: &mut [Track],
    asked: &mut Asked,
    wire: &mut Wire<'_>,
) {
    match packet {
        Packet::Nack {
            media_ssrc,
            entries,
            ..
        } => {
            let Some(track) = tracks.iter_mut().find(|t| t.ssrc() == media_ssrc) else {
                return;
            };
            for seq in entries {
                asked.packets += 1;
                asked.resent += u64::from(track.resend(seq, wire));
            }
        }
        Packet::Pli { media_ssrc, .. }
        | Packet::Fir {
            media_ssrc: Some(media_ssrc),
            ..
        } => {
            if let Some(track) = tracks.iter_mut().find(|t| t.ssrc() == media_ssrc) {
                asked.keyframes += 1;
                track.request_keyframe(now);
            }
        }
        _ => {}
    }
}

/// Sender reports of all tracks: one moment, by the wall clock and by each track's timestamps.
fn report(
    start: Start,
    now: Instant,
    tracks: &[Track],
    writer: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    let ntp = NtpTime::from_unix(start.unix + now.saturating_duration_since(start.at));
    for track in tracks {
        let (packets, octets) = track.sent();
        writer.sender_report(
            track.ssrc(),
            ntp,
            track.timestamp_at(start.at, now),
            packets,
            octets,
        )?;
        writer.sdes_cname(track.ssrc(), "load")?;
    }
    Ok(())
}
