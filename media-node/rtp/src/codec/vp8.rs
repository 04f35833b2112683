//! The VP8 payload descriptor (RFC 7741 §4.2), and the ids in it that must go on without a gap
//! when a viewer is moved from one source to another.

use super::PayloadInfo;
use super::layering::Layering;

/// A PictureID: which frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// Where in the payload.
    pub offset: usize,
    /// 15 bits, or 7.
    pub long: bool,
    /// The id.
    pub value: u16,
}

/// What the descriptor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Which frame.
    pub picture_id: Option<PictureId>,
    /// Where TL0PICIDX is, and its value: the last frame of the temporal base layer.
    pub tl0: Option<(usize, u8)>,
    /// Temporal layer.
    pub temporal_id: u8,
    /// The frame depends on the base layer alone, so a viewer may switch up here.
    pub layer_sync: bool,
    /// Length of the descriptor.
    pub len: usize,
}

impl Descriptor {
    fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut this = Self {
            len: 1,
            ..Self::default()
        };
        if first & 0x80 == 0 {
            return Some(this);
        }
        let present = *payload.get(1)?;
        this.len = 2;
        if present & 0x80 != 0 {
            let byte = *payload.get(this.len)?;
            let long = byte & 0x80 != 0;
            let value = if long {
                u16::from(byte & 0x7f) << 8 | u16::from(*payload.get(this.len + 1)?)
            } else {
                u16::from(byte)
            };
            this.picture_id = Some(PictureId {
                offset: this.len,
                long,
                value,
            });
            this.len += if long { 2 } else { 1 };
        }
        if present & 0x40 != 0 {
            this.tl0 = Some((this.len, *payload.get(this.len)?));
            this.len += 1;
        }
        if present & 0x30 != 0 {
            let byte = *payload.get(this.len)?;
            if present & 0x20 != 0 {
                this.temporal_id = byte >> 6;
                this.layer_sync = byte & 0x20 != 0;
            }
            this.len += 1;
        }
        Some(this)
    }
}

pub(super) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let descriptor = Descriptor::parse(payload)?;
    // S set and partition 0: the frame begins here, with its header (RFC 6386 §9.1).
    let begins = payload.first()? & 0x1f == 0x10;
    let frame = payload.get(descriptor.len..).unwrap_or_default();
    let starts_keyframe = begins && frame.first().is_some_and(|b| b & 1 == 0);
    let size = match frame {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if starts_keyframe => Some((
            u16::from_le_bytes([*w0, *w1]) & 0x3fff,
            u16::from_le_bytes([*h0, *h1]) & 0x3fff,
        )),
        _ => None,
    };
    Some(PayloadInfo {
        starts_keyframe,
        size,
        layering: Layering::of_vp8(&descriptor, begins, starts_keyframe),
        vp8: Some(descriptor),
        ..PayloadInfo::default()
    })
}

/// Puts other ids into a payload that `descriptor` was read from. Their lengths stay: of an id
/// that was sent with 7 bits, 7 bits are written.
#[inline]
pub fn rewrite(
    payload: &mut [u8],
    descriptor: &Descriptor,
    picture_id: Option<u16>,
    tl0_picture_index: Option<u8>,
) {
    if let (Some(at), Some(id)) = (descriptor.picture_id, picture_id) {
        if at.long {
            if let Some(room) = payload.get_mut(at.offset..at.offset + 2) {
                room.copy_from_slice(&(id | 0x8000).to_be_bytes());
            }
        } else if let Some(room) = payload.get_mut(at.offset) {
            *room = id as u8 & 0x7f;
        }
    }
    if let (Some((at, _)), Some(index)) = (descriptor.tl0, tl0_picture_index)
        && let Some(room) = payload.get_mut(at)
    {
        *room = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X, S; I, L, T; 15-bit id 0x1234; TL0 9; TID 2 with Y; a keyframe of 1280x720.
    const KEY: [u8; 16] = [
        0x90, 0xe0, 0x92, 0x34, 9, 0xa0, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02,
    ];

    #[test]
    fn a_keyframe_tells_its_size_and_ids() {
        let info = inspect(&KEY).unwrap();
        assert!(info.starts_keyframe);
        assert_eq!((info.size, info.layering.temporal), (Some((1280, 720)), 2));
        let descriptor = info.vp8.unwrap();
        assert_eq!(
            descriptor.picture_id,
            Some(PictureId {
                offset: 2,
                long: true,
                value: 0x1234
            })
        );
        assert_eq!(
            (descriptor.tl0, descriptor.layer_sync),
            (Some((4, 9)), true)
        );
    }

    #[test]
    fn later_packets_and_inter_frames_start_nothing() {
        let mut later = KEY;
        later[0] = 0x80;
        let mut inter = KEY;
        inter[6] |= 1;
        for payload in [later, inter] {
            assert!(!inspect(&payload).unwrap().starts_keyframe);
        }
    }

    #[test]
    fn ids_are_rewritten_in_place() {
        let descriptor = inspect(&KEY).unwrap().vp8.unwrap();
        let mut payload = KEY;
        rewrite(&mut payload, &descriptor, Some(0x7fff), Some(200));
        let read = inspect(&payload).unwrap().vp8.unwrap();
        assert_eq!(read.picture_id.unwrap().value, 0x7fff);
        assert_eq!(read.tl0, Some((4, 200)));
        assert_eq!(payload[5..], KEY[5..]);
        let short = [0x90, 0x80, 0x12, 0x01];
        let descriptor = inspect(&short).unwrap().vp8.unwrap();
        let mut payload = short;
        rewrite(&mut payload, &descriptor, Some(0xff), None);
        assert_eq!(payload, [0x90, 0x80, 0x7f, 0x01]);
    }
}
