//! What the publisher is told: which packets are missing, when each came, and how many were lost.

use std::time::{Duration, Instant};

use showrunner_rtp::rtcp::{self, BufferFull};

use super::binding::MAX_STREAMS;
use super::{Incoming, Ingest, Track};

/// The SSRC that the node uses as the sender of its feedback.
pub const FEEDBACK_SSRC: u32 = 1;

impl Ingest {
    /// Keeps when a packet came, whatever it brings.
    pub(super) fn record_arrival(&mut self, packet: &Incoming<'_>) {
        let ids =
            [&self.audio, &self.video].map(|t| t.as_ref().and_then(|t| t.extensions.transport_cc));
        let seq = packet
            .header
            .extensions(packet.bytes)
            .find(|(id, _)| ids.contains(&Some(*id)))
            .and_then(|(_, value)| value.first_chunk::<2>().copied());
        if let Some(seq) = seq {
            let at = packet.arrival.saturating_duration_since(self.twcc_started);
            self.twcc
                .record(u16::from_be_bytes(seq), at.as_micros() as u64);
        }
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
            if !stream.is_media() || repeats_itself {
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
        let media = streams.filter(|s| s.is_media());
        for (stream, room) in media.zip(&mut blocks) {
            if let Some(block) = stream.reception.report(now, stream.ssrc) {
                *room = block;
                count += 1;
            }
        }
        out.receiver_report(FEEDBACK_SSRC, &blocks[..count])
    }
}
