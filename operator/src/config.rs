//! Command line and environment of `operator`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::logging::LogFormat;
use crate::media_node::template::PodDefaults;

/// Runs the operator: makes rooms of LiveRooms, and sites of MediaNodes.
///
/// Several replicas may run. One of them writes, by a Lease; the others stand by.
#[derive(Clone, Debug, Parser)]
#[command(name = "operator", version)]
pub struct Config {
    /// The namespace that the operator runs in, where its keys and its Lease are.
    #[arg(long, env = "SHOWRUNNER_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,

    /// What the names of its keys and its Lease begin with.
    #[arg(
        long,
        env = "SHOWRUNNER_NAME",
        default_value = "showrunner",
        value_name = "NAME"
    )]
    pub name: String,

    /// Names this replica among the others: the name of its pod.
    #[arg(long, env = "SHOWRUNNER_POD_NAME", value_name = "NAME")]
    pub identity: String,

    /// The image of media pods, if their MediaNode names none.
    #[arg(long, env = "SHOWRUNNER_MEDIA_NODE_IMAGE", value_name = "IMAGE")]
    pub media_node_image: String,

    /// Has media pods write a record of each session that ends to their standard output, a line of JSON each.
    #[arg(long, env = "SHOWRUNNER_SESSION_RECORDS", default_value_t = false)]
    pub session_records: bool,

    /// The address of the gateway as hosts and viewers have it.
    #[arg(
        long,
        env = "SHOWRUNNER_PUBLIC_URL",
        default_value = "http://localhost:8080",
        value_name = "URL"
    )]
    pub public_url: String,

    /// Where probes and metrics are answered, for the cluster alone.
    #[arg(
        long,
        env = "SHOWRUNNER_ADMIN",
        default_value = "[::]:8081",
        value_name = "ADDR"
    )]
    pub admin: SocketAddr,

    /// Where metrics are served to autoscalers (custom.metrics.k8s.io and external.metrics.k8s.io), for the API server;
    /// without it they are not. APIServices lead there by the Service NAME-metrics-api.
    #[arg(long, env = "SHOWRUNNER_METRICS_API", value_name = "ADDR")]
    pub metrics_api: Option<SocketAddr>,

    /// How long a replica that is gone holds the others up, in seconds.
    #[arg(
        long,
        env = "SHOWRUNNER_LEASE_SECONDS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u64).range(4..=60),
        value_name = "SECONDS"
    )]
    pub lease_seconds: u64,

    /// How long a host's token is good, in seconds. The Secret with it is written anew long before.
    #[arg(
        long,
        env = "SHOWRUNNER_TOKEN_SECONDS",
        default_value_t = 43_200,
        value_parser = clap::value_parser!(u32).range(600..=2_592_000),
        value_name = "SECONDS"
    )]
    pub token_seconds: u32,

    /// Has media pods pull shows from servers without TLS as well, and from their own machines: for tests.
    #[arg(long, env = "SHOWRUNNER_PULL_INSECURE", default_value_t = false)]
    pub pull_insecure: bool,

    /// Rooms that are worked on at the same time.
    #[arg(
        long,
        env = "SHOWRUNNER_WORKERS",
        default_value_t = 48,
        value_parser = clap::value_parser!(u16).range(1..=1024),
        value_name = "N"
    )]
    pub workers: u16,

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
    /// What the pods of all sites have in common.
    #[must_use]
    pub fn pod_defaults(&self) -> PodDefaults {
        PodDefaults {
            image: self.media_node_image.clone(),
            session_records: self.session_records,
        }
    }

    /// How long a replica that is gone holds the others up.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}
