//! SRTP and SRTCP (RFC 3711) with the two profiles that WebRTC peers agree on: AEAD_AES_128_GCM
//! (RFC 7714) and AES128_CM_HMAC_SHA1_80. Packets are sealed and opened in place; nothing here
//! allocates per packet, and key schedules are made once a session.
//!
//! A [`Sender`] doesn't count RTP packets: its caller gives the 48-bit index. A [`Receiver`]
//! keeps the state of RTCP sources; that of RTP streams ([`StreamState`]) belongs to its caller,
//! who knows the streams.

mod cipher;
mod kdf;
mod replay;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroize;

use cipher::Cipher;
use kdf::{RTCP, RTP};
pub use replay::StreamState;
use replay::Window;

/// The most bytes by which sealing makes a packet longer: tag and SRTCP index.
pub const MAX_OVERHEAD: usize = cipher::GCM_TAG_LEN + RTCP_INDEX_LEN;

/// The fixed part of an RTP header (RFC 3550 §5.1).
const RTP_HEADER_LEN: usize = 12;

/// What stays clear of an SRTCP packet (RFC 3711 §3.4): the first header and its sender's SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// The E flag and the 31-bit SRTCP index.
const RTCP_INDEX_LEN: usize = 4;
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// The most RTCP sources of one session. A source beyond them isn't heard: to forget one would
/// let its packets be replayed.
const MAX_RTCP_SOURCES: usize = 64;

/// A protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    Aes128CmHmacSha1_80,
}

impl Profile {
    const KEY_LEN: usize = 16;

    const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes of keying material that both directions need (RFC 5764 §4.2).
    pub const fn keying_material_len(self) -> usize {
        2 * (Self::KEY_LEN + self.salt_len())
    }
}

/// Why a packet was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The packet, the buffer or the keying material is shorter than its parts.
    #[error("packet or buffer too short")]
    TooShort,
    /// The packet was not made by the peer, or was changed on its way.
    #[error("authentication failed")]
    Authentication,
    /// The packet came before, or is too old to know.
    #[error("replayed or too old")]
    Replay,
    /// An SRTCP packet without encryption, which no DTLS-SRTP profile of ours allows.
    #[error("SRTCP packet is not encrypted")]
    NotEncrypted,
    /// More RTCP sources than a session may have.
    #[error("too many RTCP sources")]
    TooManySources,
    /// The keys have protected as many packets as they may (RFC 3711 §9.2).
    #[error("packet indices are used up")]
    Exhausted,
}

/// The master key and salt of one direction. The salt of GCM, 12 bytes, is followed by zeros, as
/// its key derivation wants (RFC 7714 §11).
#[derive(Clone)]
struct Master {
    key: [u8; Profile::KEY_LEN],
    salt: [u8; 14],
}

impl Drop for Master {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

/// The master keys of a session, both directions. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SrtpKeys {
    /// The profile that the handshake chose.
    pub profile: Profile,
    local: Master,
    remote: Master,
}

impl SrtpKeys {
    /// Cuts what DTLS exported (RFC 5764 §4.2: client key, server key, client salt, server salt)
    /// into the keys of the side that was `client` in the handshake, or of the other.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`] unless there are [`Profile::keying_material_len`] bytes.
    pub fn from_keying_material(
        profile: Profile,
        client: bool,
        material: &[u8],
    ) -> Result<SrtpKeys, SrtpError> {
        if material.len() < profile.keying_material_len() {
            return Err(SrtpError::TooShort);
        }
        let (keys, salts) = material.split_at(2 * Profile::KEY_LEN);
        let master = |side: usize| {
            let mut master = Master {
                key: [0; Profile::KEY_LEN],
                salt: [0; 14],
            };
            master
                .key
                .copy_from_slice(&keys[side * Profile::KEY_LEN..][..Profile::KEY_LEN]);
            let len = profile.salt_len();
            master.salt[..len].copy_from_slice(&salts[side * len..][..len]);
            master
        };
        let (local, remote) = if client {
            (master(0), master(1))
        } else {
            (master(1), master(0))
        };
        Ok(SrtpKeys {
            profile,
            local,
            remote,
        })
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeys")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Seals what we send.
pub struct Sender {
    rtp: Cipher,
    rtcp: Cipher,
    /// The index of the next RTCP packet. All our sources share it: each of them then has
    /// indices that only grow, which is what its receiver needs.
    rtcp_index: u32,
}

impl Sender {
    /// A sender with our side's keys.
    pub fn new(keys: &SrtpKeys) -> Sender {
        Sender {
            rtp: kdf::derive(keys.profile, &keys.local, RTP),
            rtcp: kdf::derive(keys.profile, &keys.local, RTCP),
            rtcp_index: 1,
        }
    }

    /// Seals in place the RTP packet `buf[..len]`, whose header is `header_len` bytes; its new
    /// length. `index` is the packet's 48-bit index, roll-over counter × 65536 + sequence number
    /// (RFC 3711 §3.3.1). **An index must not be used for two different packets of an SSRC**:
    /// with GCM that gives the keys away.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`] if `buf` has no room for the tag or the header is no RTP header,
    /// [`SrtpError::Exhausted`] if the index has more than 48 bits.
    #[inline]
    pub fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        if header_len < RTP_HEADER_LEN || header_len > len {
            return Err(SrtpError::TooShort);
        }
        if index >> 48 != 0 {
            return Err(SrtpError::Exhausted);
        }
        let sealed_len = len + self.rtp.tag_len();
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::TooShort)?;
        let ssrc = word_at(packet, 8);
        self.rtp.seal_rtp(packet, header_len, ssrc, index)?;
        Ok(sealed_len)
    }

