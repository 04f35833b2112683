//! RTCP in both directions: what publishers are told, and what viewers ask for.

use std::time::Instant;

use showrunner_rtp::reports::round_trip;
use showrunner_rtp::rtcp::{self, Blocks, Extended, Packet, Writer};

use super::core::Core;
use super::message::Relay;
use super::outbox::Links;
use super::reach::Reached;
use super::session::{Publisher, Role};
use super::sessions::Key;
use crate::media::ingest::{FEEDBACK_SSRC, IngestCounters, Track};
use crate::media::notes;
use crate::media::packet::SourceId;
use crate::media::sync::Tie;
use showrunner_transport::srtp::MAX_OVERHEAD;

/// Room for one compound packet that fits any path.
const MAX_COMPOUND: usize = 1200;

/// The most blocks of one extended report that are looked at.
const MAX_EXTENDED: usize = 4;

/// What a publisher is told in one turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// Transport-wide feedback, if there are so many packets to report.
    pub(super) transport_cc: Option<u64>,
    /// A receiver report.
    pub(super) report: bool,
}

impl Core {
    /// Takes an RTCP compound packet.
    pub(super) fn on_rtcp(&mut self, now: Instant, key: Key, datagram: &mut [u8]) {
        let Some(srtp) = self.sessions.get_mut(key).and_then(|s| s.srtp.as_mut()) else {
            return;
        };
        let Ok(len) = srtp.receiver.open_rtcp(datagram) else {
            self.metrics.dropped.unauthentic += 1;
            return;
        };
        if let Some(session) = self.sessions.get_mut(key) {
            session.on_rtcp(now);
            if let Some(notes) = session.role.notes_mut() {
                notes.on_packet(now);
            }
        }
        let is_feed = self.is_feed(key);
        for packet in rtcp::packets(&datagram[..len]) {
            match packet {
                Ok(Packet::SenderReport(report)) => {
                    let tie = Tie {
                        ntp: report.ntp,
                        timestamp: report.rtp_timestamp,
                    };
                    self.on_sender_report(now, key, report.ssrc, tie);
                }
                Ok(Packet::Nack {
                    media_ssrc,
                    entries,
                    ..
                }) if is_feed => self.send_again_to_feed(now, key, media_ssrc, entries),
                Ok(Packet::Nack {
                    media_ssrc,
                    entries,
                    ..
                }) => {
                    self.send_again(now, key, media_ssrc, entries);
                }
                Ok(Packet::ReceiverReport { blocks, .. }) => self.on_reports(now, key, blocks),
                Ok(Packet::ExtendedReport { ssrc, blocks }) => {
                    for block in blocks.take(MAX_EXTENDED) {
                        self.on_extended_report(now, key, ssrc, block);
                    }
                }
                Ok(Packet::Pli { media_ssrc, .. }) if is_feed => {
                    self.metrics.keyframe_requests_received += 1;
                    self.refresh_feed(now, key, media_ssrc);
                }
                Ok(Packet::Application {
                    name: notes::NAME,
                    data,
                    ..
                }) => self.on_note(now, key, data),
                Ok(Packet::Pli { .. } | Packet::Fir { .. }) => {
                    self.metrics.keyframe_requests_received += 1;
                    self.refresh(now, key);
                }
                Ok(Packet::TransportCc(feedback)) if is_feed => {
                    if let Some(Reached { peer: feed, .. }) = self.reach_feed(now, key) {
                        feed.on_feedback(now, &feedback);
                    }
                }
                Ok(Packet::TransportCc(feedback)) => self.on_feedback(now, key, &feedback),
                Ok(Packet::Remb { bitrate_bps, .. }) => self.on_remb(now, key, bitrate_bps),
                Ok(_) => {}
                Err(_) => {
                    self.metrics.dropped.malformed += 1;
                    return;
                }
            }
        }
    }

    /// A viewer says what it gets.
    fn on_reports(&mut self, now: Instant, key: Key, blocks: Blocks<'_>) {
        let ntp = self.clock.ntp(now);
        match self.sessions.get_mut(key).map(|s| &mut s.role) {
            Some(Role::Viewer(viewer)) => {
                for block in blocks {
                    viewer.on_report(now, ntp, &block);
                }
                self.on_estimate(now, key);
            }
            Some(Role::Feed(feed)) => {
                for block in blocks {
                    feed.on_report(now, ntp, &block);
                }
            }
            Some(Role::Publisher(_)) | None => {}
        }
    }

    fn is_feed(&mut self, key: Key) -> bool {
        let session = self.sessions.get_mut(key);
        session.is_some_and(|session| matches!(session.role, Role::Feed(_)))
    }

    /// Somebody says its time, or answers ours.
    fn on_extended_report(&mut self, now: Instant, key: Key, ssrc: u32, block: Extended) {
        let ntp = self.clock.ntp(now);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        match (block, &mut session.role) {
            (Extended::ReferenceTime(time), role @ (Role::Viewer(_) | Role::Feed(_))) => {
                let answer = rtcp::Delay {
                    ssrc,
                    last_rr: time.middle(),
                    delay: 0,
                };
                let mut buffer = [0; 64 + MAX_OVERHEAD];
                let mut writer = Writer::new(&mut buffer[..64]);
                let _full = match role {
                    // By each stream: browsers keep the round trips of each apart.
                    Role::Viewer(viewer) => {
                        viewer.ssrcs().try_for_each(|own| writer.delay(own, answer))
                    }
                    _ => writer.delay(FEEDBACK_SSRC, answer),
                };
                let len = writer.finish();
                self.send_rtcp(key, &mut buffer, len);
            }
            (Extended::Delay(answer), Role::Publisher(publisher)) => {
                let rtt = round_trip(ntp, answer.last_rr, answer.delay);
                if let Some(rtt) = rtt.filter(|_| answer.ssrc == FEEDBACK_SSRC) {
                    publisher.on_round_trip(rtt);
                }
            }
            (Extended::ReferenceTime(_), Role::Publisher(_))
            | (Extended::Delay(_), Role::Viewer(_) | Role::Feed(_)) => {}
        }
    }

