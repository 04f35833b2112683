//! RTCP: reports (RFC 3550 §6), feedback (RFC 4585, RFC 5104), transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01), REMB (draft-alvestrand-rmcat-remb-03), and
//! extended reports as far as receivers learn the round trip from them (RFC 3611).

mod extended;
mod write;

#[cfg(test)]
mod tests;

use crate::reports::NtpTime;
use crate::{ParseError, be16, be32};

pub use extended::{Delay, Extended, ExtendedBlocks};
pub use write::{Arrivals, BufferFull, Writer};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APPLICATION_DEFINED: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

const NACK: u8 = 1;
const TRANSPORT_CC: u8 = 15;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all; 24 bits on the wire.
    pub cumulative_lost: i32,
    /// Extended highest sequence number.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 if none.
    pub last_sr: u32,
    /// Time since then, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// A sender report, without its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// Who sends.
    pub ssrc: u32,
    /// Wall clock of the report.
    pub ntp: NtpTime,
    /// The stream's timestamp at that moment.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
    /// What the sender receives.
    pub blocks: Blocks<'a>,
}

/// Iterates over report blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<24>()?;
        self.0 = rest;
        let word = |at: usize| be32(block, at).unwrap_or(0);
        // Sign-extends the lower 24 bits.
        let cumulative_lost = ((word(4) << 8) as i32) >> 8;
        Some(ReportBlock {
            ssrc: word(0),
            fraction_lost: block[4],
            cumulative_lost,
            highest_seq: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        })
    }
}

/// Iterates over the sequence numbers of a generic NACK.
#[derive(Clone, Copy, Debug)]
pub struct NackSeqs<'a> {
    entries: &'a [u8],
    base: u16,
    mask: u32,
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (entry, rest) = self.entries.split_first_chunk::<4>()?;
            self.entries = rest;
            self.base = u16::from_be_bytes([entry[0], entry[1]]);
            // Bit 0 is the base itself, bit n the nth after it.
            self.mask = u32::from(u16::from_be_bytes([entry[2], entry[3]])) << 1 | 1;
        }
        let bit = self.mask.trailing_zeros();
        self.mask &= self.mask - 1;
        Some(self.base.wrapping_add(bit as u16))
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// SR.
    SenderReport(SenderReport<'a>),
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// On what.
        blocks: Blocks<'a>,
    },
    /// SDES; its items aren't read.
    SourceDescription,
    /// BYE.
    Bye {
        /// The first of the sources that leave.
        ssrc: Option<u32>,
    },
    /// Generic NACK.
    Nack {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which stream.
        media_ssrc: u32,
        /// For which packets.
        entries: NackSeqs<'a>,
    },
    /// Picture loss indication.
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// A keyframe of which stream.
        media_ssrc: u32,
    },
    /// Full intra request.
    Fir {
        /// Who asks.
        sender_ssrc: u32,
        /// A keyframe of which stream, the first of those named.
        media_ssrc: Option<u32>,
    },
    /// Transport-wide feedback.
    TransportCc(TransportCc<'a>),
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Bit/s.
        bitrate_bps: u64,
    },
    /// XR.
    ExtendedReport {
        /// Who reports.
        ssrc: u32,
        /// What.
        blocks: ExtendedBlocks<'a>,
    },
    /// APP (RFC 3550 §6.7): what its name says.
    Application {
        /// Who sends.
        ssrc: u32,
        /// Kind of packet under the name, below 32.
        subtype: u8,
        /// Whose packet it is.
        name: [u8; 4],
        /// What is in it; whole words of four bytes.
        data: &'a [u8],
    },
    /// Anything else.
    Unknown,
}

/// Transport-wide feedback.
#[derive(Clone, Copy, Debug)]
pub struct TransportCc<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// First transport-wide number reported on.
    pub base: u16,
    /// How many are.
    pub count: u16,
    /// Reference time of the first arrival, in 64 ms.
    pub reference_time: u32,
    /// Number of the feedback.
    pub feedback_count: u8,
    chunks: &'a [u8],
}

