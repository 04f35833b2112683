//! What the two sides tell each other in SDP to recognise one another.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, rand};

/// Characters that ufrag and password may consist of (RFC 8839 §5.4).
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 48 bits: also the key by which a node finds the session of a first packet.
const UFRAG_LEN: usize = 8;

/// 144 bits; RFC 8445 §5.3 wants 128 at least.
const PWD_LEN: usize = 24;

/// User name fragment and password of one side of ICE (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

impl IceCredentials {
    /// Random credentials.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    pub fn generate() -> IceCredentials {
        let mut random = [0; UFRAG_LEN + PWD_LEN];
        rand::fill(&mut random).expect("the system's source of randomness works");
        let (ufrag, pwd) = random.split_at(UFRAG_LEN);
        let text = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| ICE_CHARS[usize::from(byte & 63)] as char)
                .collect()
        };
        IceCredentials {
            ufrag: text(ufrag),
            pwd: text(pwd),
        }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 fingerprint of a certificate (RFC 8122 §5), written as `AA:BB:…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a DER-encoded certificate.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is not 32 pairs of hexadecimal digits with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 fingerprint")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(FingerprintError)?;
            // `from_str_radix` alone would take "+F".
            if pair.len() != 2 || !pair.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(FingerprintError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FingerprintError)?;
        }
        if pairs.next().is_some() {
            return Err(FingerprintError);
        }
        Ok(Fingerprint(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_fresh_valid_and_not_printed() {
        let (one, other) = (IceCredentials::generate(), IceCredentials::generate());
        assert_ne!(one.ufrag, other.ufrag);
        assert_ne!(one.pwd, other.pwd);
        assert_eq!((one.ufrag.len(), one.pwd.len()), (UFRAG_LEN, PWD_LEN));
        assert!(!format!("{one:?}").contains(&one.pwd));
    }

    #[test]
    fn fingerprint_is_read_as_it_is_written() {
        let fingerprint = Fingerprint::of(b"abc");
        let text = fingerprint.to_string();
        assert!(text.starts_with("BA:78:16:BF:") && text.ends_with(":15:AD"));
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.to_lowercase().parse(), Ok(fingerprint));
        let odd = [
            text[1..].to_owned(),
            format!("{text}:00"),
            text.replace("BA", "+A"),
            String::new(),
        ];
        for text in odd {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError));
        }
    }
}
