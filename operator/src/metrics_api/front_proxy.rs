//! The API server in front of this one: how its connections are told from others, and how it says for whom it asks.
//!
//! It says both in a ConfigMap that aggregated API servers read (`extension-apiserver-authentication`).

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where the ConfigMap is.
pub const NAMESPACE: &str = "kube-system";
/// What it is called.
pub const NAME: &str = "extension-apiserver-authentication";

/// Somebody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// By name.
    pub name: String,
    /// Which of that name.
    pub uid: String,
    /// The groups that they are in.
    pub groups: Vec<String>,
    /// What else is known of them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How the API server is told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxy {
    /// The authority of its certificate. Without any, nobody is believed to be it.
    pub authority: Vec<CertificateDer<'static>>,
    /// The common names that the certificate may have; empty: any.
    allowed_names: Vec<String>,
    username_headers: Vec<String>,
    uid_headers: Vec<String>,
    group_headers: Vec<String>,
    extra_prefixes: Vec<String>,
}

/// The ConfigMap can't be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidConfig {
    /// Its certificates are none.
    #[error("requestheader-client-ca-file has no certificates in PEM")]
    Authority,
    /// Something should be a list of texts.
    #[error("{0} is no list of texts in JSON")]
    List(&'static str),
}

impl FrontProxy {
    /// As a ConfigMap says.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn read(config: &ConfigMap) -> Result<FrontProxy, InvalidConfig> {
        let data = config.data.clone().unwrap_or_default();
        let list = |key: &'static str| match data.get(key) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text).map_err(|_| InvalidConfig::List(key)),
        };
        let pem = data.get("requestheader-client-ca-file");
        let authority: Vec<_> = pem
            .map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).collect())
            .unwrap_or(Ok(Vec::new()))
            .map_err(|_| InvalidConfig::Authority)?;
        if pem.is_some() && authority.is_empty() {
            return Err(InvalidConfig::Authority);
        }
        Ok(FrontProxy {
            authority,
            allowed_names: list("requestheader-allowed-names")?,
            username_headers: list("requestheader-username-headers")?,
            uid_headers: list("requestheader-uid-headers")?,
            group_headers: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// For whom the API server asks; none if it isn't the API server. The certificate is one that the connection was made
    /// with, so its authority is known to be good.
    #[must_use]
    pub fn user(&self, shown: Option<&CertificateDer<'_>>, headers: &HeaderMap) -> Option<User> {
        if self.authority.is_empty() || !self.is_allowed(shown?) {
            return None;
        }
        let first = |names: &[String]| all(headers, names).next().map(str::to_owned);
        Some(User {
            name: first(&self.username_headers)?,
            uid: first(&self.uid_headers).unwrap_or_default(),
            groups: all(headers, &self.group_headers)
                .map(str::to_owned)
                .collect(),
            extra: self.extra(headers),
        })
    }

    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.allowed_names.is_empty() {
            return true;
        }
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let mut names = parsed.subject().iter_common_name();
        names.any(|name| {
            let is_it = |text: &str| self.allowed_names.iter().any(|allowed| allowed == text);
            name.as_str().is_ok_and(is_it)
        })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                if let (Some(key), Ok(value)) =
                    (name.as_str().strip_prefix(&prefix), value.to_str())
                {
                    let key = super::request::decoded(key).unwrap_or_else(|| key.to_owned());
                    extra.entry(key).or_default().push(value.to_owned());
                }
            }
        }
        extra
    }
}

/// What headers of these names say, unless nothing.
fn all<'a>(headers: &'a HeaderMap, names: &'a [String]) -> impl Iterator<Item = &'a str> {
    let values = names.iter().flat_map(|name| headers.get_all(name));
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: &str) -> (String, CertificateDer<'static>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (made.pem(), made.der().clone())
    }

    fn config(names: &str) -> ConfigMap {
        let data = [
            ("requestheader-client-ca-file", certificate("ca").0),
            ("requestheader-allowed-names", names.to_owned()),
            (
                "requestheader-username-headers",
                r#"["X-Remote-User"]"#.to_owned(),
            ),
            (
                "requestheader-group-headers",
                r#"["X-Remote-Group"]"#.to_owned(),
            ),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#.to_owned(),
            ),
        ];
        ConfigMap {
            data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ConfigMap::default()
        }
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = all.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        parsed.collect()
    }

    #[test]
    fn the_api_server_says_for_whom_it_asks() {
        let proxy = FrontProxy::read(&config(r#"["aggregator"]"#)).unwrap();
        let headers = headers(&[
            ("x-remote-user", "jane"),
            ("x-remote-group", "shop"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-scopes%2fa", "b"),
        ]);
        let (_, certificate) = certificate("aggregator");
        let user = proxy.user(Some(&certificate), &headers).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, ["shop", "system:authenticated"]);
        assert_eq!(user.extra["scopes/a"], ["b"]);
        assert_eq!(user.uid, "");
    }

    #[test]
    fn nobody_else_is_believed() {
        let headers = headers(&[
            ("x-remote-user", "jane"),
            ("x-remote-group", "system:masters"),
        ]);
        let user = |names: &str, shown: Option<&str>| {
            let proxy = FrontProxy::read(&config(names)).unwrap();
            let shown = shown.map(|name| certificate(name).1);
            proxy.user(shown.as_ref(), &headers).map(|user| user.name)
        };
        assert_eq!(user(r#"["aggregator"]"#, None), None);
        assert_eq!(user(r#"["aggregator"]"#, Some("kubelet")), None);
        assert_eq!(
            user(r#"["a","aggregator"]"#, Some("aggregator")),
            Some("jane".into())
        );
        assert_eq!(user("[]", Some("any")), Some("jane".into()));
        assert_eq!(
            FrontProxy::default().user(Some(&certificate("a").1), &headers),
            None
        );
        let nobody = HeaderMap::new();
        let proxy = FrontProxy::read(&config("[]")).unwrap();
        assert_eq!(proxy.user(Some(&certificate("a").1), &nobody), None);
    }

    #[test]
    fn a_config_that_cannot_be_used_is_refused() {
        let with = |key: &str, value: &str| {
            let mut config = config("[]");
            config
                .data
                .as_mut()
                .unwrap()
                .insert(key.to_owned(), value.to_owned());
            FrontProxy::read(&config)
        };
        assert_eq!(
            with("requestheader-client-ca-file", "?"),
            Err(InvalidConfig::Authority)
        );
        let error = with("requestheader-allowed-names", "aggregator").unwrap_err();
        assert_eq!(error, InvalidConfig::List("requestheader-allowed-names"));
        let none = FrontProxy::read(&ConfigMap::default()).unwrap();
        assert!(
            none.authority.is_empty(),
            "an API server that aggregates nothing"
        );
    }
}
