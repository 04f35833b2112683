//! A room's media on one shard: its layers, who watches, and what is to be sent on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::{Codec, Kind};

use super::message::{Announced, ProgramId};
use super::sessions::Key;
use super::takeover::Successor;
use super::wishes::Wishes;
use crate::lived::stalls::Source;
use crate::media::allocation::Rung;
use crate::media::ingest::Track;
use crate::media::layer::{Layer, Part};
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::pool::PacketPool;
use crate::media::sync::{ProgramSync, StreamClock};
use crate::node::LayerInfo;

/// A frame's packets are sent when it is whole, or when the first has waited this long.
pub(super) const MAX_HOLD: Duration = Duration::from_millis(2);

/// … or when there are this many.
const MAX_PENDING: usize = 48;

/// A room's media on one shard.
pub(super) struct Program {
    pub(super) id: ProgramId,
    /// The shard that its publisher is on.
    pub(super) home: usize,
    /// The longest that the shorter side of a picture for viewers may be, in pixels; none: any.
    pub(super) max_lines: Option<u16>,
    /// On the home shard: the other shards that have viewers.
    pub(super) replicas: Vec<usize>,
    /// On the home shard: the session that is on air.
    pub(super) publisher: Option<Key>,
    /// On the home shard: a host who is to be on air next, while a link still brings the room.
    pub(super) successor: Option<Successor>,
    /// On the home shard: sessions that add layers to the publisher's picture.
    pub(super) transcoders: Vec<Key>,
    /// On the home shard: links that bring the room from other pods, the newest last.
    pub(super) intakes: Vec<Key>,
    /// On the home shard: links by which other pods take it.
    pub(super) feeds: Vec<Key>,
    /// What the pod has of it that the room comes from.
    pub(super) announced: Arc<[Announced]>,
    /// Sessions that watch.
    pub(super) viewers: Vec<Key>,
    /// The audio stream.
    pub(super) audio: Option<Layer>,
    /// The video layers, in order of appearance.
    pub(super) video: Vec<Layer>,
    /// What viewers can be sent of the picture …
    rungs: Vec<Rung>,
    /// … of which so many, the first, are the host's own.
    own_rungs: usize,
    /// The publisher's clocks.
    pub(super) sync: ProgramSync,
    /// The frames of video that it had: what is due to viewers.
    pub(super) frames: Source,
    /// Which layers somebody wants.
    pub(super) wishes: Wishes,
    /// What was on air at the last look, to see changes.
    pub(super) on_air: Vec<(SourceId, Option<(u16, u16)>)>,
    /// Whether viewers were told of a publisher.
    pub(super) active: bool,
}

/// A layer's place in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Audio,
    Video(usize),
}

impl Program {
    pub(super) fn new(id: ProgramId, home: usize) -> Self {
        Self {
            id,
            home,
            max_lines: None,
            replicas: Vec::new(),
            publisher: None,
            successor: None,
            transcoders: Vec::new(),
            intakes: Vec::new(),
            feeds: Vec::new(),
            announced: Arc::default(),
            viewers: Vec::new(),
            audio: None,
            video: Vec::new(),
            rungs: Vec::new(),
            own_rungs: 0,
            sync: ProgramSync::default(),
            frames: Source::default(),
            wishes: Wishes::default(),
            on_air: Vec::new(),
            active: false,
        }
    }

    /// Whether nobody sends, watches or listens in.
    pub(super) fn is_idle(&self) -> bool {
        let has_links = !self.intakes.is_empty() || !self.feeds.is_empty();
        let is_used = self.publisher.is_some() || self.successor.is_some() || has_links;
        !is_used && self.viewers.is_empty() && self.replicas.is_empty()
    }

    /// Whether media of a session counts: that of the publisher and of transcoders, or of any link if the publisher is
    /// one.
    pub(super) fn takes_from(&self, key: Key) -> bool {
        let is_intake = |key: &Key| self.intakes.contains(key);
        match self.publisher {
            Some(_) if self.sends(key) => true,
            Some(publisher) => is_intake(&publisher) && is_intake(&key),
            None => false,
        }
    }

    /// Whether keyframes are asked for from a session: it is the publisher, or adds layers to it.
    pub(super) fn sends(&self, key: Key) -> bool {
        self.publisher == Some(key) || self.transcoders.contains(&key)
    }

    /// The timeline of the host's picture, as layers of others are put on it; none before there is a picture.
    pub(super) fn timeline(&self) -> Option<StreamClock> {
        let own = self.video.iter().filter(|layer| !layer.is_transcoded());
        let newest = own.filter_map(Layer::newest).max_by_key(|(_, at)| *at)?;
        Some(StreamClock::of_timeline(self.sync.picture(), newest))
    }

