//! Command line and environment of `gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ipnet::IpNet;

use showrunner_protocol::control::POD_SERVER_NAME;

use super::limit::Rate;
use crate::logging::LogFormat;

/// Runs the gateway: the one public HTTP door to all rooms of a cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where clients come in: WHIP, WHEP and the room page.
    #[arg(
        long,
        env = "SHOWRUNNER_HTTP",
        default_value = "[::]:8080",
        value_name = "ADDR"
    )]
    pub http: SocketAddr,

    /// Where probes and metrics are answered, for the cluster alone.
    #[arg(
        long,
        env = "SHOWRUNNER_ADMIN",
        default_value = "[::]:8081",
        value_name = "ADDR"
    )]
    pub admin: SocketAddr,

    /// The gateway's certificate chain in PEM, if no Ingress ends TLS before it. Read again when it changes.
    #[arg(
        long,
        env = "SHOWRUNNER_TLS_CERT",
        requires = "tls_key",
        value_name = "FILE"
    )]
    pub tls_cert: Option<PathBuf>,

    /// The key of that certificate, in PEM.
    #[arg(
        long,
        env = "SHOWRUNNER_TLS_KEY",
        requires = "tls_cert",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,

    /// The authority of the media pods' certificates, in PEM.
    #[arg(
        long,
        env = "SHOWRUNNER_PODS_CA",
        default_value = "/etc/showrunner/control/ca.crt",
        value_name = "FILE"
    )]
    pub pods_ca: PathBuf,

    /// The name that the certificate of every pod is for.
    #[arg(
        long,
        env = "SHOWRUNNER_PODS_NAME",
        default_value = POD_SERVER_NAME,
        value_name = "NAME"
    )]
    pub pods_name: String,

    /// The secrets that requests to media pods are signed with, one a line, the one in use first.
    #[arg(
        long,
        env = "SHOWRUNNER_CONTROL_KEY_FILE",
        default_value = "/etc/showrunner/control/control-keys",
        value_name = "FILE"
    )]
    pub control_key_file: PathBuf,

    /// The public keys of the tokens that the operator makes (a JWK Set).
    #[arg(
        long,
        env = "SHOWRUNNER_TOKEN_KEYS_FILE",
        default_value = "/etc/showrunner/tokens/jwks.json",
        value_name = "FILE"
    )]
    pub token_keys_file: PathBuf,

    /// The public keys of tokens that a service of your own makes (a JWK Set).
    #[arg(
        long,
        env = "SHOWRUNNER_JWKS_FILE",
        requires_all = ["jwks_issuer", "jwks_audience"],
        value_name = "FILE"
    )]
    pub jwks_file: Option<PathBuf>,

    /// The `iss` of those tokens.
    #[arg(
        long,
        env = "SHOWRUNNER_JWKS_ISSUER",
        requires = "jwks_file",
        value_name = "ISSUER"
    )]
    pub jwks_issuer: Option<String>,

    /// What the `aud` of those tokens must include.
    #[arg(
        long,
        env = "SHOWRUNNER_JWKS_AUDIENCE",
        requires = "jwks_file",
        value_name = "AUDIENCE"
    )]
    pub jwks_audience: Option<String>,

    /// The region of this gateway: viewers who don't say where they are get pods of this one first.
    #[arg(
        long,
        env = "SHOWRUNNER_REGION",
        default_value = "",
        value_name = "REGION"
    )]
    pub region: String,

    /// The built room page; without it the gateway serves no page.
    #[arg(long, env = "SHOWRUNNER_WEB_DIR", value_name = "DIR")]
    pub web_dir: Option<PathBuf>,

    /// Networks of proxies whose `X-Forwarded-For` is true.
    #[arg(
        long,
        env = "SHOWRUNNER_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// Requests a second from one address (IPv6: one /64), and how many at once. Many viewers may share an address.
    #[arg(
        long,
        env = "SHOWRUNNER_ADDRESS_LIMIT",
        default_value = "100:1000",
        value_name = "RATE:BURST"
    )]
    pub address_limit: Rate,

    /// Requests a second with one token, and how many at once. A whole audience may have come by one link.
    #[arg(
        long,
        env = "SHOWRUNNER_TOKEN_LIMIT",
        default_value = "500:5000",
        value_name = "RATE:BURST"
    )]
    pub token_limit: Rate,

    /// Connections at a time; further ones wait.
    #[arg(
        long,
        env = "SHOWRUNNER_MAX_CONNECTIONS",
        default_value_t = 16_384,
        value_name = "N"
    )]
    pub max_connections: usize,

    /// How long SIGTERM leaves proxies to notice that this gateway is no longer ready, before it takes no more
    /// connections; a second signal ends the wait.
    #[arg(
        long,
        env = "SHOWRUNNER_DRAIN_SECONDS",
        default_value_t = 5,
        value_name = "SECONDS"
    )]
    pub drain_seconds: u32,

    /// How logs are written.
    #[arg(
        long,
        env = "SHOWRUNNER_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// What a gateway's program can do but serve.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Ask a gateway whether it is ready; ends with status 0 if it is.
    Check {
        /// The gateway's address, as in http://showrunner-gateway.
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_need_one_another() {
        let is_taken = |args: &str| {
            let args = args.split_whitespace();
            Config::try_parse_from(["gateway"].into_iter().chain(args)).is_ok()
        };
        assert!(is_taken(""));
        assert!(is_taken("--tls-cert a --tls-key b"));
        assert!(is_taken("check http://gateway"));
        assert!(is_taken(
            "--jwks-file a --jwks-issuer b --jwks-audience c --trusted-proxies 10.0.0.0/8,fd00::/8"
        ));
        for refused in [
            "check",
            "--region eu check http://gateway",
            "--tls-cert a",
            "--tls-key b",
            "--jwks-file a",
            "--jwks-file a --jwks-issuer b",
            "--jwks-issuer b --jwks-audience c",
            "--address-limit 5",
            "--trusted-proxies 10.0.0.1/33",
        ] {
            assert!(!is_taken(refused), "{refused}");
        }
    }
}
