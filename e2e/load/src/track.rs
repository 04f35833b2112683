//! One stream of a host: paces the frames of its clip, cuts them into sealed packets, and repeats
//! those that are asked for.

use std::time::{Duration, Instant};

use showrunner_rtp::codec::Codec;
use showrunner_rtp::packet::HeaderWriter;
use showrunner_rtp::packetize::{H264, Vp8};
use showrunner_transport::srtp::{MAX_OVERHEAD, Sender};

use crate::media::Frame;
use crate::program::Stream;
use crate::sdp::{self, Section, extension};

/// Largest payload that is made: with headers, tag and IPv6 it fits wherever WebRTC's media does.
const MAX_PAYLOAD: usize = 1180;

/// Room for a header with its extension, and for the original's number in a retransmission.
const MAX_HEADER: usize = 64;

/// Sent packets that are kept, in case they are asked for again: seconds of any layer.
const HISTORY: u64 = 1024;

/// Streams begin shortly before their numbers wrap, so that every run crosses that point.
const FIRST_SEQ: u64 = 65_500;
const FIRST_TIMESTAMP: u32 = 0xffff_0000;

/// A host doesn't make keyframes faster than this, however often it is asked.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Where the packets of all tracks of a host go.
pub struct Wire<'a> {
    /// Seals them.
    pub srtp: &'a Sender,
    /// Numbers them (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub transport_seq: &'a mut u16,
    /// Takes them, sealed.
    pub send: &'a mut dyn FnMut(&[u8]),
}

enum Packetizer {
    H264(H264),
    Vp8(Vp8),
    /// One packet a frame.
    Whole,
}

impl Packetizer {
    fn packetize(&mut self, frame: &Frame, emit: &mut dyn FnMut(&[u8], bool)) {
        match self {
            Self::H264(h264) => h264.packetize(&frame.data, MAX_PAYLOAD, emit),
            Self::Vp8(vp8) => vp8.packetize(&frame.data, frame.temporal, MAX_PAYLOAD, emit),
            Self::Whole => emit(&frame.data, false),
        }
    }
}

#[derive(Clone, Default)]
struct Sent {
    seq: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// One stream of a host.
pub struct Track {
    stream: Stream,
    packetizer: Packetizer,
    out: Output,
    /// The frame of the clip that is next.
    at: usize,
    /// Frames sent so far.
    count: u64,
    wants_keyframe: bool,
    last_keyframe: Option<Instant>,
}

/// The packets of a stream: their numbers, headers and counts.
struct Output {
    extensions: Extensions,
    rtx: bool,
    codec: Codec,
    ssrc: u32,
    rtx_ssrc: u32,
    next_seq: u64,
    next_rtx_seq: u64,
    history: Vec<Sent>,
    packets: u32,
    octets: u32,
    scratch: Vec<u8>,
}

/// The header extensions of a stream's packets that the node agreed to.
struct Extensions {
    mid: Option<&'static str>,
    rid: Option<String>,
    repaired_rid: Option<String>,
    transport_cc: bool,
}

impl Track {
    /// A track of a stream that the node agreed to in `section`.
    pub fn new(stream: Stream, section: &Section) -> Self {
        let source = &stream.source;
        let agreed = |id: u8| section.extensions.contains(&id);
        let rid = |id| source.rid.clone().filter(|_| agreed(id));
        let extensions = Extensions {
            mid: agreed(extension::MID).then(|| sdp::mid(source.codec.kind())),
            rid: rid(extension::RID),
            repaired_rid: rid(extension::REPAIRED_RID),
            transport_cc: agreed(extension::TRANSPORT_CC),
        };
        let rtx = section
            .payload_types
            .contains(&sdp::rtx_payload_type(source.codec));
        let out = Output {
            extensions,
            rtx: rtx && source.rtx_ssrc.is_some(),
            codec: source.codec,
            ssrc: source.ssrc,
            rtx_ssrc: source.rtx_ssrc.unwrap_or_default(),
            next_seq: FIRST_SEQ,
            next_rtx_seq: FIRST_SEQ,
            history: vec![Sent::default(); if rtx { HISTORY as usize } else { 0 }],
            packets: 0,
            octets: 0,
            scratch: vec![0; MAX_HEADER + MAX_PAYLOAD + MAX_OVERHEAD],
        };
        let packetizer = match source.codec {
            Codec::H264 => Packetizer::H264(H264::default()),
            Codec::Vp8 => Packetizer::Vp8(Vp8::default()),
            _ => Packetizer::Whole,
        };
        Self {
            stream,
            packetizer,
            out,
            at: 0,
            count: 0,
            wants_keyframe: false,
            last_keyframe: None,
        }
    }

