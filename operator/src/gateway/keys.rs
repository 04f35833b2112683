//! What the gateway trusts and signs with, from files that are read again when they change.

use showrunner_door::{BoxError, Files, FilesError};
use showrunner_protocol::token::{
    AUDIENCE, ControlKeys, ISSUER, TrustedIssuer, UidRule, Verifier, read_jwks,
};

use super::config::Config;
use crate::pod_client::Pods;

/// Keys and certificates. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    /// Sign what pods are shown.
    pub control: Files<ControlKeys>,
    /// Check the tokens of hosts and viewers.
    pub tokens: Files<Verifier>,
    /// Calls to pods, which trust one authority.
    pub pods: Files<Pods>,
}

/// Whose keys a file has.
struct Issuer {
    name: String,
    audience: String,
    uid: UidRule,
}

impl Keys {
    /// Reads the files that the configuration names, and keeps looking after them.
    ///
    /// # Errors
    /// If they can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_files(config: &Config) -> Result<Keys, FilesError> {
        let name = config.pods_name.clone();
        Ok(Keys {
            control: Files::watch(&[&config.control_key_file], control_keys)?,
            tokens: tokens(config)?,
            pods: Files::watch(&[&config.pods_ca], move |files| {
                Ok(Pods::over_tls(&files.concat(), &name)?)
            })?,
        })
    }
}

fn control_keys(files: &[Vec<u8>]) -> Result<ControlKeys, BoxError> {
    Ok(ControlKeys::parse(str::from_utf8(&files.concat())?)?)
}

/// Those of our own operator, and of a customer's service if there is one.
fn tokens(config: &Config) -> Result<Files<Verifier>, FilesError> {
    let mut paths = vec![config.token_keys_file.as_path()];
    let mut issuers = vec![Issuer {
        name: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        uid: UidRule::Required,
    }];
    if let (Some(file), Some(name), Some(audience)) = (
        &config.jwks_file,
        &config.jwks_issuer,
        &config.jwks_audience,
    ) {
        paths.push(file);
        issuers.push(Issuer {
            name: name.clone(),
            audience: audience.clone(),
            uid: UidRule::Optional,
        });
    }
    Files::watch(&paths, move |files| verifier(&issuers, files))
}

fn verifier(issuers: &[Issuer], files: &[Vec<u8>]) -> Result<Verifier, BoxError> {
    let trusted = issuers.iter().zip(files).map(|(issuer, file)| {
        Ok(TrustedIssuer {
            issuer: issuer.name.clone(),
            audience: issuer.audience.clone(),
            keys: read_jwks(str::from_utf8(file)?)?,
            uid: issuer.uid,
        })
    });
    Ok(Verifier::new(trusted.collect::<Result<_, BoxError>>()?))
}
