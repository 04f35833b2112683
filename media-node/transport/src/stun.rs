//! STUN Binding (RFC 8489) as ICE uses it (RFC 8445 §7): reading requests and writing answers into
//! the caller's buffer, without allocation.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

/// Marks a STUN message since RFC 5389.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

const HEADER: usize = 20;
const INTEGRITY: usize = 4 + 20;
const FINGERPRINT: usize = 8;

mod attribute {
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
}

/// Kinds of Binding messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asks.
    Request,
    /// Needs no answer.
    Indication,
    /// Answers.
    Success,
    /// Refuses.
    Error,
}

impl Class {
    const fn message_type(self) -> u16 {
        match self {
            Self::Request => 0x0001,
            Self::Indication => 0x0011,
            Self::Success => 0x0101,
            Self::Error => 0x0111,
        }
    }

    fn from_message_type(value: u16) -> Option<Self> {
        [Self::Request, Self::Indication, Self::Success, Self::Error]
            .into_iter()
            .find(|c| c.message_type() == value)
    }
}

/// Pairs an answer with its request.
pub type TransactionId = [u8; 12];

/// Why bytes are not a STUN message that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Not a STUN Binding message, or cut off.
    #[error("not a STUN Binding message")]
    Malformed,
    /// MESSAGE-INTEGRITY or FINGERPRINT is absent or wrong.
    #[error("the message's integrity is not proven")]
    Integrity,
    /// The buffer for the answer is too small.
    #[error("the buffer is too small")]
    BufferTooSmall,
}

/// A Binding message, as far as ICE is interested in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Request, answer …
    pub class: Class,
    /// Pairs answer and request.
    pub transaction_id: TransactionId,
    /// USERNAME as sent: receiver's fragment, colon, sender's fragment.
    pub username: Option<&'a str>,
    /// The sender nominates this path.
    pub use_candidate: bool,
    /// The sender thinks that it is controlled, and gives this tie-breaker.
    pub controlled: Option<u64>,
    /// XOR-MAPPED-ADDRESS of an answer.
    pub mapped: Option<SocketAddr>,
    /// Code of an error answer.
    pub error_code: Option<u16>,
    /// The first attribute that must be understood and isn't.
    pub unknown_attribute: Option<u16>,
    bytes: &'a [u8],
    integrity_at: Option<usize>,
    fingerprint_at: Option<usize>,
}

/// Whether a datagram looks like STUN (RFC 7983).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4 && be32(datagram, 4) == Some(MAGIC_COOKIE)
}

/// The receiver's and the sender's fragment in the USERNAME of a request. Proves nothing yet: it
/// only says with whose password to check.
pub fn username(datagram: &[u8]) -> Option<(&str, &str)> {
    Message::parse(datagram).ok()?.username?.split_once(':')
}

