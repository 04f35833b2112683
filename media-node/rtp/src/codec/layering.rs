//! Which layer of a scalable stream a packet is of, and what a receiver must have had before it can
//! use it: what a forwarder has to know to leave layers out and to take them up again.
//!
//! Layers are nested: a spatial layer builds on the lower ones of its picture, and a picture of a
//! temporal layer on earlier ones of that layer or lower. VP8 and VP9 say so in their payload
//! descriptors, AV1 and H.264 in a header extension, the dependency descriptor.

use super::dependency::{Dependencies, Descriptor, Structure};
use super::{PayloadInfo, vp8, vp9};

/// How many spatial layers are told apart (AV1 has no more). Higher ones count as the highest.
pub const MAX_SPATIAL: usize = 4;

/// How many temporal layers are told apart. Higher ones count as the highest.
pub const MAX_TEMPORAL: usize = 4;

/// Width and height of each spatial layer's picture, in pixels; (0, 0) where they are not known.
pub type SpatialSizes = [(u16, u16); MAX_SPATIAL];

/// How many frames back references are looked up. libwebrtc's longest are a few pictures.
const REMEMBERED: usize = 128;

/// A packet's place in a scalable stream. All zero for a stream without layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layering {
    /// Spatial layer, 0 for the base.
    pub spatial: u8,
    /// Temporal layer, 0 for the base.
    pub temporal: u8,
    /// The highest temporal layer among the earlier pictures that this one is predicted from. If
    /// it is lower than `temporal`, a receiver can begin the temporal layer here.
    pub builds_on: u8,
    /// Predicted from no earlier picture: a receiver can begin the spatial layer here, if it has
    /// the lower ones of this picture.
    pub is_fresh: bool,
    /// First packet of its layer's part of the picture.
    pub begins: bool,
    /// Last packet of its layer's part of the picture.
    pub ends: bool,
}

impl Layering {
    pub(super) fn of_vp8(
        descriptor: &vp8::Descriptor,
        begins: bool,
        starts_keyframe: bool,
    ) -> Self {
        let temporal = descriptor.temporal_id;
        Self {
            spatial: 0,
            temporal,
            builds_on: if descriptor.layer_sync { 0 } else { temporal },
            is_fresh: starts_keyframe,
            begins,
            ends: false,
        }
    }
}

/// A frame as it is remembered for those that refer to it.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    number: u16,
    temporal: u8,
    timestamp: u32,
    is_known: bool,
}

/// What is known of a packet's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Its place among them.
    pub layering: Layering,
    /// Sizes of the spatial layers, if they are told here.
    pub sizes: Option<SpatialSizes>,
    /// What receivers have to get rewritten of its dependency descriptor, if it has one.
    pub dependencies: Option<Dependencies>,
}

/// Follows one stream, since what a packet builds on is told by reference to earlier ones.
#[derive(Debug)]
pub struct LayerTracker {
    frames: [Frame; REMEMBERED],
    structure: Option<Box<Structure>>,
    /// The decode targets of `structure` that are active, by bit.
    active_targets: u32,
    /// VP9 with a fixed structure: temporal layers that a switching-up point has opened, until
    /// their next picture.
    open: [bool; 8],
    /// The picture that was looked at last, and what it builds on.
    last: Option<(u16, u8)>,
}

impl Default for LayerTracker {
    fn default() -> Self {
        Self {
            frames: [Frame::default(); REMEMBERED],
            structure: None,
            active_targets: u32::MAX,
            open: [false; 8],
            last: None,
        }
    }
}

impl LayerTracker {
    /// Completes what a payload says by what its stream said before. `dependencies` is the value of
    /// the dependency descriptor extension, if there is one.
    pub fn place(
        &mut self,
        info: &PayloadInfo,
        dependencies: Option<&[u8]>,
        timestamp: u32,
    ) -> Placed {
        let mut placed = Placed {
            layering: info.layering,
            ..Placed::default()
        };
        if let Some(descriptor) = &info.vp9 {
            placed.layering.builds_on = self.vp9_builds_on(descriptor, info.layering, timestamp);
            placed.sizes = info.spatial_sizes;
            return placed;
        }
        if info.vp8.is_some() {
            return placed;
        }
        dependencies
            .and_then(|value| self.by_descriptor(value, timestamp))
            .unwrap_or(placed)
    }

    fn by_descriptor(&mut self, value: &[u8], timestamp: u32) -> Option<Placed> {
        let mut descriptor = Descriptor::parse(value, self.structure.as_deref())?;
        let mut sizes = None;
        if let Some(structure) = descriptor.structure.take() {
            sizes = structure.sizes();
            self.active_targets = u32::MAX;
            match &mut self.structure {
                Some(known) => **known = structure,
                None => self.structure = Some(Box::new(structure)),
            }
        }
        if let Some(active) = descriptor.active_targets {
            self.active_targets = active;
        }
        let structure = self.structure.as_deref();
        let dependencies = descriptor.dependencies(value.len(), structure, self.active_targets);
        let mut layering = Layering {
            begins: descriptor.begins,
            ends: descriptor.ends,
            ..Layering::default()
        };
        // Without its structure nothing is known of a frame: it is sent to all, as the base is.
        if let Some(frame) = descriptor.frame {
            layering.spatial = frame.spatial;
            layering.temporal = frame.temporal;
            let references = frame.references().iter();
            let earlier = references.map(|back| descriptor.frame_number.wrapping_sub(*back));
            (layering.builds_on, layering.is_fresh) =
                self.builds_on(earlier, frame.temporal, timestamp);
            self.remember(descriptor.frame_number, frame.temporal, timestamp);
        }
        Some(Placed {
            layering,
            sizes,
            dependencies: Some(dependencies),
        })
    }

