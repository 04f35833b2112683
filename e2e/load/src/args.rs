//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::audience::{Habits, Verify};
use crate::program::{Program, ProgramError, VideoFile};

/// Puts test hosts and test viewers on a media node, checks what every viewer receives, and
/// measures what that costs the node.
///
/// Point it only at nodes of your own.
#[derive(Debug, Parser)]
#[command(name = "showrunner-load", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put a test host on air in a room (WHIP), until Ctrl-C.
    Publish(Publish),
    /// Join viewers to a room that is on air (WHEP), and check what each receives.
    Watch(Watch),
    /// The bench: rooms with a test host each, and viewers.
    Run(Run),
}

/// `publish`
#[derive(Debug, Args)]
pub struct Publish {
    /// The node's address.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The room; may be repeated, for a host in each.
    #[arg(long, default_value = "default/demo", value_name = "NAMESPACE/NAME")]
    pub room: Vec<String>,
    /// How long to stay on air; without it, until Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// What to send.
    #[command(flatten)]
    pub media: Media,
    /// Layers of the picture to take from --media.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "q,h,f",
        value_name = "RID"
    )]
    pub layers: Vec<String>,
    /// Go where a node sends hosts, and come back when theirs dies, as pages do.
    #[arg(long)]
    pub stay: bool,

    /// Write to this file which frame of which layer was sent when, as `RID,FRAME,UNIX_MS`.
    #[arg(long, value_name = "FILE")]
    pub frame_log: Option<PathBuf>,
    /// Bearer token of hosts.
    #[arg(
        long,
        env = "SHOWRUNNER_PUBLISH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub publish_token: Option<String>,
}

/// `watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// The node's address.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The room; may be repeated, for viewers in each.
    #[arg(long, default_value = "default/demo", value_name = "NAMESPACE/NAME")]
    pub room: Vec<String>,
    /// How long to watch once all have joined; without it, until Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// How viewers behave.
    #[command(flatten)]
    pub viewers: Viewers,
    /// What to tell of it.
    #[command(flatten)]
    pub report: Report,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// The node's address.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// How many rooms, each with a host.
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// The namespace of the rooms.
    #[arg(long, default_value = "load")]
    pub namespace: String,
    /// How long to measure once all have joined.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// What to send.
    #[command(flatten)]
    pub media: Media,
    /// Layers of the picture to take from --media: one layer is a host without simulcast.
    #[arg(long, value_delimiter = ',', default_value = "f", value_name = "RID")]
    pub layers: Vec<String>,
    /// Bearer token of hosts.
    #[arg(
        long,
        env = "SHOWRUNNER_PUBLISH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub publish_token: Option<String>,
    /// How viewers behave.
    #[command(flatten)]
    pub viewers: Viewers,
    /// What to tell of it.
    #[command(flatten)]
    pub report: Report,
}

/// What hosts send: files that are played over and over.
#[derive(Debug, Args)]
pub struct Media {
    /// A directory with audio.ogg and, of each layer, RID.h264 or RID.ivf, as `make media` makes it.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["video", "audio"])]
    pub media: Option<PathBuf>,
    /// Which of the directory's files to take.
    #[arg(long, value_enum, default_value = "h264")]
    pub codec: VideoCodec,
    /// A video file, H.264 (.h264, Annex B) or VP8 (.ivf); with a RID and repeated, layers of a
    /// simulcast. Takes the place of --media.
    #[arg(long, value_name = "[RID=]FILE", conflicts_with = "media")]
    pub video: Vec<VideoFile>,
    /// An audio file, Opus in Ogg. Takes the place of --media.
    #[arg(long, value_name = "FILE", conflicts_with = "media")]
    pub audio: Option<PathBuf>,
    /// Frames a second of H.264 files, which don't say it.
    #[arg(long, default_value_t = 30)]
    pub fps: u32,
    /// Temporal layers of VP8 files, which don't say it: 2 or 3 as libvpx orders them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub temporal_layers: u8,
}

/// How a video file is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VideoCodec {
    /// H.264, constrained baseline.
    H264,
    /// VP8.
    Vp8,
}

impl Media {
    /// Reads the files into a program.
    ///
    /// # Errors
    /// If one can't be used.
    pub fn load(&self, layers: &[String]) -> Result<Program, ProgramError> {
        let Some(directory) = &self.media else {
            return Program::load(
                &self.video,
                self.audio.as_deref(),
                self.fps,
                self.temporal_layers.into(),
            );
        };
        let extension = match self.codec {
            VideoCodec::H264 => "h264",
            VideoCodec::Vp8 => "ivf",
        };
        let file = |rid: &String| VideoFile {
            rid: Some(rid.clone()),
            path: directory.join(Path::new(rid).with_extension(extension)),
        };
        let videos: Vec<VideoFile> = layers.iter().map(file).collect();
        Program::load(
            &videos,
            Some(&directory.join("audio.ogg")),
            self.fps,
            self.temporal_layers.into(),
        )
    }
}

/// How viewers behave.
#[derive(Debug, Args)]
pub struct Viewers {
    /// How many viewers a room has.
    #[arg(long, default_value_t = 1)]
    pub viewers: usize,
    /// How many join a second.
    #[arg(long, default_value_t = 50.0, value_name = "PER_SECOND")]
    pub join_rate: f64,
    /// How many leave a second once all have joined, each followed by another who joins.
    #[arg(long, default_value_t = 0.0, value_name = "PER_SECOND")]
    pub churn: f64,
    /// Layers that viewers choose in turn; without, they take what the node gives.
    #[arg(long, value_name = "RID")]
    pub layer: Vec<String>,
    /// How often a second one of the viewers chooses another layer of those named by --layer.
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "PER_SECOND",
        requires = "layer"
    )]
    pub switch_rate: f64,
    /// Whose packets are opened and looked into.
    #[arg(long, value_enum, default_value = "all")]
    pub verify: Verify,
    /// Go where a node sends them, and come back when theirs dies, as pages do. SIGUSR1 prints what they have seen since
    /// the last SIGUSR2, and an empty line.
    #[arg(long)]
    pub stay: bool,

    /// Threads that receive; by default, as many as there are cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Bearer token of viewers.
    #[arg(
        long,
        env = "SHOWRUNNER_WATCH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub watch_token: Option<String>,
}

impl Viewers {
    /// What viewers of these rooms do.
    pub fn habits(&self, rooms: Vec<String>) -> Habits {
        Habits {
            rooms,
            layers: self.layer.clone(),
            verify: self.verify,
            stay: self.stay,
        }
    }
}

/// What to tell.
#[derive(Debug, Args)]
pub struct Report {
    /// The node's process on this machine, to measure its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub node_pid: Option<u32>,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print the figures as `name: value` lines instead of as a table.
    #[arg(long)]
    pub name_value: bool,
    /// End with status 1 if a viewer failed or something was wrong with what it received.
    #[arg(long)]
    pub strict: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hosts_need_something_to_send() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["showrunner-load"], args].concat());
        assert!(parse(&["publish"]).is_err());
        assert!(parse(&["publish", "--media", ".cache/media"]).is_ok());
        assert!(
            parse(&[
                "publish", "--video", "q=q.h264", "--video", "f=f.h264", "--audio", "a.ogg"
            ])
            .is_ok()
        );
        assert!(parse(&["publish", "--media", "x", "--video", "f.h264"]).is_err());
        assert!(
            parse(&["watch", "--switch-rate", "1"]).is_err(),
            "between which layers?"
        );
    }
}