    /// Its SSRC.
    pub fn ssrc(&self) -> u32 {
        self.out.ssrc
    }

    /// Packets and payload bytes sent, retransmissions left out; both wrap, as reports want it.
    pub fn sent(&self) -> (u32, u32) {
        (self.out.packets, self.out.octets)
    }

    /// The timestamp at a moment of a broadcast that began at `start`.
    pub fn timestamp_at(&self, start: Instant, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(start).as_nanos();
        let ticks = elapsed * u128::from(self.out.codec.clock_rate()) / 1_000_000_000;
        FIRST_TIMESTAMP.wrapping_add(ticks as u32)
    }

    /// When the next frame is due.
    pub fn due(&self, start: Instant) -> Instant {
        let ticks = self.count * u64::from(self.stream.clip.frame_ticks);
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.out.codec.clock_rate());
        start + Duration::from_nanos(nanos as u64)
    }

    /// A keyframe was asked for: the clip goes on with its next one, unless one has just gone out.
    pub fn request_keyframe(&mut self, now: Instant) {
        let recently = self
            .last_keyframe
            .is_some_and(|at| now < at + KEYFRAME_INTERVAL);
        self.wants_keyframe |= !recently;
    }

    /// Its RID, if it is a layer of a simulcast.
    pub fn rid(&self) -> Option<&str> {
        self.stream.source.rid.as_deref()
    }

    /// Sends the next frame; its place in the clip.
    pub fn send_frame(&mut self, now: Instant, wire: &mut Wire<'_>) -> usize {
        let frames = &self.stream.clip.frames;
        if std::mem::take(&mut self.wants_keyframe) {
            let ahead = (0..frames.len()).map(|n| (self.at + n) % frames.len());
            self.at = ahead.into_iter().find(|at| frames[*at].key).unwrap_or(0);
        }
        let sent = self.at;
        let Some(frame) = frames.get(sent) else {
            return sent;
        };
        if frame.key {
            self.last_keyframe = Some(now);
        }
        let ticks = self
            .count
            .wrapping_mul(u64::from(self.stream.clip.frame_ticks));
        let timestamp = FIRST_TIMESTAMP.wrapping_add(ticks as u32);
        let out = &mut self.out;
        self.packetizer.packetize(frame, &mut |payload, marker| {
            out.send(timestamp, marker, payload, wire);
        });
        self.at = (sent + 1) % frames.len();
        self.count += 1;
        sent
    }

    /// Sends a packet again that the node asks for. True if it was still there.
    pub fn resend(&mut self, seq: u16, wire: &mut Wire<'_>) -> bool {
        self.out.resend(seq, wire)
    }
}