/// The packets of a compound. Ends after the first that is cut off.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

/// Reads a compound packet, or a reduced-size one (RFC 5506).
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = split(self.rest).and_then(|(packet, rest)| {
            self.rest = rest;
            parse(packet)
        });
        if result.is_err() {
            self.rest = &[];
        }
        Some(result)
    }
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    if bytes.first().is_none_or(|b| b >> 6 != 2) {
        return Err(ParseError::Invalid);
    }
    let len = 4 * (usize::from(be16(bytes, 2)?) + 1);
    bytes.split_at_checked(len).ok_or(ParseError::Truncated)
}

fn parse(packet: &[u8]) -> Result<Packet<'_>, ParseError> {
    let [first, kind, ..] = *packet else {
        return Err(ParseError::Truncated);
    };
    let count = first & 0x1f;
    let body = unpadded(packet, first & 0x20 != 0)?;
    match (kind, count) {
        (SENDER_REPORT, blocks) => Ok(Packet::SenderReport(SenderReport {
            ssrc: be32(body, 0)?,
            ntp: NtpTime(u64::from(be32(body, 4)?) << 32 | u64::from(be32(body, 8)?)),
            rtp_timestamp: be32(body, 12)?,
            packets: be32(body, 16)?,
            octets: be32(body, 20)?,
            blocks: report_blocks(body, 24, blocks)?,
        })),
        (RECEIVER_REPORT, blocks) => Ok(Packet::ReceiverReport {
            ssrc: be32(body, 0)?,
            blocks: report_blocks(body, 4, blocks)?,
        }),
        (SOURCE_DESCRIPTION, _) => Ok(Packet::SourceDescription),
        (BYE, _) => Ok(Packet::Bye {
            ssrc: be32(body, 0).ok(),
        }),
        (APPLICATION_DEFINED, subtype) => Ok(Packet::Application {
            ssrc: be32(body, 0)?,
            subtype,
            name: be32(body, 4)?.to_be_bytes(),
            data: body.get(8..).unwrap_or_default(),
        }),
        (TRANSPORT_FEEDBACK, NACK) => Ok(Packet::Nack {
            sender_ssrc: be32(body, 0)?,
            media_ssrc: be32(body, 4)?,
            entries: NackSeqs {
                entries: body.get(8..).unwrap_or_default(),
                base: 0,
                mask: 0,
            },
        }),
        (TRANSPORT_FEEDBACK, TRANSPORT_CC) => parse_transport_cc(body),
        (PAYLOAD_FEEDBACK, PLI) => Ok(Packet::Pli {
            sender_ssrc: be32(body, 0)?,
            media_ssrc: be32(body, 4)?,
        }),
        (PAYLOAD_FEEDBACK, FIR) => Ok(Packet::Fir {
            sender_ssrc: be32(body, 0)?,
            media_ssrc: be32(body, 8).ok(),
        }),
        (PAYLOAD_FEEDBACK, APPLICATION) => Ok(parse_remb(body)),
        (EXTENDED_REPORT, _) => Ok(Packet::ExtendedReport {
            ssrc: be32(body, 0)?,
            blocks: ExtendedBlocks::of(body.get(4..).unwrap_or_default()),
        }),
        _ => Ok(Packet::Unknown),
    }
}

/// The packet after its common header, without padding.
fn unpadded(packet: &[u8], padded: bool) -> Result<&[u8], ParseError> {
    let body = packet.get(4..).ok_or(ParseError::Truncated)?;
    if !padded {
        return Ok(body);
    }
    let padding = usize::from(*body.last().ok_or(ParseError::Truncated)?);
    let len = body.len().checked_sub(padding).ok_or(ParseError::Invalid)?;
    Ok(&body[..len])
}

fn report_blocks(body: &[u8], at: usize, count: u8) -> Result<Blocks<'_>, ParseError> {
    let end = at + 24 * usize::from(count);
    body.get(at..end).map(Blocks).ok_or(ParseError::Truncated)
}

