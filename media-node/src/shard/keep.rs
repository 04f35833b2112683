//! A packet that came is kept, and passed on to the shards that have viewers of its program.

use std::sync::Arc;
use std::time::Instant;

use showrunner_rtp::codec::Codec;

use super::message::Relay;
use super::program::Program;
use crate::media::ingest::{Media, Track};
use crate::media::layer::Layer;
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::pool::PacketPool;

/// A packet that can be kept, and what its layer is.
pub(super) struct Kept<'a> {
    track: Track,
    source: SourceId,
    rid: &'a Arc<str>,
    codec: Codec,
    /// Width and height of the picture, where the packet tells.
    size: Option<(u16, u16)>,
    packet: Arc<StoredPacket>,
}

impl<'a> Kept<'a> {
    /// Copies what came.
    pub(super) fn copy(
        media: Media<'a>,
        pool: &mut PacketPool,
        now: Instant,
        arrival: Instant,
    ) -> Kept<'a> {
        Kept {
            track: media.track,
            source: media.source,
            rid: media.rid,
            codec: media.codec,
            size: media.info.size,
            packet: store(media, pool, now, arrival),
        }
    }

    /// The same for longer than what it was copied from, whose RID this is.
    pub(super) fn detach<'b>(self, rid: &'b Arc<str>) -> Kept<'b> {
        Kept {
            track: self.track,
            source: self.source,
            rid,
            codec: self.codec,
            size: self.size,
            packet: self.packet,
        }
    }
}

/// Keeps a packet, and passes it on. True if there is now something to be sent on from here.
pub(super) fn keep(
    kept: Kept<'_>,
    program: &mut Program,
    pool: &mut PacketPool,
    now: Instant,
    relay: &mut dyn FnMut(usize, Relay),
) -> bool {
    let id = program.id;
    let Kept {
        track,
        source,
        rid,
        codec,
        size,
        packet,
    } = kept;
    let known = program.place(source).and_then(|place| program.layer(place));
    let is_new = known.is_none();
    let resized = !is_new && size.is_some() && known.is_some_and(|l| l.size != size);
    let mut pass_on = |relayed: &dyn Fn() -> Relay| {
        for to in &program.replicas {
            relay(*to, relayed());
        }
    };
    if is_new {
        pass_on(&|| Relay::Layer {
            program: id,
            track,
            source,
            rid: Arc::clone(rid),
            codec,
            size,
        });
    } else if let (true, Some(size)) = (resized, size) {
        pass_on(&|| Relay::Size {
            program: id,
            source,
            size,
        });
    }
    pass_on(&|| Relay::Packet {
        program: id,
        source,
        packet: Arc::clone(&packet),
    });
    if is_new {
        program.add_layer(track, source, Arc::clone(rid), codec, now);
        let is_transcoded = program.layer_of(source).is_some_and(Layer::is_transcoded);
        if is_transcoded && !program.transcoders.is_empty() {
            program.wishes.welcome(rid);
        }
    }
    let Some(place) = program.place(source) else {
        return false;
    };
    if let Some(layer) = program.layer_mut(place) {
        layer.codec = codec;
        layer.size = size.or(layer.size);
    }
    program.push(place, packet, Some(pool))
}

/// Copies a media packet into one that can be kept.
fn store(
    media: Media<'_>,
    pool: &mut PacketPool,
    now: Instant,
    arrival: Instant,
) -> Arc<StoredPacket> {
    let mut packet = pool.take(now);
    if let Some(stored) = Arc::get_mut(&mut packet) {
        stored.seq = media.seq;
        stored.timestamp = media.timestamp;
        stored.arrival = arrival;
        stored.codec = media.codec;
        stored.marker = media.marker;
        stored.starts_keyframe = media.info.starts_keyframe;
        stored.layering = media.layering;
        stored.spatial_sizes = media.spatial_sizes;
        stored.vp8 = media.info.vp8;
        stored.orientation = media.orientation;
        // The ingest has refused larger ones.
        let _fits = stored.set_payload(media.payload);
        if let Some((dependencies, value)) = media.dependencies {
            let _fits = stored.set_dependencies(dependencies, value);
        }
    }
    packet
}
