//! The keys of an installation: how they are made, read and written. No I/O but the system's randomness.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use showrunner_protocol::control::POD_SERVER_NAME;
use showrunner_protocol::token::{ControlKeys, SecretKey};

/// The contents of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// The key of a Secret's data with the secrets that requests to pods are signed with.
pub const CONTROL_KEYS: &str = "control-keys";
/// The authority of the pods' certificates.
pub const CA_CERTIFICATE: &str = "ca.crt";
pub(super) const CA_KEY: &str = "ca.key";
const POD_CERTIFICATE: &str = "pod.crt";
const POD_KEY: &str = "pod.key";
const TOKEN_KEYS: &str = "private.pem";
/// The key of a ConfigMap's data with the public keys of room tokens.
pub const JWKS: &str = "jwks.json";

const DAY: u64 = 86_400;
/// How long a server's certificate is good, in seconds.
const CERTIFICATE_LIFE: u64 = 365 * DAY;
/// How long before its end it is made anew: pods and gateways follow within minutes.
const RENEW_BEFORE: u64 = 120 * DAY;
const CA_LIFE: u64 = 20 * 365 * DAY;
/// Certificates are good from a day before they are made: clocks differ.
const BACKDATED: u64 = DAY;
/// The most token keys at a time.
const MAX_TOKEN_KEYS: usize = 4;

/// Keys can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A Secret lacks something.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Something in a Secret is of no use.
    #[error("{0} can't be used: {1}")]
    Unusable(&'static str, String),
    /// The system has no randomness, or a certificate can't be made.
    #[error("keys can't be made: {0}")]
    Making(String),
}

/// What makes operator, gateway and pods believe each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    /// Secrets that requests to pods are signed with: one a line, the first one signs.
    pub keys: String,
    /// Certificates of the authority, in PEM; the first one signs, all are believed.
    pub ca_certificate: String,
    ca_key: String,
    /// The certificate that all pods have, in PEM.
    pub pod_certificate: String,
    /// Its key, in PEM.
    pub pod_key: String,
    /// Seconds since 1970 when the certificate is to be made anew; none if somebody else made it.
    pub renew_at: Option<u64>,
}

impl Control {
    /// New ones.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn make(now: u64) -> Result<Control, KeyError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(making)?;
        let authority = Authority::make("showrunner media pods", now)?;
        let control = Control {
            keys: URL_SAFE_NO_PAD.encode(secret),
            ca_certificate: authority.certificate,
            ca_key: authority.key,
            pod_certificate: String::new(),
            pod_key: String::new(),
            renew_at: None,
        };
        control.renewed(now)
    }

    /// The same with a new certificate for pods.
    ///
    /// # Errors
    /// If the authority's key does not fit or the system has no randomness.
    pub fn renewed(&self, now: u64) -> Result<Control, KeyError> {
        let authority = Authority {
            certificate: self.ca_certificate.clone(),
            key: self.ca_key.clone(),
        };
        let signed = authority.sign(POD_SERVER_NAME, now)?;
        Ok(Control {
            pod_certificate: signed.certificate,
            pod_key: signed.key,
            renew_at: Some(signed.renew_at),
            ..self.clone()
        })
    }

    /// Whether the certificate is to be made anew.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.renew_at.is_some_and(|at| at <= now)
    }

    /// As the Secret has them.
    ///
    /// # Errors
    /// If something is missing or of no use: somebody may have edited it.
    pub fn read(data: &Data, renew_at: Option<u64>) -> Result<Control, KeyError> {
        let control = Control {
            keys: text(data, CONTROL_KEYS)?,
            ca_certificate: text(data, CA_CERTIFICATE)?,
            ca_key: text(data, CA_KEY)?,
            pod_certificate: text(data, POD_CERTIFICATE)?,
            pod_key: text(data, POD_KEY)?,
            renew_at,
        };
        control.signer()?;
        check_certificate(CA_CERTIFICATE, &control.ca_certificate)?;
        check_certificate(POD_CERTIFICATE, &control.pod_certificate)?;
        check_key(POD_KEY, &control.pod_key)?;
        Ok(control)
    }

    /// What signs requests to pods.
    ///
    /// # Errors
    /// If the keys are of no use.
    pub fn signer(&self) -> Result<ControlKeys, KeyError> {
        ControlKeys::parse(&self.keys).map_err(|e| KeyError::Unusable(CONTROL_KEYS, e.to_string()))
    }

    /// For the Secret that the operator keeps for itself.
    #[must_use]
    pub fn to_data(&self) -> Data {
        data([
            (CONTROL_KEYS, &self.keys),
            (CA_CERTIFICATE, &self.ca_certificate),
            (CA_KEY, &self.ca_key),
            (POD_CERTIFICATE, &self.pod_certificate),
            (POD_KEY, &self.pod_key),
        ])
    }

    /// What the gateway needs of them.
    #[must_use]
    pub fn for_gateway(&self) -> Data {
        data([
            (CONTROL_KEYS, &self.keys),
            (CA_CERTIFICATE, &self.ca_certificate),
        ])
    }

    /// What pods need of them.
    #[must_use]
    pub fn for_pods(&self) -> Data {
        data([
            (CONTROL_KEYS, &self.keys),
            (CA_CERTIFICATE, &self.ca_certificate),
            ("tls.crt", &self.pod_certificate),
            ("tls.key", &self.pod_key),
        ])
    }
}

