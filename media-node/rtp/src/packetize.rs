//! Cuts encoded frames into RTP payloads. All payloads of a frame have the same size but the last,
//! so that they leave, and are forwarded, in one run.

/// Gives each payload of a frame, and whether it is the last (the RTP marker bit).
type Emit<'a> = dyn FnMut(&[u8], bool) + 'a;

/// Payload size of `parts` equal pieces of `len` bytes.
fn piece(len: usize, max: usize) -> usize {
    let parts = len.div_ceil(max.max(1)).max(1);
    len.div_ceil(parts).max(1)
}

/// A VP8 frame's place among its stream's temporal layers (RFC 7741 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Temporal {
    /// Its layer (TID): 0 to 3.
    pub layer: u8,
    /// Whether it builds on frames of the lowest layer alone (Y).
    pub is_sync: bool,
}

/// VP8 frames to payloads (RFC 7741): 15-bit PictureID, TL0PICIDX and TID.
#[derive(Clone, Debug, Default)]
pub struct Vp8 {
    picture_id: u16,
    tl0_picture_index: u8,
    scratch: Vec<u8>,
}

impl Vp8 {
    const DESCRIPTOR: usize = 6;

    /// Packetizes one frame into payloads of at most `max` bytes.
    pub fn packetize(&mut self, frame: &[u8], temporal: Temporal, max: usize, emit: &mut Emit<'_>) {
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        if temporal.layer == 0 {
            self.tl0_picture_index = self.tl0_picture_index.wrapping_add(1);
        }
        let place = temporal.layer << 6 | u8::from(temporal.is_sync) << 5;
        let size = piece(frame.len(), max.saturating_sub(Self::DESCRIPTOR));
        let count = frame.len().div_ceil(size);
        for (i, part) in frame.chunks(size).enumerate() {
            let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
            let start = if i == 0 { 0x90 } else { 0x80 };
            self.scratch.clear();
            self.scratch
                .extend([start, 0xe0, high, low, self.tl0_picture_index, place]);
            self.scratch.extend_from_slice(part);
            emit(&self.scratch, i + 1 == count);
        }
    }
}

/// H.264 access units in Annex B form to payloads (RFC 6184, packetization mode 1).
#[derive(Clone, Debug, Default)]
pub struct H264 {
    scratch: Vec<u8>,
}

impl H264 {
    /// Packetizes one access unit into payloads of at most `max` bytes: small units that follow each
    /// other (parameter sets) in one aggregate, large ones in fragments.
    pub fn packetize(&mut self, access_unit: &[u8], max: usize, emit: &mut Emit<'_>) {
        const AUD: u8 = 9;
        let units: Vec<&[u8]> = nal_units(access_unit)
            .filter(|u| u.first().is_some_and(|h| h & 0x1f != AUD))
            .collect();
        let mut at = 0;
        while let Some(unit) = units.get(at) {
            let together = fitting(&units[at..], max);
            let last = at + together.max(1) == units.len();
            if together > 1 {
                self.aggregate(&units[at..at + together]);
                emit(&self.scratch, last);
            } else if unit.len() <= max {
                emit(unit, last);
            } else {
                self.fragment(unit, max, last, emit);
            }
            at += together.max(1);
        }
    }

    /// STAP-A (§5.7.1).
    fn aggregate(&mut self, units: &[&[u8]]) {
        let importance = units
            .iter()
            .filter_map(|u| u.first())
            .map(|h| h & 0x60)
            .max();
        self.scratch.clear();
        self.scratch.push(importance.unwrap_or(0) | 24);
        for unit in units {
            self.scratch.extend((unit.len() as u16).to_be_bytes());
            self.scratch.extend_from_slice(unit);
        }
    }

    /// FU-A (§5.8).
    fn fragment(&mut self, unit: &[u8], max: usize, last_unit: bool, emit: &mut Emit<'_>) {
        let Some((&header, body)) = unit.split_first() else {
            return;
        };
        let size = piece(body.len(), max.saturating_sub(2));
        let count = body.len().div_ceil(size);
        for (i, part) in body.chunks(size).enumerate() {
            let (first, last) = (i == 0, i + 1 == count);
            let indicator = header & 0xe0 | 28;
            let fu = u8::from(first) << 7 | u8::from(last) << 6 | header & 0x1f;
            self.scratch.clear();
            self.scratch.extend([indicator, fu]);
            self.scratch.extend_from_slice(part);
            emit(&self.scratch, last && last_unit);
        }
    }
}

