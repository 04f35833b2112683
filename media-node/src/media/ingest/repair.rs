//! Retransmissions (RFC 4588): what a publisher sends again takes the place of what was lost.

use super::{Dropped, Incoming, Ingest, Ingested};
use crate::media::link;

impl Ingest {
    /// RFC 4588 §4: the payload begins with the original sequence number.
    pub(super) fn on_rtx<'a>(
        &'a mut self,
        mut packet: Incoming<'a>,
    ) -> Result<Ingested<'a>, Dropped> {
        let (original, payload) = packet
            .payload()?
            .split_first_chunk::<2>()
            .ok_or(Dropped::Redundant)?;
        packet.at = self.repaired(packet.at).ok_or(Dropped::Redundant)?;
        let codec = self
            .kind_of(packet.at, packet.header.payload_type)
            .ok_or(Dropped::Unknown)?
            .codec();
        let stream = &mut self.streams[packet.at];
        let highest = stream.highest.ok_or(Dropped::Redundant)?;
        let behind = (highest as u16).wrapping_sub(u16::from_be_bytes(*original));
        packet.seq = highest
            .checked_sub(u64::from(behind))
            .filter(|seq| stream.loss.is_missing(*seq))
            .ok_or(Dropped::Redundant)?;
        stream.loss.on_packet(packet.now, packet.seq);
        self.counters.recovered += 1;
        self.name(&packet, codec, payload)
    }

    /// The stream that this one repairs.
    fn repaired(&self, at: usize) -> Option<usize> {
        let repairs = self.streams.get(at)?;
        if self.is_link {
            return self.position(link::repair_ssrc(repairs.ssrc));
        }
        // The newest binding of a RID, in case the publisher changed SSRCs.
        self.streams
            .iter()
            .rposition(|s| s.is_media() && s.track == repairs.track && s.rid == repairs.rid)
    }
}