    /// Whether something of a publisher is kept.
    pub(super) fn has_media(&self) -> bool {
        self.audio.is_some() || !self.video.is_empty()
    }

    /// The streams that are on air.
    pub(super) fn on_air_sources(&self, now: Instant) -> impl Iterator<Item = SourceId> {
        let layers = self.audio.iter().chain(&self.video);
        layers.filter(move |l| l.on_air(now)).map(|l| l.source)
    }

    /// Whether a packet is (about) the newest of its stream.
    pub(super) fn is_newest(&self, source: SourceId, seq: u64) -> bool {
        /// Two links bring the same packet within the time of so many others.
        const ABOUT: u64 = 32;
        let layer = self.layer_of(source);
        layer.is_none_or(|layer| layer.head().is_none_or(|head| seq + ABOUT >= head))
    }

    /// Whether a packet is of a stream that is known, and has not come yet.
    pub(super) fn misses(&self, source: SourceId, seq: u64) -> bool {
        self.layer_of(source)
            .is_some_and(|layer| layer.get(seq).is_none())
    }

    /// Where a source's layer is.
    pub(super) fn place(&self, source: SourceId) -> Option<Place> {
        if self.audio.as_ref().is_some_and(|l| l.source == source) {
            return Some(Place::Audio);
        }
        self.video
            .iter()
            .position(|l| l.source == source)
            .map(Place::Video)
    }

    pub(super) fn layer(&self, place: Place) -> Option<&Layer> {
        match place {
            Place::Audio => self.audio.as_ref(),
            Place::Video(at) => self.video.get(at),
        }
    }

    pub(super) fn layer_mut(&mut self, place: Place) -> Option<&mut Layer> {
        match place {
            Place::Audio => self.audio.as_mut(),
            Place::Video(at) => self.video.get_mut(at),
        }
    }

    pub(super) fn layer_of(&self, source: SourceId) -> Option<&Layer> {
        self.layer(self.place(source)?)
    }

    pub(super) fn layer_of_mut(&mut self, source: SourceId) -> Option<&mut Layer> {
        self.layer_mut(self.place(source)?)
    }

    /// A new layer; it takes the place of one with the same RID, whose publisher restarted it.
    pub(super) fn add_layer(
        &mut self,
        track: Track,
        source: SourceId,
        rid: Arc<str>,
        codec: Codec,
        now: Instant,
    ) {
        let layer = Layer::new(source, rid, codec, now);
        match track {
            Track::Audio => self.audio = Some(layer),
            Track::Video => {
                self.video.retain(|l| l.rid != layer.rid);
                self.video.push(layer);
            }
        }
    }

    /// The publisher is gone.
    pub(super) fn clear(&mut self) {
        self.publisher = None;
        self.audio = None;
        self.video.clear();
        self.rungs.clear();
        self.own_rungs = 0;
        self.sync = ProgramSync::default();
        self.frames.restart();
        self.wishes.restart();
        self.announced = Arc::default();
    }

    /// Looks what viewers can be sent of the picture now.
    pub(super) fn look_at_rungs(&mut self, now: Instant) {
        self.rungs.clear();
        for is_transcoded in [false, true] {
            self.own_rungs = self.rungs.len();
            let on_air = self.video.iter().filter(|l| l.on_air(now));
            let layers = on_air.filter(|l| l.is_transcoded() == is_transcoded);
            self.rungs.extend(layers.flat_map(|layer| {
                layer.parts().map(|part| {
                    let (width, height) = part.size.unwrap_or_default();
                    Rung {
                        source: layer.source,
                        spatial: part.sublayers.spatial,
                        temporal: part.sublayers.temporal,
                        width,
                        height,
                        bitrate_bps: part.bitrate_bps,
                    }
                })
            }));
        }
    }

    /// What a viewer can be sent of the picture. Who encodes it anew is sent nothing that somebody encoded anew.
    pub(super) fn rungs(&self, transcodes: bool) -> &[Rung] {
        let own = self.rungs.get(..self.own_rungs).filter(|_| transcodes);
        own.unwrap_or(&self.rungs)
    }

    /// Looks whether what is on air has changed, and remembers it.
    pub(super) fn on_air_changed(&mut self, now: Instant) -> bool {
        let on_air = || {
            self.video
                .iter()
                .filter(|l| l.on_air(now))
                .map(|l| (l.source, l.size))
        };
        let audio_active = self.audio.as_ref().is_some_and(|l| l.on_air(now));
        let active = audio_active || on_air().next().is_some();
        if active == self.active && on_air().eq(self.on_air.iter().copied()) {
            return false;
        }
        self.on_air = on_air().collect();
        self.active = active;
        true
    }