impl<'a> Message<'a> {
    /// Reads a Binding message. Attributes after MESSAGE-INTEGRITY are ignored, as they are not
    /// protected (RFC 8489 §14.5).
    ///
    /// # Errors
    /// If it isn't one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let malformed = StunError::Malformed;
        if !is_stun(bytes) {
            return Err(malformed);
        }
        let class = be16(bytes, 0)
            .and_then(Class::from_message_type)
            .ok_or(malformed)?;
        let len = be16(bytes, 2).map(usize::from).ok_or(malformed)?;
        if HEADER + len != bytes.len() || len % 4 != 0 {
            return Err(malformed);
        }
        let mut message = Self {
            class,
            transaction_id: bytes[8..].first_chunk().copied().ok_or(malformed)?,
            username: None,
            use_candidate: false,
            controlled: None,
            mapped: None,
            error_code: None,
            unknown_attribute: None,
            bytes,
            integrity_at: None,
            fingerprint_at: None,
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let (kind, len) = be16(bytes, at).zip(be16(bytes, at + 2)).ok_or(malformed)?;
            let start = at + 4;
            let value = bytes
                .get(start..start + usize::from(len))
                .ok_or(malformed)?;
            message.take(kind, value, at)?;
            at = start + usize::from(len).next_multiple_of(4);
        }
        Ok(message)
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), StunError> {
        if self.fingerprint_at.is_some() {
            return Err(StunError::Malformed); // FINGERPRINT is the last
        }
        if self.integrity_at.is_some() && kind != attribute::FINGERPRINT {
            return Ok(());
        }
        match kind {
            attribute::USERNAME => {
                let text = std::str::from_utf8(value).map_err(|_| StunError::Malformed)?;
                self.username.get_or_insert(text);
            }
            attribute::MESSAGE_INTEGRITY if value.len() == 20 => self.integrity_at = Some(at),
            attribute::FINGERPRINT if value.len() == 4 => self.fingerprint_at = Some(at),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLED => {
                self.controlled = value.first_chunk().map(|b| u64::from_be_bytes(*b));
            }
            attribute::XOR_MAPPED_ADDRESS => {
                self.mapped = unxor_address(value, &self.transaction_id);
            }
            attribute::ERROR_CODE => {
                self.error_code = value
                    .get(2..4)
                    .map(|c| u16::from(c[0] & 7) * 100 + u16::from(c[1]));
            }
            attribute::PRIORITY | attribute::UNKNOWN_ATTRIBUTES => {}
            // 0x0000 to 0x7fff must be understood (RFC 8489 §14).
            unknown if unknown < 0x8000 => {
                self.unknown_attribute.get_or_insert(unknown);
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks MESSAGE-INTEGRITY with a password, and FINGERPRINT.
    ///
    /// # Errors
    /// If either is absent or wrong.
    pub fn verify(&self, password: &str) -> Result<(), StunError> {
        let integrity = StunError::Integrity;
        let at = self.fingerprint_at.ok_or(integrity)?;
        let crc = be32(self.bytes, at + 4).ok_or(integrity)?;
        if crc != fingerprint(&self.bytes[..at]) {
            return Err(integrity);
        }
        let at = self.integrity_at.ok_or(integrity)?;
        let tag = self.bytes.get(at + 4..at + INTEGRITY).ok_or(integrity)?;
        let mut context = hmac::Context::with_key(&integrity_key(password));
        // The length that was in the header when the tag was made: up to the tag itself.
        let len = ((at + INTEGRITY - HEADER) as u16).to_be_bytes();
        context.update(&self.bytes[..2]);
        context.update(&len);
        context.update(&self.bytes[4..at]);
        let expected = context.sign();
        let equal = subtle::ConstantTimeEq::ct_eq(expected.as_ref(), tag);
        bool::from(equal).then_some(()).ok_or(integrity)
    }
}

fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// Writes a Binding message into a buffer.
pub struct Builder<'a> {
    bytes: &'a mut [u8],
    len: usize,
    transaction_id: TransactionId,
}

impl<'a> Builder<'a> {
    /// Begins a message.
    ///
    /// # Errors
    /// If there is no room.
    pub fn new(
        bytes: &'a mut [u8],
        class: Class,
        transaction_id: TransactionId,
    ) -> Result<Self, StunError> {
        let header = bytes.get_mut(..HEADER).ok_or(StunError::BufferTooSmall)?;
        header[..2].copy_from_slice(&class.message_type().to_be_bytes());
        header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        header[8..].copy_from_slice(&transaction_id);
        Ok(Self {
            bytes,
            len: HEADER,
            transaction_id,
        })
    }

    /// USERNAME of a request from `from` to `to`.
    ///
    /// # Errors
    /// If there is no room.
    pub fn username(self, to: &str, from: &str) -> Result<Self, StunError> {
        self.attribute(attribute::USERNAME, &[to.as_bytes(), b":", from.as_bytes()])
    }

    /// PRIORITY.
    ///
    /// # Errors
    /// If there is no room.
    pub fn priority(self, priority: u32) -> Result<Self, StunError> {
        self.attribute(attribute::PRIORITY, &[&priority.to_be_bytes()])
    }

    /// ICE-CONTROLLING.
    ///
    /// # Errors
    /// If there is no room.
    pub fn controlling(self, tie_breaker: u64) -> Result<Self, StunError> {
        self.attribute(attribute::ICE_CONTROLLING, &[&tie_breaker.to_be_bytes()])
    }

    /// ICE-CONTROLLED.
    ///
    /// # Errors
    /// If there is no room.
    pub fn controlled(self, tie_breaker: u64) -> Result<Self, StunError> {
        self.attribute(attribute::ICE_CONTROLLED, &[&tie_breaker.to_be_bytes()])
    }

    /// USE-CANDIDATE.
    ///
    /// # Errors
    /// If there is no room.
    pub fn use_candidate(self) -> Result<Self, StunError> {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    ///
    /// # Errors
    /// If there is no room.
    pub fn mapped(self, addr: SocketAddr) -> Result<Self, StunError> {
        let port = (addr.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
        let mask = address_mask(&self.transaction_id);
        match addr.ip() {
            IpAddr::V4(ip) => {
                let ip = xor(ip.octets(), &mask);
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &ip])
            }
            IpAddr::V6(ip) => {
                let ip = xor(ip.octets(), &mask);
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &ip])
            }
        }
    }

    /// ERROR-CODE with its reason.
    ///
    /// # Errors
    /// If there is no room.
    pub fn error(self, code: u16, reason: &str) -> Result<Self, StunError> {
        let head = [0, 0, (code / 100) as u8, (code % 100) as u8];
        self.attribute(attribute::ERROR_CODE, &[&head, reason.as_bytes()])
    }

    /// UNKNOWN-ATTRIBUTES with one of them.
    ///
    /// # Errors
    /// If there is no room.
    pub fn unknown_attribute(self, attribute: u16) -> Result<Self, StunError> {
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &[&attribute.to_be_bytes()])
    }

    /// Closes the message with MESSAGE-INTEGRITY and FINGERPRINT; its length.
    ///
    /// # Errors
    /// If there is no room.
    pub fn finish(mut self, password: &str) -> Result<usize, StunError> {
        self.set_length(INTEGRITY);
        let tag = hmac::sign(&integrity_key(password), &self.bytes[..self.len]);
        self = self.attribute(attribute::MESSAGE_INTEGRITY, &[tag.as_ref()])?;
        self.set_length(FINGERPRINT);
        let crc = fingerprint(&self.bytes[..self.len]);
        self = self.attribute(attribute::FINGERPRINT, &[&crc.to_be_bytes()])?;
        Ok(self.len)
    }

    /// An attribute that nobody knows.
    #[cfg(test)]
    pub(crate) fn attribute_for_test(self, kind: u16) -> Result<Self, StunError> {
        self.attribute(kind, &[b"test"])
    }

    /// Sets the header's length as if `more` bytes followed.
    fn set_length(&mut self, more: usize) {
        let len = (self.len - HEADER + more) as u16;
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
    }

    fn attribute(mut self, kind: u16, parts: &[&[u8]]) -> Result<Self, StunError> {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let end = self.len + 4 + len.next_multiple_of(4);
        let room = self
            .bytes
            .get_mut(self.len..end)
            .ok_or(StunError::BufferTooSmall)?;
        room.fill(0);
        room[..2].copy_from_slice(&kind.to_be_bytes());
        room[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let mut at = 4;
        for part in parts {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.len = end;
        Ok(self)
    }
}

fn address_mask(transaction_id: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction_id);
    mask
}

