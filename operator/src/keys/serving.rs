//! The certificate of the metrics API, and the authority that the API server knows it by. No I/O but the system's
//! randomness.

use super::material::{
    Authority, CA_CERTIFICATE, CA_KEY, Data, KeyError, check_certificate, check_key, data, text,
};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What the metrics API is served with: all replicas have the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Serving {
    /// The authority's certificate, in PEM.
    pub ca_certificate: String,
    ca_key: String,
    /// The server's certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// Seconds since 1970 when the certificate is to be made anew; none if somebody else made it.
    pub renew_at: Option<u64>,
}

impl Serving {
    /// A new one with a new authority, for a server of this name.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn make(name: &str, now: u64) -> Result<Serving, KeyError> {
        let authority = Authority::make("showrunner metrics API", now)?;
        Serving::signed(authority, name, now)
    }

    /// The same with a new certificate.
    ///
    /// # Errors
    /// If the authority's key does not fit or the system has no randomness.
    pub fn renewed(&self, name: &str, now: u64) -> Result<Serving, KeyError> {
        let authority = Authority {
            certificate: self.ca_certificate.clone(),
            key: self.ca_key.clone(),
        };
        Serving::signed(authority, name, now)
    }

    fn signed(authority: Authority, name: &str, now: u64) -> Result<Serving, KeyError> {
        let signed = authority.sign(name, now)?;
        Ok(Serving {
            ca_certificate: authority.certificate,
            ca_key: authority.key,
            certificate: signed.certificate,
            key: signed.key,
            renew_at: Some(signed.renew_at),
        })
    }

    /// Whether the certificate is to be made anew.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.renew_at.is_some_and(|at| at <= now)
    }

    /// As the Secret has it.
    ///
    /// # Errors
    /// If something is missing or of no use: somebody may have edited it.
    pub fn read(data: &Data, renew_at: Option<u64>) -> Result<Serving, KeyError> {
        let serving = Serving {
            ca_certificate: text(data, CA_CERTIFICATE)?,
            ca_key: text(data, CA_KEY)?,
            certificate: text(data, CERTIFICATE)?,
            key: text(data, KEY)?,
            renew_at,
        };
        check_certificate(CA_CERTIFICATE, &serving.ca_certificate)?;
        check_certificate(CERTIFICATE, &serving.certificate)?;
        check_key(KEY, &serving.key)?;
        Ok(serving)
    }

    /// For the Secret.
    #[must_use]
    pub fn to_data(&self) -> Data {
        data([
            (CA_CERTIFICATE, &self.ca_certificate),
            (CA_KEY, &self.ca_key),
            (CERTIFICATE, &self.certificate),
            (KEY, &self.key),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn what_is_made_can_be_read_and_is_renewed_by_the_same_authority() {
        let long = format!("{}-metrics-api.{}.svc", "s".repeat(50), "n".repeat(63));
        let made = Serving::make(&long, NOW).unwrap();
        let read = Serving::read(&made.to_data(), made.renew_at).unwrap();
        assert!(read == made && !made.is_due(NOW));
        let later = made.renew_at.unwrap();
        assert!(made.is_due(later));
        let renewed = made.renewed(&long, later).unwrap();
        assert!(renewed.ca_certificate == made.ca_certificate);
        assert!(renewed.certificate != made.certificate && !renewed.is_due(later));
        let mut broken = made.to_data();
        broken.remove(KEY);
        let error = Serving::read(&broken, None).err().unwrap();
        assert_eq!(error.to_string(), "it has no tls.key");
    }
}