/// The keys of room tokens: Ed25519 in PEM, one after the other. The first one signs, all are published.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(String);

impl Tokens {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn make() -> Result<Tokens, KeyError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(making)?;
        Ok(Tokens(key.serialize_pem()))
    }

    /// As the Secret has them.
    ///
    /// # Errors
    /// If there is none, too many, or one of another kind.
    pub fn read(data: &Data) -> Result<Tokens, KeyError> {
        let tokens = Tokens(text(data, TOKEN_KEYS)?);
        tokens.signer()?;
        tokens.jwks()?;
        Ok(tokens)
    }

    /// For the Secret.
    #[must_use]
    pub fn to_data(&self) -> Data {
        data([(TOKEN_KEYS, &self.0)])
    }

    /// The key that signs.
    ///
    /// # Errors
    /// If it is of no use.
    pub fn signer(&self) -> Result<SecretKey, KeyError> {
        let keys = self.private_keys()?;
        let first = keys.first().ok_or(KeyError::Missing(TOKEN_KEYS))?;
        SecretKey::ed25519(first.secret_pkcs8_der()).map_err(unusable_token_key)
    }

    /// The public keys, as a JWK Set (RFC 7517 §5).
    ///
    /// # Errors
    /// If one is of no use.
    pub fn jwks(&self) -> Result<String, KeyError> {
        let mut keys = Vec::new();
        for key in self.private_keys()? {
            let der = key.secret_pkcs8_der();
            let pair = Ed25519KeyPair::from_pkcs8(der).map_err(unusable_token_key)?;
            let kid = SecretKey::ed25519(der).map_err(unusable_token_key)?;
            keys.push(json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": kid.kid(),
                "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
            }));
        }
        Ok(json!({ "keys": keys }).to_string())
    }

    fn private_keys(&self) -> Result<Vec<PrivatePkcs8KeyDer<'static>>, KeyError> {
        let keys: Vec<_> = PrivatePkcs8KeyDer::pem_slice_iter(self.0.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(unusable_token_key)?;
        match keys.len() {
            0 => Err(KeyError::Missing(TOKEN_KEYS)),
            1..=MAX_TOKEN_KEYS => Ok(keys),
            _ => Err(unusable_token_key(format!(
                "it has more than {MAX_TOKEN_KEYS} keys"
            ))),
        }
    }
}

