//! Redundant audio (RFC 2198): a packet brings earlier frames along, and those that were lost take their places.

use std::ops::Range;
use std::time::Instant;

use showrunner_rtp::codec::layering::Layering;
use showrunner_rtp::codec::{Codec, PayloadInfo, opus};
use showrunner_rtp::red;

use super::{Dropped, Incoming, Ingest, Media};

/// The most frames of one redundant audio packet that are looked at.
pub(super) const MAX_REDUNDANT: usize = 8;

/// A lost audio packet that a later one brought, until it is taken.
#[derive(Debug)]
pub(super) struct Recovered {
    stream: usize,
    seq: u64,
    /// As the publisher counts.
    timestamp: u32,
    arrival: Instant,
    /// Where it is in the datagram.
    frame: Range<usize>,
}

impl Ingest {
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

    /// The packet's own frame. Notes those before it that were lost.
    ///
    /// Blocks have times and no numbers. A frame is taken for that of the packet before only if it
    /// ends just where the next one begins.
    pub(super) fn unpack<'a>(
        &mut self,
        packet: &Incoming<'_>,
        frames: u8,
        payload: &'a [u8],
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
        let stream = &mut self.streams[packet.at];
        let mut end = packet.header.len + payload.len() - own.frame.len();
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
            let Some(seq) = packet.seq.checked_sub(earlier) else {
                break;
            };
            if stream.loss.is_missing(seq) {
                stream.loss.on_packet(packet.now, seq);
                self.recovered.push(Recovered {
                    stream: packet.at,
                    seq,
                    timestamp: packet.header.timestamp.wrapping_sub(offset),
                    arrival: packet.arrival,
                    frame,
                });
            }
        }
        Ok(own.frame)
    }
}