impl Output {
    fn send(&mut self, timestamp: u32, marker: bool, payload: &[u8], wire: &mut Wire<'_>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let header = HeaderWriter {
            marker,
            payload_type: sdp::payload_type(self.codec),
            sequence_number: seq as u16,
            timestamp,
            ssrc: self.ssrc,
        };
        let rid = (extension::RID, self.extensions.rid.as_deref());
        let len = self
            .extensions
            .write(&header, rid, wire.transport_seq, &mut self.scratch);
        self.seal(len, &[payload], seq, wire);
        if self.rtx {
            let kept = &mut self.history[(seq % HISTORY) as usize];
            (kept.seq, kept.timestamp, kept.marker) = (seq, timestamp, marker);
            kept.payload.clear();
            kept.payload.extend_from_slice(payload);
        }
    }

    /// RFC 4588 §4: the original's number precedes its payload.
    fn resend(&mut self, seq: u16, wire: &mut Wire<'_>) -> bool {
        let wanted = |sent: &Sent| sent.seq as u16 == seq && !sent.payload.is_empty();
        let Some(at) = self.history.iter().position(wanted) else {
            return false;
        };
        let sent = std::mem::take(&mut self.history[at]);
        let header = HeaderWriter {
            marker: sent.marker,
            payload_type: sdp::rtx_payload_type(self.codec),
            sequence_number: self.next_rtx_seq as u16,
            timestamp: sent.timestamp,
            ssrc: self.rtx_ssrc,
        };
        let rid = (
            extension::REPAIRED_RID,
            self.extensions.repaired_rid.as_deref(),
        );
        let len = self
            .extensions
            .write(&header, rid, wire.transport_seq, &mut self.scratch);
        self.seal(
            len,
            &[&seq.to_be_bytes(), &sent.payload],
            self.next_rtx_seq,
            wire,
        );
        self.next_rtx_seq += 1;
        self.history[at] = sent;
        true
    }

    /// Puts the parts of a payload after the header that is in the scratch buffer, seals and sends.
    fn seal(&mut self, header_len: usize, payload: &[&[u8]], index: u64, wire: &mut Wire<'_>) {
        let mut len = header_len;
        for part in payload {
            let Some(room) = self.scratch.get_mut(len..len + part.len()) else {
                return; // an audio packet larger than a datagram
            };
            room.copy_from_slice(part);
            len += part.len();
        }
        if let Ok(len) = wire
            .srtp
            .seal_rtp(&mut self.scratch, header_len, len, index)
        {
            (wire.send)(&self.scratch[..len]);
        }
    }
}

impl Extensions {
    /// Writes a header with what was agreed on; its length. All headers of a stream are equally
    /// long, so that a frame's packets make one run.
    fn write(
        &self,
        header: &HeaderWriter,
        rid: (u8, Option<&str>),
        transport_seq: &mut u16,
        out: &mut [u8],
    ) -> usize {
        let number = transport_seq.to_be_bytes();
        let mid = self.mid.map(|mid| (extension::MID, mid.as_bytes()));
        let rid = rid.1.map(|value| (rid.0, value.as_bytes()));
        let transport = self
            .transport_cc
            .then_some((extension::TRANSPORT_CC, &number[..]));
        if self.transport_cc {
            *transport_seq = transport_seq.wrapping_add(1);
        }
        // An id of 0 is left out by the writer.
        let elements = [mid, rid, transport].map(|e| e.unwrap_or((0, &[])));
        // The buffer has room for all of them.
        header.write_with(out, &elements).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use showrunner_rtp::codec::inspect;
    use showrunner_rtp::packet::{self, Header};
    use showrunner_rtp::packetize::Temporal;
    use showrunner_transport::srtp::{Profile, Receiver, SrtpKeys, StreamState};

    use super::*;
    use crate::media::Clip;
    use crate::sdp::Source;

    fn key(key: bool, len: usize) -> Frame {
        let mut data = vec![7; len];
        data[0] = u8::from(!key);
        data[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2]);
        Frame {
            data,
            key,
            temporal: Temporal::default(),
        }
    }

    /// A layer of VP8: a keyframe, two other frames, a keyframe, another frame.
    fn track() -> Track {
        let frames = [true, false, false, true, false]
            .map(|k| key(k, 3000))
            .into();
        let source = Source {
            codec: Codec::Vp8,
            rid: Some("f".into()),
            ssrc: 5,
            rtx_ssrc: Some(6),
        };
        let clip = Clip {
            codec: Codec::Vp8,
            frames,
            frame_ticks: 3000,
        };
        let section = Section {
            payload_types: vec![98, 99],
            extensions: vec![
                extension::MID,
                extension::RID,
                extension::REPAIRED_RID,
                extension::TRANSPORT_CC,
            ],
            ..Section::default()
        };
        Track::new(Stream { source, clip }, &section)
    }

    struct Opened {
        header: Header,
        index: u64,
        extensions: Vec<(u8, Vec<u8>)>,
        payload: Vec<u8>,
    }

