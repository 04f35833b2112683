//! The AV1 aggregation header (AOMedia's RTP payload format for AV1, §4.4) and the picture size of a
//! sequence header (AV1 bitstream specification, §5.5).

use super::PayloadInfo;
use super::bits::Bits;

const SEQUENCE_HEADER: u8 = 1;

pub(super) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let (&aggregation, rest) = payload.split_first()?;
    // N: the first packet of a coded video sequence.
    let starts_keyframe = aggregation & 0x08 != 0;
    let continues = aggregation & 0x80 != 0;
    let count = usize::from(aggregation >> 4 & 0x03);
    let size = if starts_keyframe && !continues {
        first_size(rest, count)
    } else {
        None
    };
    Some(PayloadInfo {
        starts_keyframe,
        size,
        ..PayloadInfo::default()
    })
}

/// The size in the first sequence header among the payload's elements.
fn first_size(mut rest: &[u8], count: usize) -> Option<(u16, u16)> {
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        // With a count, the last element has no length.
        let element = if count != 0 && index == count {
            std::mem::take(&mut rest)
        } else {
            let (len, after) = leb128(rest)?;
            let (element, after) = after.split_at_checked(len)?;
            rest = after;
            element
        };
        if let Some(size) = sequence_size(element) {
            return Some(size);
        }
    }
    None
}

/// §4.10.5, at most the four bytes that any length here needs.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

fn sequence_size(obu: &[u8]) -> Option<(u16, u16)> {
    let header = *obu.first()?;
    if header >> 3 & 0x0f != SEQUENCE_HEADER {
        return None;
    }
    let mut body = obu.get(if header & 0x04 != 0 { 2 } else { 1 }..)?;
    if header & 0x02 != 0 {
        body = leb128(body)?.1;
    }
    let mut bits = Bits::new(body);
    bits.bits(3)?; // profile
    bits.bit()?; // still picture
    if bits.bit()? {
        bits.bits(5)?; // reduced header: a level and nothing else
    } else {
        skip_operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
    let (width, height) = (bits.bits(width_bits)?, bits.bits(height_bits)?);
    Some((
        u16::try_from(width + 1).ok()?,
        u16::try_from(height + 1).ok()?,
    ))
}

fn skip_operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let (mut decoder_model, mut delay_bits) = (false, 0);
    if bits.bit()? {
        bits.bits(32)?;
        bits.bits(32)?;
        if bits.bit()? {
            bits.skip_uvlc()?;
        }
        decoder_model = bits.bit()?;
        if decoder_model {
            delay_bits = bits.bits(5)? + 1;
            bits.bits(32)?;
            bits.bits(10)?;
        }
    }
    let display_delay = bits.bit()?;
    let points = bits.bits(5)? + 1;
    for _ in 0..points {
        bits.bits(12)?;
        let level = bits.bits(5)?;
        if level > 7 {
            bits.bit()?;
        }
        if decoder_model && bits.bit()? {
            bits.bits(delay_bits)?;
            bits.bits(delay_bits)?;
            bits.bit()?;
        }
        if display_delay && bits.bit()? {
            bits.bits(4)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence header of libaom for 1280x720, profile 0, level 5.
    fn sequence_header() -> Vec<u8> {
        // profile 000, still 0, reduced 0, timing 0, delay 0, points 00000, idc 12 bits, level 00101,
        // width bits 1010, height bits 1001, width-1 10011111111, height-1 1011001111.
        let bits = "00000000000000000000000000101101010011001111111110110011110000000";
        let mut bytes = vec![0x08];
        bytes.extend(bits.as_bytes().chunks(8).map(|c| {
            c.iter()
                .enumerate()
                .fold(0, |b, (n, bit)| b | (bit - b'0') << (7 - n))
        }));
        bytes
    }

    #[test]
    fn a_new_sequence_starts_a_keyframe_and_tells_its_size() {
        let header = sequence_header();
        let mut payload = vec![0x28, header.len() as u8]; // W = 2, N = 1
        payload.extend(&header);
        payload.extend([0x30, 1, 2, 3]);
        let info = inspect(&payload).unwrap();
        assert!(info.starts_keyframe);
        assert_eq!(info.size, Some((1280, 720)));
    }

    #[test]
    fn other_packets_start_nothing() {
        assert!(!inspect(&[0x10, 0x30, 1]).unwrap().starts_keyframe);
        assert_eq!(inspect(&[]), None);
    }

    #[test]
    fn elements_may_be_empty_and_as_many_as_fit() {
        let payload = [&[0x08][..], &[0; 1400]].concat(); // W = 0, N = 1
        assert_eq!(inspect(&payload).unwrap().size, None);
    }
}