fn xor<const N: usize>(mut bytes: [u8; N], mask: &[u8; 16]) -> [u8; N] {
    for (b, m) in bytes.iter_mut().zip(mask) {
        *b ^= m;
    }
    bytes
}

fn unxor_address(value: &[u8], transaction_id: &TransactionId) -> Option<SocketAddr> {
    let port = be16(value, 2)? ^ (MAGIC_COOKIE >> 16) as u16;
    let mask = address_mask(transaction_id);
    let ip = match value.get(1)? {
        1 => IpAddr::from(xor(*value.get(4..)?.first_chunk::<4>()?, &mask)),
        2 => IpAddr::from(xor(*value.get(4..)?.first_chunk::<16>()?, &mask)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// CRC-32 of the bytes before FINGERPRINT, marked as STUN's (RFC 8489 §14.7).
fn fingerprint(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    });
    !crc ^ 0x5354_554e
}

/// Of the polynomial of ISO/IEC 13239, reflected.
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = *b"transaction!";

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(fingerprint(b"123456789") ^ 0x5354_554e, 0xcbf4_3926);
    }

    /// RFC 5769 §2.1.
    #[test]
    fn the_sample_request_of_the_rfc_verifies() {
        let bytes = [
            0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
            0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e,
            0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24,
            0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1,
            0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68,
            0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c,
            0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5,
            0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
        ];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.username, Some("evtj:h6vY"));
        assert_eq!(message.controlled, Some(0x932f_f9b1_5126_3b36));
        assert_eq!(message.verify("VOkJxbRl1RmTxUk/WvJxBt"), Ok(()));
        assert_eq!(
            message.verify("VOkJxbRl1RmTxUk/WvJxBu"),
            Err(StunError::Integrity)
        );
    }

    /// RFC 5769 §2.2 and §2.3.
    #[test]
    fn the_sample_responses_of_the_rfc_verify() {
        let v4 = [
            0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
            0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
            0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
            0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99,
            0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b,
            0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
        ];
        let v6 = [
            0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
            0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
            0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02,
            0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
            0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6,
            0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41,
            0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
        ];
        for (bytes, mapped) in [
            (&v4[..], "192.0.2.1:32853"),
            (&v6[..], "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ] {
            let message = Message::parse(bytes).unwrap();
            assert_eq!(message.class, Class::Success);
            assert_eq!(message.mapped, mapped.parse().ok());
            assert_eq!(message.verify("VOkJxbRl1RmTxUk/WvJxBt"), Ok(()));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut buf = [0; 256];
        let len = Builder::new(&mut buf, Class::Request, ID)
            .and_then(|b| b.username("there", "here"))
            .and_then(|b| b.priority(7))
            .and_then(|b| b.controlling(9))
            .and_then(Builder::use_candidate)
            .and_then(|b| b.finish("secret"))
            .unwrap();
        let message = Message::parse(&buf[..len]).unwrap();
        assert_eq!(
            (message.class, message.transaction_id),
            (Class::Request, ID)
        );
        assert!(message.use_candidate && message.unknown_attribute.is_none());
        assert_eq!(message.verify("secret"), Ok(()));
        assert_eq!(username(&buf[..len]), Some(("there", "here")));
        for addr in ["192.0.2.1:32853", "[2001:db8::1]:32853"] {
            let addr = addr.parse().unwrap();
            let builder = Builder::new(&mut buf, Class::Success, ID).unwrap();
            let len = builder.mapped(addr).unwrap().finish("secret").unwrap();
            assert_eq!(Message::parse(&buf[..len]).unwrap().mapped, Some(addr));
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let mut buf = [0; 256];
        let builder = Builder::new(&mut buf, Class::Request, ID).unwrap();
        let len = builder
            .username("a", "b")
            .unwrap()
            .finish("secret")
            .unwrap();
        for at in 0..len {
            let mut bad = buf;
            bad[at] ^= 1;
            let verified = Message::parse(&bad[..len]).and_then(|m| m.verify("secret"));
            assert!(verified.is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_small_buffer_is_an_error() {
        for room in 0..60 {
            let mut buf = vec![0; room];
            let result = Builder::new(&mut buf, Class::Request, ID)
                .and_then(|b| b.username("there", "here"))
                .and_then(|b| b.finish("secret"));
            assert_eq!(result, Err(StunError::BufferTooSmall));
        }
    }
}