    /// Seals in place the compound RTCP packet `buf[..len]`; its new length.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`] if `buf` has no room for tag and index or `len` is less than a
    /// header, [`SrtpError::Exhausted`] after 2³¹ packets.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::TooShort);
        }
        let sealed_len = len + self.rtcp.tag_len() + RTCP_INDEX_LEN;
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::TooShort)?;
        if self.rtcp_index >= RTCP_ENCRYPTED {
            return Err(SrtpError::Exhausted);
        }
        let ssrc = word_at(packet, 4);
        self.rtcp.seal_rtcp(packet, len, ssrc, self.rtcp_index)?;
        self.rtcp_index += 1;
        Ok(sealed_len)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("srtp::Sender").finish_non_exhaustive()
    }
}

/// An opened RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Length of header and payload; the tag is gone.
    pub len: usize,
    /// The packet's 48-bit index: roll-over counter × 65536 + sequence number.
    pub index: u64,
}

/// Opens what the peer sends.
pub struct Receiver {
    rtp: Cipher,
    rtcp: Cipher,
    rtcp_sources: Vec<(u32, Window)>,
}

impl Receiver {
    /// A receiver with the peer's keys.
    pub fn new(keys: &SrtpKeys) -> Receiver {
        Receiver {
            rtp: kdf::derive(keys.profile, &keys.remote, RTP),
            rtcp: kdf::derive(keys.profile, &keys.remote, RTCP),
            rtcp_sources: Vec::new(),
        }
    }

    /// Opens in place an RTP packet whose header is `header_len` bytes. `stream` is the state of
    /// the packet's SSRC; it changes only if the packet is authentic.
    ///
    /// # Errors
    /// [`SrtpError`] for what isn't an authentic, new packet; its payload may then be scrambled.
    #[inline]
    pub fn open_rtp(
        &self,
        stream: &mut StreamState,
        packet: &mut [u8],
        header_len: usize,
    ) -> Result<Opened, SrtpError> {
        if header_len < RTP_HEADER_LEN || packet.len() < header_len + self.rtp.tag_len() {
            return Err(SrtpError::TooShort);
        }
        let index = stream.index_of(u16::from_be_bytes([packet[2], packet[3]]))?;
        let ssrc = word_at(packet, 8);
        let len = self.rtp.open_rtp(packet, header_len, ssrc, index)?;
        stream.accept(index);
        Ok(Opened { len, index })
    }

    /// Opens in place a compound RTCP packet; its length without tag and index.
    ///
    /// # Errors
    /// [`SrtpError`] for what isn't an authentic, new packet; it may then be scrambled.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < RTCP_CLEAR_LEN + self.rtcp.tag_len() + RTCP_INDEX_LEN {
            return Err(SrtpError::TooShort);
        }
        let word = self.rtcp.rtcp_index_word(packet);
        if word & RTCP_ENCRYPTED == 0 {
            return Err(SrtpError::NotEncrypted);
        }
        let index = word & !RTCP_ENCRYPTED;
        let ssrc = word_at(packet, 4);
        let known = self
            .rtcp_sources
            .iter()
            .position(|(source, _)| *source == ssrc);
        match known {
            Some(at) => self.rtcp_sources[at].1.check(index.into())?,
            None if self.rtcp_sources.len() == MAX_RTCP_SOURCES => {
                return Err(SrtpError::TooManySources);
            }
            None => {}
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, index)?;
        match known {
            Some(at) => self.rtcp_sources[at].1.accept(index.into()),
            None => self
                .rtcp_sources
                .push((ssrc, Window::starting_at(index.into()))),
        }
        Ok(len)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("srtp::Receiver").finish_non_exhaustive()
    }
}

/// The big-endian word at `at`, in a packet whose length was checked.
#[inline]
fn word_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}
