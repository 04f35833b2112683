//! Command line and environment of `media-node`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

use crate::lived::sink::Target;
use crate::node::MAX_ROOMS;

/// Runs one media node: rooms that hosts publish to by WHIP and that viewers watch by WHEP.
///
/// Needs no configuration: without any it listens on port 8080 for HTTP and on ports from 7000 on
/// for media (UDP and TCP, one port a core), on all addresses.
#[derive(Clone, Debug, Parser)]
#[command(name = "media-node", version)]
pub struct Config {
    /// Where HTTP (signalling, page, status, metrics) listens.
    #[arg(
        long,
        env = "SHOWRUNNER_HTTP",
        default_value = "[::]:8080",
        value_name = "ADDR"
    )]
    pub http: SocketAddr,

    /// The address on which media comes in; `::` is all, of both families.
    #[arg(
        long,
        env = "SHOWRUNNER_MEDIA_BIND",
        default_value = "::",
        value_name = "IP"
    )]
    pub media_bind: IpAddr,

    /// The first media port, for UDP and TCP; each further shard takes the next.
    #[arg(
        long,
        env = "SHOWRUNNER_MEDIA_PORT",
        default_value_t = 7000,
        value_name = "PORT"
    )]
    pub media_port: u16,

    /// Addresses that clients reach this node at, if they are not those of its interfaces (behind
    /// NAT, a load balancer …). May be repeated or separated by commas.
    #[arg(
        long,
        env = "SHOWRUNNER_PUBLIC_IP",
        value_delimiter = ',',
        value_name = "IP"
    )]
    pub public_ip: Vec<IpAddr>,

    /// The first media port that clients are told, if what is before this node (port mapping, a Service) has other
    /// numbers; that of each further shard is the next.
    #[arg(long, env = "SHOWRUNNER_PUBLIC_PORT", value_name = "PORT")]
    pub public_port: Option<u16>,

    /// How many shards (threads that carry media) to run; by default one a core.
    #[arg(long, env = "SHOWRUNNER_SHARDS", value_name = "N")]
    pub shards: Option<usize>,

    /// Keeps each shard on a core of its own.
    #[arg(long, env = "SHOWRUNNER_PIN_SHARDS", default_value_t = false)]
    pub pin_shards: bool,

    /// The most sessions of all kinds; more are refused with 503.
    #[arg(
        long,
        env = "SHOWRUNNER_MAX_SESSIONS",
        default_value_t = 10_000,
        value_name = "N"
    )]
    pub max_sessions: usize,

    /// The most rooms that the operator may assign; more are refused with 503.
    #[arg(
        long,
        env = "SHOWRUNNER_MAX_ROOMS",
        default_value_t = MAX_ROOMS,
        value_name = "N"
    )]
    pub max_rooms: usize,

    /// Publishers must show this bearer token.
    #[arg(
        long,
        env = "SHOWRUNNER_PUBLISH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub publish_token: Option<String>,

    /// Who shows this bearer token is a transcoder: adds smaller layers to the pictures of hosts, and may watch. Without
    /// it there are none.
    #[arg(
        long,
        env = "SHOWRUNNER_TRANSCODE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub transcode_token: Option<String>,

    /// Viewers must show this bearer token.
    #[arg(
        long,
        env = "SHOWRUNNER_WATCH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub watch_token: Option<String>,

    /// An ICE server to tell clients of, as a Link header's value: `<turn:…>; username="…"; …`.
    #[arg(long, env = "SHOWRUNNER_ICE_SERVER", value_name = "LINK")]
    pub ice_server: Vec<crate::http::IceServer>,

    /// Makes this a node of a cluster: it takes only the rooms that the operator assigns, and only those people whom
    /// the gateway brings. The file has the secrets that both sign their requests with, one a line, the one in use
    /// first; it is read again when it changes.
    #[arg(
        long,
        env = "SHOWRUNNER_CONTROL_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file",
        conflicts_with_all = ["publish_token", "transcode_token", "watch_token"]
    )]
    pub control_key_file: Option<PathBuf>,

    /// The authority (PEM) that other pods' certificates are of: with it this node takes rooms from other pods when the
    /// operator says so. Read again when it changes.
    #[arg(
        long,
        env = "SHOWRUNNER_CONTROL_CA_FILE",
        value_name = "FILE",
        requires = "control_key_file"
    )]
    pub control_ca_file: Option<PathBuf>,

    /// Serves HTTPS with this certificate chain (PEM); read again when it changes.
    #[arg(
        long,
        env = "SHOWRUNNER_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file"
    )]
    pub tls_cert_file: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(
        long,
        env = "SHOWRUNNER_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file"
    )]
    pub tls_key_file: Option<PathBuf>,

    /// How long SIGTERM and SIGINT leave sessions to go before the process ends; a second signal ends them at once.
    #[arg(
        long,
        env = "SHOWRUNNER_DRAIN_SECONDS",
        default_value_t = 0,
        value_name = "SECONDS"
    )]
    pub drain_seconds: u32,

    /// The built room page; without it the node serves no page.
    #[arg(long, env = "SHOWRUNNER_WEB_DIR", value_name = "DIR")]
    pub web_dir: Option<PathBuf>,

    /// Appends a line of JSON to this file for each session that ends; `-` is standard output.
    #[arg(long, env = "SHOWRUNNER_SESSION_RECORDS", value_name = "FILE")]
    pub session_records: Option<PathBuf>,

    /// The most that the file of session records may grow to, in MiB: then it is moved to the same name with `.1`, and
    /// a new one begins. 0: it grows until somebody else moves it.
    #[arg(
        long,
        env = "SHOWRUNNER_SESSION_RECORDS_MAX_MIB",
        default_value_t = 256,
        value_name = "MIB"
    )]
    pub session_records_max_mib: u32,

    /// How logs are written.
    #[arg(
        long,
        env = "SHOWRUNNER_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

impl Config {
    /// Where session records go, if anywhere.
    pub fn records(&self) -> Option<Target> {
        let path = self.session_records.clone()?;
        if path.as_os_str() == "-" {
            return Some(Target::Stdout);
        }
        let most = u64::from(self.session_records_max_mib) << 20;
        Some(Target::File {
            path,
            most: (most > 0).then_some(most),
        })
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For log collectors.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_need_or_exclude_one_another() {
        let is_taken = |args: &str| {
            let args = args.split_whitespace();
            Config::try_parse_from(["media-node"].into_iter().chain(args)).is_ok()
        };
        let tls = "--tls-cert-file a --tls-key-file b";
        assert!(is_taken(""));
        assert!(is_taken(tls));
        assert!(is_taken(&format!("--control-key-file c {tls}")));
        assert!(is_taken(&format!(
            "--control-key-file c --control-ca-file d {tls}"
        )));
        for refused in [
            "--tls-cert-file a",
            "--tls-key-file b",
            "--control-key-file c",
            &format!("--control-ca-file d {tls}"),
            &format!("--control-key-file c --watch-token t {tls}"),
            &format!("--control-key-file c --publish-token t {tls}"),
            &format!("--control-key-file c --transcode-token t {tls}"),
        ] {
            assert!(!is_taken(refused), "{refused}");
        }
    }
}
