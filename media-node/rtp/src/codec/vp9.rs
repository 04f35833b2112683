//! The VP9 payload descriptor (RFC 9628 §4.2).

use super::PayloadInfo;
use super::layering::{Layering, SpatialSizes};

/// What the descriptor says of the pictures that this one is predicted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Which picture, modulo 2^15; a 7-bit id is not told apart.
    pub picture_id: Option<u16>,
    /// References are given one by one; else by a fixed structure.
    pub is_flexible: bool,
    /// Later pictures of higher temporal layers build on none of those layers before this one.
    pub up_switch: bool,
    references: [u8; 3],
    count: u8,
}

impl Descriptor {
    /// How many pictures back those are that this one refers to, in flexible mode.
    pub fn references(&self) -> &[u8] {
        &self.references[..usize::from(self.count)]
    }
}

pub(super) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let flag = |mask: u8| first & mask != 0;
    let (has_id, inter, layers, flexible) = (flag(0x80), flag(0x40), flag(0x20), flag(0x10));
    let (begins, ends, structure) = (flag(0x08), flag(0x04), flag(0x02));
    let mut descriptor = Descriptor {
        is_flexible: flexible,
        ..Descriptor::default()
    };
    let mut layering = Layering {
        is_fresh: !inter,
        begins,
        ends,
        ..Layering::default()
    };
    let mut at = 1;
    if has_id {
        let byte = *payload.get(at)?;
        if byte & 0x80 != 0 {
            let low = *payload.get(at + 1)?;
            descriptor.picture_id = Some(u16::from(byte & 0x7f) << 8 | u16::from(low));
            at += 2;
        } else {
            at += 1;
        }
    }
    if layers {
        let byte = *payload.get(at)?;
        layering.temporal = byte >> 5;
        layering.spatial = byte >> 1 & 0x07;
        descriptor.up_switch = byte & 0x10 != 0;
        at += if flexible { 1 } else { 2 };
    }
    if flexible && inter {
        // Up to three references, each saying whether another follows.
        for reference in &mut descriptor.references {
            let byte = *payload.get(at)?;
            *reference = byte >> 1;
            descriptor.count += 1;
            at += 1;
            if byte & 1 == 0 {
                break;
            }
        }
    }
    let sizes = if structure {
        sizes(payload.get(at..)?)
    } else {
        None
    };
    Some(PayloadInfo {
        starts_keyframe: begins && !inter && layering.spatial == 0,
        size: sizes.map(|(_, largest)| largest),
        spatial_sizes: sizes.map(|(all, _)| all),
        layering,
        vp8: None,
        vp9: Some(descriptor),
    })
}

/// The sizes in a scalability structure: of all spatial layers, and of the highest.
fn sizes(structure: &[u8]) -> Option<(SpatialSizes, (u16, u16))> {
    let (first, rest) = structure.split_first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let (mut all, mut largest) = (SpatialSizes::default(), (0, 0));
    for spatial in 0..=usize::from(first >> 5) {
        let size = rest.get(4 * spatial..)?.first_chunk::<4>()?;
        let be = |at: usize| u16::from_be_bytes([size[at], size[at + 1]]);
        largest = (be(0), be(2));
        if let Some(known) = all.get_mut(spatial) {
            *known = largest;
        }
    }
    Some((all, largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_with_its_structure_tells_the_sizes() {
        // I, L, B, V; 15-bit id; TID 0 SID 0 with TL0; N_S = 1, Y: 640x360 and 1280x720.
        let payload = [0xaa, 0x81, 0x23, 0, 7, 0x30, 2, 128, 1, 104, 5, 0, 2, 208];
        let info = inspect(&payload).unwrap();
        assert!(info.starts_keyframe);
        assert_eq!(info.size, Some((1280, 720)));
        let sizes = info.spatial_sizes.unwrap();
        assert_eq!(sizes[..3], [(640, 360), (1280, 720), (0, 0)]);
        assert_eq!(info.vp9.unwrap().picture_id, Some(0x123));
    }

    #[test]
    fn inter_frames_and_upper_layers_start_nothing() {
        assert!(!inspect(&[0xc8, 0x01]).unwrap().starts_keyframe);
        assert!(!inspect(&[0xa8, 0x01, 0x02, 0]).unwrap().starts_keyframe);
        assert!(!inspect(&[0x80, 0x01]).unwrap().starts_keyframe);
        assert!(inspect(&[0x88, 0x01]).unwrap().starts_keyframe);
    }

    #[test]
    fn layers_and_references_are_read() {
        // I, P, L, F, E; 7-bit id; TID 2, U, SID 1, D; references 1 and 5.
        let info = inspect(&[0xf4, 0x11, 0x53, 0x03, 0x0a, 0]).unwrap();
        let expected = Layering {
            spatial: 1,
            temporal: 2,
            ends: true,
            ..Layering::default()
        };
        assert_eq!(info.layering, expected);
        let descriptor = info.vp9.unwrap();
        assert!(descriptor.up_switch && descriptor.is_flexible);
        assert_eq!(descriptor.references(), [1, 5]);
        assert_eq!(descriptor.picture_id, None);
    }
}
