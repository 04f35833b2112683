//! Writing compound packets into a caller's buffer.

use super::{
    APPLICATION_DEFINED, BYE, NACK, PAYLOAD_FEEDBACK, PLI, RECEIVER_REPORT, ReportBlock,
    SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_CC, TRANSPORT_FEEDBACK,
};
use crate::reports::NtpTime;

/// What transport-wide feedback says of consecutive numbers, for [`Writer::transport_cc`].
#[derive(Clone, Copy, Debug)]
pub struct Arrivals<'a> {
    /// First transport-wide number reported on.
    pub base: u16,
    /// Reference time of the first arrival, in 64 ms; 24 bits.
    pub reference_time: u32,
    /// Number of the feedback.
    pub feedback_count: u8,
    /// One for each number: 0 it did not come, 1 its delta fits a byte, 2 it does not.
    pub symbols: &'a [u8],
    /// Of each that came, the time since the one before it, in 250 µs.
    pub deltas: &'a [i16],
}

/// The buffer has no room for another packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFull;

/// Writes a compound packet into a buffer. A packet that doesn't fit leaves what was written before.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// An empty compound.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Length of the compound.
    pub fn finish(self) -> usize {
        self.len
    }

    /// Bytes that are left.
    pub fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Writes an SR without blocks.
    ///
    /// # Errors
    /// If there is no room.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        ntp: NtpTime,
        rtp_timestamp: u32,
        packets: u32,
        octets: u32,
    ) -> Result<(), BufferFull> {
        let words = [
            ssrc,
            (ntp.0 >> 32) as u32,
            ntp.0 as u32,
            rtp_timestamp,
            packets,
            octets,
        ];
        self.words(SENDER_REPORT, 0, words)
    }

    /// Writes an RR with up to 31 blocks; those beyond are left out.
    ///
    /// # Errors
    /// If there is no room.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), BufferFull> {
        let blocks = &blocks[..blocks.len().min(31)];
        let words = blocks.iter().flat_map(|b| {
            let lost = b.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
            let loss = u32::from(b.fraction_lost) << 24 | lost;
            [
                b.ssrc,
                loss,
                b.highest_seq,
                b.jitter,
                b.last_sr,
                b.delay_since_last_sr,
            ]
        });
        self.words(
            RECEIVER_REPORT,
            blocks.len() as u8,
            std::iter::once(ssrc).chain(words),
        )
    }

    /// Writes an SDES with a CNAME (of at most 255 bytes).
    ///
    /// # Errors
    /// If there is no room.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Result<(), BufferFull> {
        let name = cname
            .as_bytes()
            .get(..cname.len().min(255))
            .unwrap_or_default();
        // At least one zero byte ends the items.
        let item_len = (2 + name.len() + 1).next_multiple_of(4);
        let packet = self.packet(SOURCE_DESCRIPTION, 1, 4 + item_len)?;
        packet[..4].copy_from_slice(&ssrc.to_be_bytes());
        packet[4..].fill(0);
        packet[4] = 1;
        packet[5] = name.len() as u8;
        packet[6..6 + name.len()].copy_from_slice(name);
        Ok(())
    }

    /// Writes a generic NACK; neighbours share an entry.
    ///
    /// # Errors
    /// If there is no room.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        seqs: &[u16],
    ) -> Result<(), BufferFull> {
        let entries = || NackEntries { seqs };
        let count = entries().count();
        let packet = self.packet(TRANSPORT_FEEDBACK, NACK, 8 + 4 * count)?;
        packet[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        packet[4..8].copy_from_slice(&media_ssrc.to_be_bytes());
        for (room, (base, mask)) in packet[8..].chunks_exact_mut(4).zip(entries()) {
            room[..2].copy_from_slice(&base.to_be_bytes());
            room[2..].copy_from_slice(&mask.to_be_bytes());
        }
        Ok(())
    }

    /// Writes a PLI.
    ///
    /// # Errors
    /// If there is no room.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), BufferFull> {
        self.words(PAYLOAD_FEEDBACK, PLI, [sender_ssrc, media_ssrc])
    }

    /// Writes transport-wide feedback; see [`crate::twcc::Recorder`].
    ///
    /// # Errors
    /// If there is no room.
    pub fn transport_cc(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        arrivals: &Arrivals<'_>,
    ) -> Result<(), BufferFull> {
        let Arrivals {
            base,
            reference_time,
            feedback_count,
            symbols,
            deltas,
        } = *arrivals;
        let chunks = symbols.len().div_ceil(7);
        let delta_len: usize = deltas.iter().map(|d| if small(*d) { 1 } else { 2 }).sum();
        let unpadded = 16 + 2 * chunks + delta_len;
        let len = unpadded.next_multiple_of(4);
        let start = self.len;
        let packet = self.packet(TRANSPORT_FEEDBACK, TRANSPORT_CC, len)?;
        packet[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        packet[4..8].copy_from_slice(&media_ssrc.to_be_bytes());
        packet[8..10].copy_from_slice(&base.to_be_bytes());
        packet[10..12].copy_from_slice(&(symbols.len() as u16).to_be_bytes());
        let time = reference_time << 8 | u32::from(feedback_count);
        packet[12..16].copy_from_slice(&time.to_be_bytes());
        for (room, seven) in packet[16..].chunks_exact_mut(2).zip(symbols.chunks(7)) {
            let mut chunk = 0xc000u16;
            for (i, symbol) in seven.iter().enumerate() {
                chunk |= u16::from(*symbol) << (12 - 2 * i);
            }
            room.copy_from_slice(&chunk.to_be_bytes());
        }
        let mut at = 16 + 2 * chunks;
        for delta in deltas {
            let bytes = delta.to_be_bytes();
            let bytes = if small(*delta) {
                &bytes[1..]
            } else {
                &bytes[..]
            };
            packet[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        packet[unpadded..].fill(0);
        if let Some(last) = packet[unpadded..].last_mut() {
            *last = (len - unpadded) as u8;
            self.buffer[start] |= 0x20;
        }
        Ok(())
    }

    /// Writes an APP packet (RFC 3550 §6.7). `data` is filled up with zeros to whole words of four bytes, so that it
    /// must say itself where it ends; of `subtype` the lower five bits count.
    ///
    /// # Errors
    /// If there is no room.
    pub fn application(
        &mut self,
        ssrc: u32,
        subtype: u8,
        name: [u8; 4],
        data: &[&[u8]],
    ) -> Result<(), BufferFull> {
        let len: usize = data.iter().map(|part| part.len()).sum();
        let body = 8 + len.next_multiple_of(4);
        let packet = self.packet(APPLICATION_DEFINED, subtype & 0x1f, body)?;
        packet.fill(0);
        packet[..4].copy_from_slice(&ssrc.to_be_bytes());
        packet[4..8].copy_from_slice(&name);
        let mut at = 8;
        for part in data {
            packet[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    /// Writes a BYE.
    ///
    /// # Errors
    /// If there is no room.
    pub fn bye(&mut self, ssrc: u32) -> Result<(), BufferFull> {
        self.words(BYE, 1, [ssrc])
    }

    pub(super) fn words(
        &mut self,
        kind: u8,
        count: u8,
        words: impl IntoIterator<Item = u32, IntoIter: Clone>,
    ) -> Result<(), BufferFull> {
        let words = words.into_iter();
        let packet = self.packet(kind, count, 4 * words.clone().count())?;
        for (room, word) in packet.chunks_exact_mut(4).zip(words) {
            room.copy_from_slice(&word.to_be_bytes());
        }
        Ok(())
    }

    /// Writes a common header, and gives the room for what follows it.
    fn packet(&mut self, kind: u8, count: u8, body: usize) -> Result<&mut [u8], BufferFull> {
        let end = self.len + 4 + body;
        let packet = self.buffer.get_mut(self.len..end).ok_or(BufferFull)?;
        packet[0] = 0x80 | count;
        packet[1] = kind;
        packet[2..4].copy_from_slice(&((body / 4) as u16).to_be_bytes());
        self.len = end;
        Ok(&mut packet[4..])
    }
}

/// Whether a delta fits one byte.
fn small(delta: i16) -> bool {
    (0..256).contains(&delta)
}

/// Groups sequence numbers into NACK entries: base, and a mask of the 16 after it.
struct NackEntries<'a> {
    seqs: &'a [u16],
}

impl Iterator for NackEntries<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let (&base, mut rest) = self.seqs.split_first()?;
        let mut mask = 0;
        while let Some((&seq, after)) = rest.split_first() {
            let distance = seq.wrapping_sub(base);
            if !(1..=16).contains(&distance) {
                break;
            }
            mask |= 1 << (distance - 1);
            rest = after;
        }
        self.seqs = rest;
        Some((base, mask))
    }
}