/// Who signs certificates: its own, and its key, in PEM.
pub(super) struct Authority {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate with its key, in PEM.
pub(super) struct Signed {
    pub(super) certificate: String,
    pub(super) key: String,
    /// Seconds since 1970 when it is to be made anew.
    pub(super) renew_at: u64,
}

impl Authority {
    /// A new one, of this name for people.
    pub(super) fn make(name: &str, now: u64) -> Result<Authority, KeyError> {
        let mut params = CertificateParams::new(Vec::new()).map_err(making)?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lasting(&mut params, now, CA_LIFE);
        let key = KeyPair::generate().map_err(making)?;
        let certificate = params.self_signed(&key).map_err(making)?;
        Ok(Authority {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Signs a certificate for a server of this name.
    pub(super) fn sign(&self, name: &str, now: u64) -> Result<Signed, KeyError> {
        let ca_key = KeyPair::from_pem(&self.key).map_err(making)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, ca_key).map_err(making)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(making)?;
        // A common name has 64 characters at most (RFC 5280, ub-common-name); clients go by the other one.
        params.distinguished_name = named(name.get(..64).unwrap_or(name));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasting(&mut params, now, CERTIFICATE_LIFE);
        let key = KeyPair::generate().map_err(making)?;
        let certificate = params.signed_by(&key, &issuer).map_err(making)?;
        Ok(Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            renew_at: now + CERTIFICATE_LIFE - RENEW_BEFORE,
        })
    }
}

pub(super) fn check_certificate(name: &'static str, pem: &str) -> Result<(), KeyError> {
    let read = CertificateDer::from_pem_slice(pem.as_bytes()).map(drop);
    read.map_err(|e| KeyError::Unusable(name, e.to_string()))
}

pub(super) fn check_key(name: &'static str, pem: &str) -> Result<(), KeyError> {
    let read = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map(drop);
    read.map_err(|e| KeyError::Unusable(name, e.to_string()))
}

fn lasting(params: &mut CertificateParams, now: u64, seconds: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds| epoch + std::time::Duration::from_secs(seconds);
    params.not_before = at(now.saturating_sub(BACKDATED));
    params.not_after = at(now.saturating_add(seconds));
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

pub(super) fn text(data: &Data, key: &'static str) -> Result<String, KeyError> {
    let bytes = data.get(key).ok_or(KeyError::Missing(key))?;
    String::from_utf8(bytes.0.clone()).map_err(|e| KeyError::Unusable(key, e.to_string()))
}

pub(super) fn data<const N: usize>(entries: [(&str, &String); N]) -> Data {
    let bytes = |text: &String| ByteString(text.clone().into_bytes());
    entries
        .map(|(key, text)| (key.to_owned(), bytes(text)))
        .into()
}

fn making(error: impl std::fmt::Display) -> KeyError {
    KeyError::Making(error.to_string())
}

fn unusable_token_key(error: impl std::fmt::Display) -> KeyError {
    KeyError::Unusable(TOKEN_KEYS, error.to_string())
}

#[cfg(test)]
mod tests {
    use showrunner_protocol::RoomName;
    use showrunner_protocol::room::RoomUid;
    use showrunner_protocol::token::{
        Action, Role, RoomGrant, Signer, TrustedIssuer, UidRule, Validity, Verifier, read_jwks,
    };

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn what_is_made_can_be_read_and_is_not_made_anew_before_it_is_due() {
        let control = Control::make(NOW).unwrap();
        let read = Control::read(&control.to_data(), control.renew_at).unwrap();
        assert!(read == control);
        assert!(!control.is_due(NOW + 244 * DAY));
        assert!(control.is_due(NOW + 245 * DAY));
        let renewed = control.renewed(NOW + 245 * DAY).unwrap();
        assert!(renewed.ca_certificate == control.ca_certificate && renewed.keys == control.keys);
        assert!(renewed.pod_certificate != control.pod_certificate);
        assert!(!renewed.is_due(NOW + 300 * DAY));
    }

    #[test]
    fn pods_are_believed_by_the_authority_alone() {
        let control = Control::make(NOW).unwrap();
        let other = Control::make(NOW).unwrap();
        assert!(is_believed(&control, &control));
        assert!(!is_believed(&control, &other));
        assert!(is_believed(&control, &control.renewed(NOW + DAY).unwrap()));
    }

    fn is_believed(authority: &Control, pod: &Control) -> bool {
        use rustls::client::danger::ServerCertVerifier;
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(authority.ca_certificate.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .unwrap();
        let certificate = CertificateDer::from_pem_slice(pod.pod_certificate.as_bytes()).unwrap();
        let name = rustls::pki_types::ServerName::try_from(POD_SERVER_NAME).unwrap();
        let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            NOW + 2 * DAY,
        ));
        verifier
            .verify_server_cert(&certificate, &[], &name, &[], now)
            .is_ok()
    }

    #[test]
    fn what_somebody_broke_is_refused_with_the_reason() {
        let control = Control::make(NOW).unwrap();
        let broken = |key: &str, value: Option<&str>| {
            let mut data = control.to_data();
            match value {
                Some(value) => data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec())),
                None => data.remove(key),
            };
            Control::read(&data, None)
                .err()
                .map(|error| error.to_string())
                .unwrap()
        };
        assert_eq!(broken(CONTROL_KEYS, None), "it has no control-keys");
        assert!(broken(CONTROL_KEYS, Some("short")).starts_with("control-keys can't be used"));
        assert!(broken(CA_CERTIFICATE, Some("?")).starts_with("ca.crt can't be used"));
        assert!(broken(POD_KEY, Some("")).starts_with("pod.key can't be used"));
        assert!(Tokens::read(&Data::new()).is_err());
    }

    #[test]
    fn tokens_of_the_first_key_are_good_by_the_published_keys_and_old_ones_still_are() {
        let old = Tokens::make().unwrap();
        let rotated = Tokens(format!("{}{}", Tokens::make().unwrap().0, old.0));
        let rotated = Tokens::read(&rotated.to_data()).unwrap();
        let verifier = Verifier::new(vec![TrustedIssuer {
            issuer: "i".into(),
            audience: "a".into(),
            keys: read_jwks(&rotated.jwks().unwrap()).unwrap(),
            uid: UidRule::Required,
        }]);
        let (room, uid) = (
            RoomName::new("shop", "sale").unwrap(),
            RoomUid::new("1").unwrap(),
        );
        for tokens in [&old, &rotated] {
            let grant = RoomGrant {
                subject: "host".into(),
                room: room.clone(),
                uid: uid.clone(),
                role: Role::Host,
            };
            let valid = Validity {
                now: NOW,
                from: NOW,
                seconds: 60,
            };
            let token = Signer::new("i", "a", tokens.signer().unwrap())
                .sign(&grant, valid)
                .unwrap();
            verifier
                .verify(&token, NOW, (&room, &uid), Action::Publish)
                .unwrap();
        }
    }
}