    fn vp9_builds_on(
        &mut self,
        descriptor: &vp9::Descriptor,
        layering: Layering,
        timestamp: u32,
    ) -> u8 {
        let temporal = layering.temporal;
        let Some(number) = descriptor.picture_id else {
            return temporal;
        };
        if descriptor.is_flexible {
            let references = descriptor.references().iter();
            let earlier = references.map(|back| number.wrapping_sub(u16::from(*back)) & 0x7fff);
            let (builds_on, _) = self.builds_on(earlier, temporal, timestamp);
            self.remember(number, temporal, timestamp);
            return if layering.is_fresh { 0 } else { builds_on };
        }
        if let Some((last, builds_on)) = self.last
            && last == number
        {
            return builds_on;
        }
        let is_open = std::mem::take(&mut self.open[usize::from(temporal)]);
        let builds_on = if is_open || layering.is_fresh {
            temporal.saturating_sub(1)
        } else {
            temporal
        };
        if descriptor.up_switch {
            self.open[usize::from(temporal) + 1..].fill(true);
        }
        self.last = Some((number, builds_on));
        builds_on
    }

    /// The highest temporal layer among earlier pictures, and whether there are none. One that is
    /// not known is taken to be of the same layer: there may be no beginning here.
    fn builds_on(
        &self,
        earlier: impl Iterator<Item = u16>,
        temporal: u8,
        timestamp: u32,
    ) -> (u8, bool) {
        let (mut builds_on, mut is_fresh) = (0, true);
        for number in earlier {
            let frame = self.frames[usize::from(number) % REMEMBERED];
            let is_known = frame.is_known && frame.number == number;
            if is_known && frame.timestamp == timestamp {
                continue; // a lower spatial layer of the same picture
            }
            is_fresh = false;
            builds_on = builds_on.max(if is_known { frame.temporal } else { temporal });
        }
        (builds_on, is_fresh)
    }

    fn remember(&mut self, number: u16, temporal: u8, timestamp: u32) {
        self.frames[usize::from(number) % REMEMBERED] = Frame {
            number,
            temporal,
            timestamp,
            is_known: true,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, inspect};
    use super::*;

    /// A VP9 packet in flexible mode: one spatial layer, one reference.
    fn flexible(id: u16, temporal: u8, back: u8) -> PayloadInfo {
        let [hi, lo] = (id | 0x8000).to_be_bytes();
        // I, P, L, F, B, E.
        let payload = [0xfc, hi, lo, temporal << 5, back << 1, 0];
        inspect(Codec::Vp9, &payload)
    }

    /// A VP9 packet of a fixed structure.
    fn fixed(id: u16, temporal: u8, up_switch: bool) -> PayloadInfo {
        let [hi, lo] = (id | 0x8000).to_be_bytes();
        // I, P, L, B, E; then TID, U, and TL0PICIDX.
        let layer = temporal << 5 | u8::from(up_switch) << 4;
        inspect(Codec::Vp9, &[0xec, hi, lo, layer, 0, 0])
    }

    fn builds_on(tracker: &mut LayerTracker, info: &PayloadInfo, timestamp: u32) -> u8 {
        tracker.place(info, None, timestamp).layering.builds_on
    }

    #[test]
    fn references_tell_where_a_temporal_layer_can_begin() {
        let mut tracker = LayerTracker::default();
        // 0 2 1 2 0: each refers to a lower layer, but the last 2 to the 2 before.
        let pictures = [
            (7, 0, 7, 0),
            (8, 2, 1, 0),
            (9, 1, 2, 0),
            (10, 2, 2, 2),
            (11, 0, 4, 0),
        ];
        for (id, temporal, back, wanted) in pictures {
            let info = flexible(id, temporal, back);
            assert_eq!(
                (info.layering.temporal, info.layering.is_fresh),
                (temporal, false)
            );
            assert_eq!(
                builds_on(&mut tracker, &info, u32::from(id)),
                wanted,
                "{id}"
            );
        }
    }

    #[test]
    fn a_reference_to_what_was_never_seen_is_no_beginning() {
        let mut tracker = LayerTracker::default();
        assert_eq!(builds_on(&mut tracker, &flexible(8, 2, 1), 8), 2);
    }

    #[test]
    fn a_switching_up_point_opens_the_layers_above_it_once() {
        let mut tracker = LayerTracker::default();
        let pictures = [
            (1, 0, false, 0),
            (2, 1, false, 1),
            (3, 0, true, 0),
            (4, 2, false, 1),
            (5, 1, false, 0),
            (5, 1, false, 0),
            (6, 2, false, 2),
            (7, 1, false, 1),
        ];
        for (id, temporal, up_switch, wanted) in pictures {
            let info = fixed(id, temporal, up_switch);
            assert_eq!(
                builds_on(&mut tracker, &info, u32::from(id)),
                wanted,
                "{id}"
            );
        }
    }

    #[test]
    fn vp8_says_itself_where_a_layer_can_begin() {
        // X, S; T alone; TID 2, with and without Y.
        for (byte, wanted) in [(0xa0, 0), (0x80, 2)] {
            let info = inspect(Codec::Vp8, &[0x90, 0x20, byte, 1]);
            let layering = LayerTracker::default().place(&info, None, 0).layering;
            assert_eq!((layering.temporal, layering.builds_on), (2, wanted));
            assert!(layering.begins && !layering.is_fresh);
        }
    }
}