    fn on_sender_report(&mut self, now: Instant, key: Key, ssrc: u32, tie: Tie) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Role::Publisher(publisher) = &mut session.role else {
            return;
        };
        if !publisher.ingest.on_sender_report(now, ssrc, tie) {
            return;
        }
        let id = session.program;
        let Some(program) = self
            .programs
            .get_mut(&id)
            .filter(|p| p.publisher == Some(key))
        else {
            return;
        };
        program.sync.on_report(tie.ntp, self.clock.ntp(now));
        program.sync.audio = publisher.ingest.common_tie(Track::Audio);
        program.sync.video = publisher.ingest.common_tie(Track::Video);
        program.sync.steady_video = publisher.ingest.steady_picture();
        let sync = program.sync;
        for to in program.replicas.clone() {
            self.relay(to, Relay::Sync { program: id, sync });
        }
    }

    /// Sends a publisher its due feedback, and the keyframe requests that are wanted of it.
    pub(super) fn feed_back(&mut self, now: Instant, key: Key, due: Due) {
        let Self {
            sessions,
            programs,
            metrics,
            clock,
            ..
        } = self;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let Role::Publisher(publisher) = &mut session.role else {
            return;
        };
        let rtt = publisher.rtt();
        let Publisher { ingest, lived, .. } = &mut **publisher;
        let mut buffer = [0; MAX_COMPOUND + MAX_OVERHEAD];
        let mut writer = Writer::new(&mut buffer[..MAX_COMPOUND]);
        // What doesn't fit goes out with the next turn, 10 ms later.
        let _full = (|| {
            if due.report {
                ingest.write_receiver_report(now, &mut writer)?;
                // Who only receives learns the round trip only so.
                writer.reference_time(FEEDBACK_SSRC, clock.ntp(now))?;
            }
            if let Some(program) = programs.get_mut(&session.program).filter(|p| p.sends(key)) {
                for layer in &mut program.video {
                    if let Some(ssrc) = ingest.ssrc_of(layer.source)
                        && layer.keyframes.poll(now)
                    {
                        metrics.keyframe_requests_sent += 1;
                        lived.on_keyframe_request();
                        writer.pli(FEEDBACK_SSRC, ssrc)?;
                    }
                }
            }
            ingest.write_nacks(now, rtt, &mut writer)?;
            if let Some(at_least) = due.transport_cc {
                ingest.write_transport_cc(at_least, &mut writer)?;
            }
            Ok::<_, rtcp::BufferFull>(())
        })();
        let IngestCounters { recovered, nacked } = ingest.take_counters();
        metrics.nacks_sent += nacked;
        metrics.recovered += recovered;
        let len = writer.finish();
        self.send_rtcp(key, &mut buffer, len);
    }

    /// On a shard that is not a program's home: passes on wishes for keyframes.
    pub(super) fn pass_on_keyframe_wishes(&mut self, now: Instant) {
        let mut wishes: Vec<(usize, Relay)> = Vec::new();
        for program in self.programs.values_mut().filter(|p| p.home != self.index) {
            for layer in &mut program.video {
                if layer.keyframes.poll(now) {
                    let source: SourceId = layer.source;
                    wishes.push((
                        program.home,
                        Relay::KeyframeWanted {
                            program: program.id,
                            source,
                        },
                    ));
                }
            }
        }
        for (home, wish) in wishes {
            self.relay(home, wish);
        }
    }

    /// Sends a viewer its sender reports.
    pub(super) fn report_to_viewer(&mut self, now: Instant, key: Key) {
        let Self {
            sessions,
            programs,
            clock,
            ..
        } = self;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let Role::Viewer(viewer) = &session.role else {
            return;
        };
        let Some(sync) = programs.get(&session.program).map(|p| p.sync) else {
            return;
        };
        let ntp = clock.ntp(now);
        let (audio, video) = sync.timestamps_at(ntp);
        let mut buffer = [0; MAX_COMPOUND + MAX_OVERHEAD];
        let mut writer = Writer::new(&mut buffer[..MAX_COMPOUND]);
        if viewer
            .write_sender_reports(ntp, audio, video, &mut writer)
            .is_err()
        {
            return;
        }
        let len = writer.finish();
        self.send_rtcp(key, &mut buffer, len);
    }

    /// Seals and sends an RTCP compound packet: the first `len` bytes of `buffer`, which has room for the seal.
    pub(super) fn send_rtcp(&mut self, key: Key, buffer: &mut [u8], len: usize) {
        let Some(session) = self.sessions.get_mut(key).filter(|_| len > 0) else {
            return;
        };
        let (Some(srtp), Some(path)) = (&mut session.srtp, session.ice.selected()) else {
            return;
        };
        if let Ok(len) = srtp.sender.seal_rtcp(buffer, len) {
            let mut links = Links {
                sockets: &self.sockets,
                connections: &mut self.connections,
            };
            self.outbox.put(&buffer[..len], path, &mut links);
        }
    }
}
