//! The VP9 payload descriptor (RFC 9628 §4.2).

use super::PayloadInfo;

pub(super) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let flag = |mask: u8| first & mask != 0;
    let (has_id, inter, layers, flexible) = (flag(0x80), flag(0x40), flag(0x20), flag(0x10));
    let (begins, structure) = (flag(0x08), flag(0x02));
    let mut at = 1;
    if has_id {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let mut info = PayloadInfo::default();
    let mut spatial_id = 0;
    if layers {
        let byte = *payload.get(at)?;
        info.temporal_id = byte >> 5;
        spatial_id = byte >> 1 & 0x07;
        at += if flexible { 1 } else { 2 };
    }
    if flexible && inter {
        // Up to three references, each saying whether another follows.
        for _ in 0..3 {
            let byte = *payload.get(at)?;
            at += 1;
            if byte & 1 == 0 {
                break;
            }
        }
    }
    info.starts_keyframe = begins && !inter && spatial_id == 0;
    if structure {
        info.size = largest_size(payload.get(at..)?);
    }
    Some(info)
}

/// The size of the highest spatial layer of a scalability structure.
fn largest_size(structure: &[u8]) -> Option<(u16, u16)> {
    let first = *structure.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let highest = usize::from(first >> 5);
    let size = structure.get(1 + 4 * highest..)?.first_chunk::<4>()?;
    let be = |at: usize| u16::from_be_bytes([size[at], size[at + 1]]);
    Some((be(0), be(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_with_its_structure_tells_the_size() {
        // I, L, B, V; 15-bit id; TID 0 SID 0 with TL0; N_S = 1, Y: 640x360 and 1280x720.
        let payload = [0xaa, 0x81, 0x23, 0, 7, 0x30, 2, 128, 1, 104, 5, 0, 2, 208];
        let info = inspect(&payload).unwrap();
        assert!(info.starts_keyframe);
        assert_eq!(info.size, Some((1280, 720)));
    }

    #[test]
    fn inter_frames_and_upper_layers_start_nothing() {
        assert!(!inspect(&[0xc8, 0x01]).unwrap().starts_keyframe);
        assert!(!inspect(&[0xa8, 0x01, 0x02, 0]).unwrap().starts_keyframe);
        assert!(!inspect(&[0x80, 0x01]).unwrap().starts_keyframe);
        assert!(inspect(&[0x88, 0x01]).unwrap().starts_keyframe);
    }
}
