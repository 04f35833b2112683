//! RTP packets (RFC 3550 §5.1) and their header extensions (RFC 8285).

use crate::ParseError;

const FIXED: usize = 12;
const ONE_BYTE: u16 = 0xbede;

/// The header of an RTP packet. It is in the clear in SRTP, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Ends a frame (video) or begins a talk spurt (audio).
    pub marker: bool,
    /// Which format the payload has, as negotiated.
    pub payload_type: u8,
    /// Low 16 bits of the packet's number.
    pub sequence_number: u16,
    /// Media time.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: u32,
    /// The payload ends with padding.
    pub has_padding: bool,
    /// Length of the whole header, with contributing sources and extension, in bytes.
    pub len: usize,
    extension: Option<Block>,
}

/// Where the extension's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    profile: u16,
    start: usize,
    end: usize,
}

impl Header {
    /// Reads the header of a packet.
    ///
    /// # Errors
    /// If it is not RTP version 2, or cut off.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let fixed = packet.first_chunk::<FIXED>().ok_or(ParseError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(ParseError::Invalid);
        }
        let mut len = FIXED + 4 * usize::from(fixed[0] & 0x0f);
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let profile = crate::be16(packet, len)?;
            let words = crate::be16(packet, len + 2)?;
            let start = len + 4;
            len = start + 4 * usize::from(words);
            extension = Some(Block {
                profile,
                start,
                end: len,
            });
        }
        if packet.len() < len {
            return Err(ParseError::Truncated);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            has_padding: fixed[0] & 0x20 != 0,
            len,
            extension,
        })
    }

    /// The extension's elements: their ids and values. Ends at the first that is cut off.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let block = self
            .extension
            .and_then(|b| Some((b.profile, packet.get(b.start..b.end)?)));
        let (form, rest) = match block {
            Some((ONE_BYTE, rest)) => (Form::OneByte, rest),
            Some((profile, rest)) if profile & 0xfff0 == 0x1000 => (Form::TwoByte, rest),
            _ => (Form::OneByte, &[][..]),
        };
        Extensions { form, rest }
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

/// Iterates over extension elements: id and value.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest; // padding
                continue;
            }
            let (id, len, rest) = match self.form {
                // RFC 8285 §4.2: id 15 ends processing.
                Form::OneByte if first >> 4 == 15 => return None,
                Form::OneByte => (first >> 4, usize::from(first & 0x0f) + 1, rest),
                Form::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    (first, usize::from(len), rest)
                }
            };
            let (value, rest) = rest.split_at_checked(len)?;
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The payload of a decrypted packet, without padding (RFC 3550 §5.1).
///
/// # Errors
/// If the padding is longer than what there is.
pub fn payload<'a>(packet: &'a [u8], header: &Header) -> Result<&'a [u8], ParseError> {
    let body = packet.get(header.len..).ok_or(ParseError::Truncated)?;
    if !header.has_padding {
        return Ok(body);
    }
    let padding = usize::from(*body.last().ok_or(ParseError::Truncated)?);
    if padding == 0 {
        return Err(ParseError::Invalid);
    }
    let len = body
        .len()
        .checked_sub(padding)
        .ok_or(ParseError::Truncated)?;
    Ok(&body[..len])
}

/// Whether a datagram of the RTP/RTCP kind is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|kind| (192..=223).contains(kind))
}

/// The buffer is too small for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Writes headers.
#[derive(Clone, Copy, Debug)]
pub struct HeaderWriter {
    /// See [`Header::marker`].
    pub marker: bool,
    /// See [`Header::payload_type`].
    pub payload_type: u8,
    /// See [`Header::sequence_number`].
    pub sequence_number: u16,
    /// See [`Header::timestamp`].
    pub timestamp: u32,
    /// See [`Header::ssrc`].
    pub ssrc: u32,
}

