//! Key derivation (RFC 3711 §4.3) with the AES-CM pseudo-random function, which RFC 7714 §11
//! keeps for GCM. The key derivation rate is always 0: DTLS-SRTP profiles have no other.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use zeroize::Zeroizing;

use super::cipher::{Cipher, Cm, Gcm};
use super::{Master, Profile};

/// The labels of the session keys of one protocol (RFC 3711 §4.3.1, §4.3.2).
#[derive(Clone, Copy)]
pub(super) struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

pub(super) const RTP: Labels = Labels {
    encryption: 0,
    authentication: 1,
    salt: 2,
};
pub(super) const RTCP: Labels = Labels {
    encryption: 3,
    authentication: 4,
    salt: 5,
};

/// The session keys of one direction and protocol, ready for use.
pub(super) fn derive(profile: Profile, master: &Master, labels: Labels) -> Cipher {
    let key: Zeroizing<[u8; 16]> = session_key(master, labels.encryption);
    match profile {
        Profile::AeadAes128Gcm => Cipher::Gcm(Gcm::new(&key, *session_key(master, labels.salt))),
        Profile::Aes128CmHmacSha1_80 => {
            let authentication: Zeroizing<[u8; 20]> = session_key(master, labels.authentication);
            let salt = *session_key(master, labels.salt);
            Cipher::Cm(Box::new(Cm::new(&key, &authentication, salt)))
        }
    }
}

/// The first `N` bytes of the key stream that the master key makes from its salt and the label
/// (RFC 3711 §4.3.3).
fn session_key<const N: usize>(master: &Master, label: u8) -> Zeroizing<[u8; N]> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(&master.salt);
    iv[7] ^= label;
    let mut out = Zeroizing::new([0; N]);
    apply_keystream(&counter_mode(&master.key), iv, &mut *out);
    out
}

/// A prepared key for [`apply_keystream`].
pub(super) fn counter_mode(key: &[u8; 16]) -> EncryptingKey {
    UnboundCipherKey::new(&AES_128, key)
        .and_then(EncryptingKey::ctr)
        .expect("an AES-128 key has 16 bytes")
}

/// XORs the AES counter mode key stream that starts at `iv` into `data`.
#[inline]
pub(super) fn apply_keystream(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(iv.into()))
        .expect("counter mode takes any length and a 128-bit counter");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_rfc() {
        let master = Master {
            key: hex("E1F97A0D3E018BE0D64FA32C06DE4139").try_into().unwrap(),
            salt: hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap(),
        };
        let cipher: Zeroizing<[u8; 16]> = session_key(&master, 0);
        let auth: Zeroizing<[u8; 94]> = session_key(&master, 1);
        let salt: Zeroizing<[u8; 14]> = session_key(&master, 2);
        assert_eq!(cipher[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(auth[..20], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }
}