fn parse_transport_cc(body: &[u8]) -> Result<Packet<'_>, ParseError> {
    let time = be32(body, 12)?;
    Ok(Packet::TransportCc(TransportCc {
        sender_ssrc: be32(body, 0)?,
        base: be16(body, 8)?,
        count: be16(body, 10)?,
        reference_time: time >> 8,
        feedback_count: time as u8,
        chunks: body.get(16..).unwrap_or_default(),
    }))
}

fn parse_remb(body: &[u8]) -> Packet<'_> {
    let (Some(b"REMB"), Ok(word)) = (body.get(8..12), be32(body, 12)) else {
        return Packet::Unknown;
    };
    let (exponent, mantissa) = (word >> 18 & 0x3f, u64::from(word & 0x3_ffff));
    let bitrate_bps = mantissa.checked_shl(exponent).unwrap_or(u64::MAX);
    Packet::Remb { bitrate_bps }
}

impl TransportCc<'_> {
    /// What is reported of each number: none if lost, else the time since the one before it (or
    /// since the reference time), in 250 µs.
    ///
    /// # Errors
    /// If it is cut off.
    pub fn arrivals(&self, mut each: impl FnMut(u16, Option<i16>)) -> Result<(), ParseError> {
        let mut symbols = SymbolReader {
            chunks: self.chunks,
            left: usize::from(self.count),
            pending: (0, 0),
            run: (0, 0),
        };
        // Deltas follow the chunks, so the chunks are read twice.
        let mut chunks_len = 0;
        let mut left = usize::from(self.count);
        while left > 0 {
            let chunk = be16(self.chunks, chunks_len)?;
            left = left.saturating_sub(symbols_of(chunk));
            chunks_len += 2;
        }
        let mut deltas = self.chunks.get(chunks_len..).ok_or(ParseError::Truncated)?;
        let mut seq = self.base;
        while let Some(symbol) = symbols.next() {
            let delta = match symbol {
                1 => {
                    let (&delta, rest) = deltas.split_first().ok_or(ParseError::Truncated)?;
                    deltas = rest;
                    Some(i16::from(delta))
                }
                2 => {
                    let (delta, rest) = deltas.split_first_chunk().ok_or(ParseError::Truncated)?;
                    deltas = rest;
                    Some(i16::from_be_bytes(*delta))
                }
                _ => None,
            };
            each(seq, delta);
            seq = seq.wrapping_add(1);
        }
        Ok(())
    }
}

fn symbols_of(chunk: u16) -> usize {
    match chunk >> 14 {
        0 | 1 => usize::from(chunk & 0x1fff).max(1),
        2 => 14,
        _ => 7,
    }
}

struct SymbolReader<'a> {
    chunks: &'a [u8],
    left: usize,
    /// Status vector: bits still to be read (left-aligned in 16) with their count.
    pending: (u16, usize),
    /// Run: symbol and how many are left.
    run: (u8, usize),
}

impl SymbolReader<'_> {
    fn next(&mut self) -> Option<u8> {
        if self.left == 0 {
            return None;
        }
        if self.run.1 == 0 && self.pending.1 == 0 {
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            let chunk = u16::from_be_bytes(*chunk);
            match chunk >> 14 {
                0 | 1 => self.run = ((chunk >> 13 & 3) as u8, usize::from(chunk & 0x1fff).max(1)),
                2 => self.pending = (chunk << 2, 14 | ONE_BIT),
                _ => self.pending = (chunk << 2, 7),
            }
        }
        self.left -= 1;
        if self.run.1 > 0 {
            self.run.1 -= 1;
            return Some(self.run.0);
        }
        let bits = if self.pending.1 & ONE_BIT != 0 { 1 } else { 2 };
        let symbol = (self.pending.0 >> (16 - bits)) as u8;
        self.pending.0 <<= bits;
        self.pending.1 -= 1;
        if self.pending.1 == ONE_BIT {
            self.pending.1 = 0;
        }
        Some(symbol)
    }
}

/// Marks a status vector of one-bit symbols.
const ONE_BIT: usize = 1 << 8;
