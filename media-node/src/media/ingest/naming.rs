//! What a packet is: its layer, its place in a scalable stream, its time, and what its header says of the picture.
//!
//! Of a host's packet that is read off its payload and descriptor. One of a link says it itself (see [`link`]).

use showrunner_rtp::codec::dependency::MAX_GROWTH;
use showrunner_rtp::codec::{self, Codec};
use showrunner_sdp::ExtensionIds;

use super::{Dropped, Incoming, Ingest, Ingested, Media, extension};
use crate::media::link;
use crate::media::packet::MAX_PAYLOAD;

impl Ingest {
    /// Names a packet that has its place: stream and number.
    pub(super) fn name<'a>(
        &'a mut self,
        packet: &Incoming<'a>,
        codec: Codec,
        payload: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        match self.is_link {
            true => self.name_marked(packet, codec, payload),
            false => self.name_unmarked(packet, codec, payload),
        }
    }

    fn name_unmarked<'a>(
        &'a mut self,
        packet: &Incoming<'a>,
        codec: Codec,
        payload: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        let (at, header) = (packet.at, &packet.header);
        if payload.is_empty() {
            return Ok(self.padding(at, packet.seq));
        }
        let info = codec::inspect(codec, payload);
        let extensions = self.extensions(at);
        let dependencies = dependencies(packet, &extensions);
        let stored = dependencies.map_or(0, |value| value.len() + MAX_GROWTH);
        if payload.len() + stored > MAX_PAYLOAD {
            return Err(Dropped::TooLarge);
        }
        let tracker = &mut self.streams[at].layers;
        let placed = tracker.place(&info, dependencies, header.timestamp);
        let timestamp =
            self.common_timestamp(at, header.timestamp, packet.arrival, info.starts_keyframe);
        let stream = &self.streams[at];
        Ok(Ingested::Media(Media {
            track: stream.track,
            source: stream.source,
            rid: &stream.rid,
            codec,
            seq: packet.seq,
            timestamp,
            marker: header.marker,
            orientation: orientation(packet, &extensions),
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

    fn name_marked<'a>(
        &'a mut self,
        packet: &Incoming<'a>,
        codec: Codec,
        payload: &'a [u8],
    ) -> Result<Ingested<'a>, Dropped> {
        let (at, header) = (packet.at, &packet.header);
        let marked = link::read(header.extensions(packet.bytes)).ok_or(Dropped::Malformed)?;
        if payload.is_empty() {
            return Ok(self.padding(at, marked.mark.seq));
        }
        let extensions = self.extensions(at);
        let dependencies = dependencies(packet, &extensions).filter(|_| codec == Codec::Av1);
        // It has room for each receiver's own bits already.
        if payload.len() + dependencies.map_or(0, <[u8]>::len) > MAX_PAYLOAD {
            return Err(Dropped::TooLarge);
        }
        let info = codec::inspect(codec, payload);
        let stream = &mut self.streams[at];
        let placed = stream.layers.place(&info, dependencies, header.timestamp);
        stream.clock.is_common(header.timestamp, packet.arrival);
        Ok(Ingested::Media(Media {
            track: stream.track,
            source: stream.source,
            rid: &stream.rid,
            codec,
            seq: marked.mark.seq,
            timestamp: header.timestamp,
            marker: header.marker,
            orientation: orientation(packet, &extensions),
            info,
            layering: marked.mark.layering,
            spatial_sizes: marked.spatial_sizes,
            dependencies: placed.dependencies.zip(dependencies),
            payload,
        }))
    }

    fn padding<'a>(&self, at: usize, seq: u64) -> Ingested<'a> {
        let source = self.streams[at].source;
        Ingested::Padding { source, seq }
    }
}

fn orientation(packet: &Incoming<'_>, ids: &ExtensionIds) -> Option<u8> {
    let value = extension(&packet.header, packet.bytes, ids.orientation)?;
    value.first().copied()
}

/// The dependency descriptor, as it came.
fn dependencies<'a>(packet: &Incoming<'a>, ids: &ExtensionIds) -> Option<&'a [u8]> {
    extension(&packet.header, packet.bytes, ids.dependency_descriptor)
}