    /// The video layers that can be had, best first, as viewers are told: those on air, and those that are not sent
    /// because nobody wanted them; of scalable ones, each part.
    pub(super) fn layer_infos(&self, now: Instant) -> Arc<[LayerInfo]> {
        let announced = |l: &Layer| {
            let of_rid = |a: &&Announced| SourceId::relayed(a.ssrc) == l.source;
            self.announced.iter().find(of_rid)
        };
        let is_there =
            |l: &&Layer| l.on_air(now) || self.wishes.is_given_up(&l.rid) || announced(l).is_some();
        let mut layers: Vec<&Layer> = self.video.iter().filter(is_there).collect();
        layers.sort_by_key(|l| std::cmp::Reverse(rank(l)));
        let infos = layers.into_iter().flat_map(|layer| {
            let mut parts: Vec<Part> = layer.parts().collect();
            parts.reverse();
            let is_scalable = parts.len() > 1;
            let is_on_air = layer.on_air(now);
            let elsewhere_bps = announced(layer).map_or(0, |a| a.bitrate_bps);
            parts.into_iter().map(move |part| {
                let id = |id| Some(id).filter(|_| is_scalable);
                LayerInfo {
                    rid: layer.rid.to_string(),
                    spatial_layer_id: id(part.sublayers.spatial),
                    temporal_layer_id: id(part.sublayers.temporal),
                    size: part.size.or(layer.size.filter(|_| !is_scalable)),
                    bitrate_bps: match is_on_air {
                        true => part.bitrate_bps,
                        false => elsewhere_bps,
                    },
                }
            })
        });
        infos.collect()
    }

    /// What other pods can take of it, by the names that streams have on links.
    pub(super) fn streams(&self, now: Instant, secret: u64) -> Arc<[Announced]> {
        let elsewhere = |source| {
            let known = |a: &&Announced| SourceId::relayed(a.ssrc) == source;
            self.announced.iter().find(known)
        };
        let is_there = |l: &&Layer| {
            let can_be_had = self.wishes.is_given_up(&l.rid) || elsewhere(l.source).is_some();
            l.on_air(now) || (can_be_had && l.codec.kind() == Kind::Video)
        };
        let layers = self.audio.iter().chain(&self.video).filter(is_there);
        let streams = layers.map(|layer| Announced {
            ssrc: layer.source.on_links(secret),
            rid: Arc::clone(&layer.rid),
            codec: layer.codec,
            size: layer.size,
            bitrate_bps: match layer.on_air(now) {
                true => layer.bitrate_bps(),
                false => elsewhere(layer.source).map_or(0, |a| a.bitrate_bps),
            },
        });
        streams.collect()
    }

    /// Stores a packet. True if it is new and has to be sent on. For `pool` see [`Layer::push`].
    pub(super) fn push(
        &mut self,
        place: Place,
        packet: Arc<StoredPacket>,
        pool: Option<&mut PacketPool>,
    ) -> bool {
        if packet.marker && place != Place::Audio {
            self.frames.on_frame(packet.arrival, packet.timestamp);
        }
        self.layer_mut(place)
            .is_some_and(|layer| layer.push(packet, pool))
    }

    /// Stores what came elsewhere before, for viewers to begin with. What would be sent on of it as if it came now would
    /// bring them a picture that is late by as much as it is old.
    pub(super) fn store(&mut self, source: SourceId, packets: Vec<Arc<StoredPacket>>) {
        let Some(place) = self.place(source) else {
            return;
        };
        for packet in packets {
            self.push(place, packet, None);
        }
        if let Some(layer) = self.layer_mut(place) {
            layer.pending.clear();
        }
    }

    /// Whether a layer's pending packets should go out now.
    pub(super) fn is_due(&self, place: Place, now: Instant) -> bool {
        let Some(layer) = self.layer(place) else {
            return false;
        };
        let Some(first) = layer.pending.first() else {
            return false;
        };
        place == Place::Audio
            || layer.pending.len() >= MAX_PENDING
            || layer.pending.iter().any(|p| p.marker)
            || now.saturating_duration_since(first.arrival) >= MAX_HOLD
    }

    /// The places of all layers.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let audio = self.audio.is_some().then_some(Place::Audio);
        audio
            .into_iter()
            .chain((0..self.video.len()).map(Place::Video))
    }
}

fn rank(layer: &Layer) -> (u32, u64) {
    let (width, height) = layer.size.unwrap_or((0, 0));
    (u32::from(width) * u32::from(height), layer.bitrate_bps())
}