impl HeaderWriter {
    /// Writes a header without extension; its length.
    ///
    /// # Errors
    /// If `out` is too small.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let fixed = out.first_chunk_mut::<FIXED>().ok_or(NoRoom)?;
        fixed[0] = 0x80;
        fixed[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        fixed[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        Ok(FIXED)
    }

    /// Writes a header with extension elements, in the one-byte form where all fit it; its length.
    /// Elements with id 0, or longer than 255 bytes, are left out: no form can carry them.
    ///
    /// # Errors
    /// If `out` is too small.
    pub fn write_with(&self, out: &mut [u8], elements: &[(u8, &[u8])]) -> Result<usize, NoRoom> {
        self.write(out)?;
        let usable = || {
            elements
                .iter()
                .filter(|(id, value)| *id != 0 && value.len() <= 255)
        };
        if usable().next().is_none() {
            return Ok(FIXED);
        }
        let one_byte = usable().all(|(id, value)| *id <= 14 && (1..=16).contains(&value.len()));
        let mut at = FIXED + 4;
        for (id, value) in usable() {
            let len = value.len() as u8;
            let head = if one_byte {
                [id << 4 | (len - 1), 0]
            } else {
                [*id, len]
            };
            let head = if one_byte { &head[..1] } else { &head[..] };
            for part in [head, value] {
                out.get_mut(at..at + part.len())
                    .ok_or(NoRoom)?
                    .copy_from_slice(part);
                at += part.len();
            }
        }
        let end = at.next_multiple_of(4);
        out.get_mut(at..end).ok_or(NoRoom)?.fill(0);
        let profile = if one_byte { ONE_BYTE } else { 0x1000 };
        let words = ((end - FIXED - 4) / 4) as u16;
        out[0] |= 0x10;
        out[FIXED..FIXED + 2].copy_from_slice(&profile.to_be_bytes());
        out[FIXED + 2..FIXED + 4].copy_from_slice(&words.to_be_bytes());
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRITER: HeaderWriter = HeaderWriter {
        marker: true,
        payload_type: 96,
        sequence_number: 0x1234,
        timestamp: 0xdead_beef,
        ssrc: 7,
    };

    #[test]
    fn a_header_reads_back_as_written() {
        for elements in [
            &[][..],
            &[(3, &[1, 2][..])],
            &[(15, &[1][..]), (2, &[])],
            &[(1, &[7; 20])],
        ] {
            let mut buf = [0xff; 64];
            let len = WRITER.write_with(&mut buf, elements).unwrap();
            let header = Header::parse(&buf[..len]).unwrap();
            assert_eq!(header.len, len);
            assert!(header.marker && !header.has_padding);
            assert_eq!((header.payload_type, header.sequence_number), (96, 0x1234));
            assert_eq!((header.timestamp, header.ssrc), (0xdead_beef, 7));
            assert_eq!(header.extensions(&buf).collect::<Vec<_>>(), elements);
            for room in 0..len {
                assert_eq!(WRITER.write_with(&mut buf[..room], elements), Err(NoRoom));
            }
        }
    }

    #[test]
    fn one_byte_elements_end_at_id_15_and_skip_padding() {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 2];
        packet.extend([0x10, 0xaa, 0, 0, 0x20, 0xbb, 0xf0, 0xcc]);
        let header = Header::parse(&packet).unwrap();
        let elements: Vec<_> = header.extensions(&packet).collect();
        assert_eq!(elements, [(1, &[0xaa][..]), (2, &[0xbb][..])]);
    }

    #[test]
    fn padding_is_cut_off() {
        let mut packet = vec![0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 8, 7, 0, 2];
        let header = Header::parse(&packet).unwrap();
        assert_eq!(payload(&packet, &header), Ok(&[9, 8, 7][..]));
        for (last, error) in [(0, ParseError::Invalid), (6, ParseError::Truncated)] {
            *packet.last_mut().unwrap() = last;
            assert_eq!(payload(&packet, &header), Err(error));
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_with_a_marker() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x80, 206]));
        assert!(!is_rtcp(&[0x80, 0x80 | 96]) && !is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
                header.extensions(&bytes).for_each(drop);
                let _ = payload(&bytes, &header);
            }
        }
    }
}
