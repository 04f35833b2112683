//! H.264 payloads (RFC 6184 §5): which NAL units a packet begins, and the picture size of an SPS.

use super::PayloadInfo;
use super::bits::Bits;

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

pub(super) fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&header, rest)) = payload.split_first() else {
        return info;
    };
    match header & 0x1f {
        STAP_A => {
            let mut rest = rest;
            while let Some((len, after)) = rest.split_first_chunk::<2>() {
                let len = usize::from(u16::from_be_bytes(*len));
                let Some((unit, after)) = after.split_at_checked(len) else {
                    break;
                };
                look_at(unit, &mut info);
                rest = after;
            }
        }
        FU_A => {
            let begins = rest.first().filter(|fu| **fu & 0x80 != 0);
            info.starts_keyframe = begins.is_some_and(|fu| matches!(fu & 0x1f, IDR | SPS));
        }
        _ => look_at(payload, &mut info),
    }
    info
}

fn look_at(unit: &[u8], info: &mut PayloadInfo) {
    match unit.first().map(|header| header & 0x1f) {
        Some(SPS) => {
            info.starts_keyframe = true;
            info.size = picture_size(&unit[1..]).or(info.size);
        }
        Some(IDR) => info.starts_keyframe = true,
        _ => {}
    }
}

/// Width and height of a sequence parameter set (ITU-T H.264 §7.3.2.1.1).
fn picture_size(sps: &[u8]) -> Option<(u16, u16)> {
    let (clean, len) = without_emulation(sps);
    let mut bits = Bits::new(&clean[..len]);
    let profile = bits.bits(8)?;
    bits.bits(16)?; // constraints and level
    bits.exp_golomb()?; // id
    let mut chroma_format = 1;
    if matches!(
        profile,
        44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244
    ) {
        chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.bit()?;
        }
        bits.exp_golomb()?; // luma depth
        bits.exp_golomb()?; // chroma depth
        bits.bit()?;
        if bits.bit()? {
            return None; // scaling lists: none of the encoders of WebRTC send them
        }
    }
    bits.exp_golomb()?; // frame number length
    match bits.exp_golomb()? {
        0 => drop(bits.exp_golomb()?),
        1 => {
            bits.bit()?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            for _ in 0..cycle.min(255) {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?; // reference frames
    bits.bit()?;
    let width_mbs = bits.exp_golomb()?.checked_add(1)?;
    let height_units = bits.exp_golomb()?.checked_add(1)?;
    let frame_mbs_only = bits.bit()?;
    if !frame_mbs_only {
        bits.bit()?;
    }
    bits.bit()?;
    let fields = if frame_mbs_only { 1 } else { 2 };
    let (mut width, mut height) = (
        width_mbs.checked_mul(16)?,
        height_units.checked_mul(16 * fields)?,
    );
    if bits.bit()? {
        let [left, right, top, bottom] = [
            bits.exp_golomb()?,
            bits.exp_golomb()?,
            bits.exp_golomb()?,
            bits.exp_golomb()?,
        ];
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    }
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// The first bytes without emulation prevention (§7.4.1): the size lies well within them.
fn without_emulation(sps: &[u8]) -> ([u8; 64], usize) {
    let (mut clean, mut len, mut zeros) = ([0; 64], 0, 0);
    for &byte in sps {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        let Some(room) = clean.get_mut(len) else {
            break;
        };
        *room = byte;
        len += 1;
    }
    (clean, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, to make parameter sets of any size.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn bits(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|n| value >> n & 1 == 1));
            self
        }

        fn ue(self, value: u32) -> Self {
            let len = 32 - (value + 1).leading_zeros();
            self.bits(0, len - 1).bits(value + 1, len)
        }

        fn nal(self) -> Vec<u8> {
            let bytes = self.0.chunks(8).map(|c| {
                c.iter()
                    .enumerate()
                    .fold(0, |b, (n, bit)| b | u8::from(*bit) << (7 - n))
            });
            std::iter::once(0x67).chain(bytes).collect()
        }
    }

    /// Constrained Baseline, cropped at the bottom.
    fn baseline(width: u32, height: u32) -> Vec<u8> {
        let rows = height.div_ceil(16);
        Writer::default()
            .bits(66, 8)
            .bits(0xc01f, 16)
            .ue(0)
            .ue(0)
            .ue(2)
            .ue(1)
            .bits(0, 1)
            .ue(width / 16 - 1)
            .ue(rows - 1)
            .bits(0b11, 2)
            .bits(1, 1)
            .ue(0)
            .ue(0)
            .ue(0)
            .ue((rows * 16 - height) / 2)
            .bits(0b01, 2)
            .nal()
    }

    #[test]
    fn a_parameter_set_tells_the_size() {
        for (width, height) in [(1920, 1080), (1280, 720), (320, 180)] {
            let info = inspect(&baseline(width, height));
            assert!(info.starts_keyframe);
            assert_eq!(info.size, Some((width as u16, height as u16)));
        }
    }

    #[test]
    fn an_aggregate_is_looked_through() {
        let sps = baseline(640, 360);
        let mut payload = vec![STAP_A];
        for unit in [&[0x68, 1, 2][..], &sps, &[0x65, 9]] {
            payload.extend((unit.len() as u16).to_be_bytes());
            payload.extend(unit);
        }
        assert_eq!(inspect(&payload).size, Some((640, 360)));
    }

    #[test]
    fn only_the_first_fragment_of_an_idr_starts_a_keyframe() {
        assert!(inspect(&[0x7c, 0x85, 1]).starts_keyframe);
        assert!(!inspect(&[0x7c, 0x05, 1]).starts_keyframe);
        assert!(!inspect(&[0x7c, 0x81, 1]).starts_keyframe);
        assert!(!inspect(&[0x41, 1]).starts_keyframe);
        assert!(inspect(&[0x65, 1]).starts_keyframe);
    }
}
