//! The two transforms: counter mode AES with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1) and AES-GCM
//! (RFC 7714). Lengths were checked by [`super::Sender`] and [`super::Receiver`].

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use super::kdf::{apply_keystream, counter_mode};
use super::{RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN, SrtpError, word_at};

pub(super) const GCM_TAG_LEN: usize = 16;
const CM_TAG_LEN: usize = 10;

/// The session keys of one direction and protocol.
pub(super) enum Cipher {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

pub(super) struct Cm {
    key: EncryptingKey,
    authentication: hmac::Key,
    salt: [u8; 14],
}

impl Cipher {
    #[inline]
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm(_) => GCM_TAG_LEN,
            Cipher::Cm(_) => CM_TAG_LEN,
        }
    }

    /// Seals a packet that ends with room for the tag.
    #[inline]
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (body, tag) = packet.split_at_mut(packet.len() - self.tag_len());
        match self {
            Cipher::Gcm(gcm) => {
                let (header, payload) = body.split_at_mut(header_len);
                gcm.seal(ssrc, index, header, payload, tag)
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, index, &mut body[header_len..]);
                tag.copy_from_slice(&cm.tag(body, &roll_over_counter(index)));
                Ok(())
            }
        }
    }

    /// Opens a packet that ends with the tag; its length without.
    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let len = packet.len() - self.tag_len();
        match self {
            Cipher::Gcm(gcm) => {
                let (header, sealed) = packet.split_at_mut(header_len);
                gcm.open(ssrc, index, header, sealed)?;
            }
            Cipher::Cm(cm) => {
                let (body, tag) = packet.split_at_mut(len);
                cm.verify(body, &roll_over_counter(index), tag)?;
                cm.apply(ssrc, index, &mut body[header_len..]);
            }
        }
        Ok(len)
    }

    /// Seals the first `len` bytes of a packet that ends with room for tag and index. GCM puts
    /// the index after the tag, so that both are at the end of what is authenticated (RFC 7714
    /// §9.2); RFC 3711 §3.4 puts the tag last.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<(), SrtpError> {
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        match self {
            Cipher::Gcm(gcm) => {
                let (body, trailer) = packet.split_at_mut(len);
                let (tag, index_word) = trailer.split_at_mut(GCM_TAG_LEN);
                let (clear, sealed) = body.split_at_mut(RTCP_CLEAR_LEN);
                index_word.copy_from_slice(&word);
                gcm.seal(ssrc, index.into(), &rtcp_aad(clear, &word), sealed, tag)
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, index.into(), &mut packet[RTCP_CLEAR_LEN..len]);
                let (body, tag) = packet.split_at_mut(len + RTCP_INDEX_LEN);
                body[len..].copy_from_slice(&word);
                tag.copy_from_slice(&cm.tag(body, &[]));
                Ok(())
            }
        }
    }

    /// The word of an SRTCP packet that holds E flag and index.
    pub(super) fn rtcp_index_word(&self, packet: &[u8]) -> u32 {
        let end = match self {
            Cipher::Gcm(_) => packet.len(),
            Cipher::Cm(_) => packet.len() - CM_TAG_LEN,
        };
        word_at(packet, end - RTCP_INDEX_LEN)
    }

    /// Opens an SRTCP packet; its length without tag and index.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let len = packet.len() - self.tag_len() - RTCP_INDEX_LEN;
        match self {
            Cipher::Gcm(gcm) => {
                let (body, word) = packet.split_at_mut(len + GCM_TAG_LEN);
                let (clear, sealed) = body.split_at_mut(RTCP_CLEAR_LEN);
                gcm.open(ssrc, index.into(), &rtcp_aad(clear, word), sealed)?;
            }
            Cipher::Cm(cm) => {
                let (body, tag) = packet.split_at_mut(len + RTCP_INDEX_LEN);
                cm.verify(body, &[], tag)?;
                cm.apply(ssrc, index.into(), &mut body[RTCP_CLEAR_LEN..len]);
            }
        }
        Ok(len)
    }
}

impl Gcm {
    pub(super) fn new(key: &[u8; 16], salt: [u8; 12]) -> Gcm {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("an AES-128 key has 16 bytes");
        Gcm {
            key: LessSafeKey::new(key),
            salt,
        }
    }

    /// RFC 7714 §8.1, §9.1: SSRC and index, right-aligned, XOR the salt.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..], ssrc, index);
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn seal(
        &self,
        ssrc: u32,
        index: u64,
        aad: &[u8],
        plain: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        let made = self
            .key
            .seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), plain)
            .map_err(|_| SrtpError::Exhausted)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    #[inline]
    fn open(&self, ssrc: u32, index: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), SrtpError> {
        self.key
            .open_in_place(self.nonce(ssrc, index), Aad::from(aad), sealed)
            .map(|_| ())
            .map_err(|_| SrtpError::Authentication)
    }
}

impl Cm {
    pub(super) fn new(key: &[u8; 16], authentication: &[u8; 20], salt: [u8; 14]) -> Cm {
        Cm {
            key: counter_mode(key),
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
            salt,
        }
    }

    /// Encrypts or decrypts: the same in counter mode (RFC 3711 §4.1.1).
    #[inline]
    fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..14], ssrc, index);
        apply_keystream(&self.key, iv, data);
    }

    #[inline]
    fn tag(&self, body: &[u8], suffix: &[u8]) -> [u8; CM_TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.authentication);
        context.update(body);
        context.update(suffix);
        let whole = context.sign();
        let mut tag = [0; CM_TAG_LEN];
        tag.copy_from_slice(&whole.as_ref()[..CM_TAG_LEN]);
        tag
    }

    #[inline]
    fn verify(&self, body: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        if bool::from(self.tag(body, suffix).ct_eq(tag)) {
            Ok(())
        } else {
            Err(SrtpError::Authentication)
        }
    }
}

/// XORs SSRC and 48-bit index, ten bytes, into `out`: what both transforms do with their salt.
#[inline]
fn xor(out: &mut [u8], ssrc: u32, index: u64) {
    let ssrc = ssrc.to_be_bytes();
    let index = index.to_be_bytes();
    for (out, value) in out.iter_mut().zip(ssrc.iter().chain(&index[2..])) {
        *out ^= value;
    }
}

/// What the HMAC of an RTP packet covers besides the packet (RFC 3711 §4.2).
#[inline]
fn roll_over_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 §9.2: the clear header, then the word with E flag and index.
fn rtcp_aad(clear: &[u8], index_word: &[u8]) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(index_word);
    aad
}