    /// What the node would see of the packets that `run` sends.
    fn receive(streams: &mut [StreamState; 2], run: impl FnOnce(&mut Wire<'_>)) -> Vec<Opened> {
        let keys = |client| {
            SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, client, &[9; 56])
                .expect("enough of it")
        };
        let (sender, receiver) = (Sender::new(&keys(true)), Receiver::new(&keys(false)));
        let mut packets = Vec::new();
        let mut send = |packet: &[u8]| packets.push(packet.to_vec());
        run(&mut Wire {
            srtp: &sender,
            transport_seq: &mut 0,
            send: &mut send,
        });
        let open = |mut packet: Vec<u8>| {
            let header = Header::parse(&packet).unwrap();
            let state = &mut streams[header.ssrc as usize - 5];
            let opened = receiver.open_rtp(state, &mut packet, header.len).unwrap();
            let payload = packet::payload(&packet[..opened.len], &header)
                .unwrap()
                .to_vec();
            let extensions = header
                .extensions(&packet)
                .map(|(id, v)| (id, v.to_vec()))
                .collect();
            Opened {
                header,
                index: opened.index,
                extensions,
                payload,
            }
        };
        packets.into_iter().map(open).collect()
    }

    #[test]
    fn packets_are_numbered_across_the_wrap_and_say_which_layer_they_are() {
        let mut track = track();
        let mut states = <[StreamState; 2]>::default();
        let start = Instant::now();
        let mut next = FIRST_SEQ;
        for n in 0..20u32 {
            let packets = receive(&mut states, |wire| _ = track.send_frame(start, wire));
            assert_eq!(
                packets.iter().map(|p| p.header.marker).collect::<Vec<_>>(),
                [false, false, true]
            );
            for (count, packet) in packets.iter().enumerate() {
                assert_eq!(packet.index, next);
                assert_eq!(
                    packet.header.timestamp,
                    FIRST_TIMESTAMP.wrapping_add(3000 * n)
                );
                let extensions = [
                    (1, b"1".to_vec()),
                    (2, b"f".to_vec()),
                    (4, vec![0, count as u8]),
                ];
                assert_eq!(packet.extensions, extensions);
                next += 1;
            }
        }
        assert_eq!(track.due(start), start + Duration::from_nanos(666_666_666));
        assert_eq!(
            track.timestamp_at(start, start + Duration::from_secs(1)),
            FIRST_TIMESTAMP.wrapping_add(90_000)
        );
    }

    #[test]
    fn a_packet_that_is_asked_for_comes_again_as_its_retransmission() {
        let mut track = track();
        let mut states = <[StreamState; 2]>::default();
        let now = Instant::now();
        let sent = receive(&mut states, |wire| _ = track.send_frame(now, wire));
        let lost = &sent[1];
        let again = receive(&mut states, |wire| {
            assert!(track.resend(lost.header.sequence_number, wire));
            assert!(
                !track.resend(lost.header.sequence_number.wrapping_add(100), wire),
                "never sent"
            );
        });
        let [again] = &again[..] else {
            panic!("one packet")
        };
        assert_eq!((again.header.ssrc, again.header.payload_type), (6, 99));
        assert_eq!(again.header.timestamp, lost.header.timestamp);
        assert_eq!(
            again.payload,
            [
                &lost.header.sequence_number.to_be_bytes()[..],
                &lost.payload
            ]
            .concat()
        );
        assert!(
            again
                .extensions
                .contains(&(extension::REPAIRED_RID, b"f".to_vec()))
        );
    }

    #[test]
    fn a_keyframe_that_is_asked_for_is_the_next_frame_but_not_too_often() {
        let mut track = track();
        let mut states = <[StreamState; 2]>::default();
        let start = Instant::now();
        let mut starts_keyframe = |track: &mut Track, now| {
            let packets = receive(&mut states, |wire| _ = track.send_frame(now, wire));
            inspect(Codec::Vp8, &packets[0].payload).starts_keyframe
        };
        assert!(starts_keyframe(&mut track, start));
        track.request_keyframe(start);
        assert!(!starts_keyframe(&mut track, start), "one has just gone out");
        track.request_keyframe(start + KEYFRAME_INTERVAL);
        assert!(starts_keyframe(&mut track, start + KEYFRAME_INTERVAL));
        assert!(!starts_keyframe(&mut track, start + KEYFRAME_INTERVAL));
        assert!(
            starts_keyframe(&mut track, start + KEYFRAME_INTERVAL),
            "the clip begins again"
        );
    }
}