/// How many of the first units fit one aggregate.
fn fitting(units: &[&[u8]], max: usize) -> usize {
    let mut len = 1;
    units
        .iter()
        .take_while(|unit| {
            len += 2 + unit.len();
            len <= max
        })
        .count()
}

/// The NAL units between Annex B start codes (ITU-T H.264 annex B).
pub fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(stream).map(|(_, after)| &stream[after..]);
    std::iter::from_fn(move || {
        let from = rest?;
        let (unit, next) = match start_code(from) {
            Some((at, after)) => (&from[..at], Some(&from[after..])),
            None => (from, None),
        };
        rest = next;
        Some(unit)
    })
    .map(|unit| {
        let zeros = unit.iter().rev().take_while(|b| **b == 0).count();
        &unit[..unit.len() - zeros]
    })
    .filter(|unit| !unit.is_empty())
}

/// Where the next start code begins and ends.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    bytes
        .windows(3)
        .position(|w| w == [0, 0, 1])
        .map(|at| (at, at + 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, inspect};

    fn collect(run: impl FnOnce(&mut Emit<'_>)) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        run(&mut |payload, last| out.push((payload.to_vec(), last)));
        out
    }

    #[test]
    fn vp8_pieces_are_equal_and_make_the_frame_again() {
        let mut frame: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        frame[0] = 0; // a keyframe
        let mut vp8 = Vp8::default();
        let base = Temporal::default();
        let out = collect(|emit| vp8.packetize(&frame, base, 1180, emit));
        let joined: Vec<u8> = out
            .iter()
            .flat_map(|(p, _)| p[Vp8::DESCRIPTOR..].to_vec())
            .collect();
        assert_eq!(joined, frame);
        let sizes: Vec<usize> = out.iter().map(|(p, _)| p.len()).collect();
        assert!(
            sizes[..sizes.len() - 1]
                .iter()
                .all(|s| *s == sizes[0] && *s <= 1180)
        );
        let marks: Vec<bool> = out.iter().map(|(_, last)| *last).collect();
        assert_eq!(marks, [false, false, false, false, true]);
        let starts: Vec<bool> = out
            .iter()
            .map(|(p, _)| inspect(Codec::Vp8, p).starts_keyframe)
            .collect();
        assert_eq!(starts, [true, false, false, false, false]);
        let described = |p: &[u8]| inspect(Codec::Vp8, p).vp8.unwrap();
        let id = |p: &[u8]| described(p).picture_id.unwrap().value;
        let upper = Temporal {
            layer: 2,
            is_sync: true,
        };
        let next = collect(|emit| vp8.packetize(&frame, upper, 1180, emit));
        assert_eq!(id(&next[0].0), id(&out[0].0) + 1);
        let of_base = described(&out[0].0);
        let of_upper = described(&next[0].0);
        assert_eq!((of_base.temporal_id, of_base.layer_sync), (0, false));
        assert_eq!((of_upper.temporal_id, of_upper.layer_sync), (2, true));
        assert_eq!(
            of_upper.tl0.map(|(_, index)| index),
            of_base.tl0.map(|(_, index)| index)
        );
    }

    #[test]
    fn h264_parameter_sets_travel_together_and_large_units_in_pieces() {
        let mut unit = vec![
            0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65,
        ];
        unit.extend((0..3000u32).map(|n| n as u8 | 0x80));
        let out = collect(|emit| H264::default().packetize(&unit, 1180, emit));
        assert_eq!(out[0].0, [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(out.len(), 4);
        let body: Vec<u8> = out[1..].iter().flat_map(|(p, _)| p[2..].to_vec()).collect();
        assert_eq!(body, unit[22..]);
        assert!(inspect(Codec::H264, &out[1].0).starts_keyframe);
        assert!(!inspect(Codec::H264, &out[2].0).starts_keyframe);
        assert_eq!(
            out.iter().map(|(_, last)| *last).collect::<Vec<_>>(),
            [false, false, false, true]
        );
        assert_eq!(out[3].0[1] & 0xc0, 0x40);
    }
}
