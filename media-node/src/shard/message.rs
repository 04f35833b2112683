//! What shards are told, and what they tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use showrunner_rtp::codec::Codec;
use showrunner_sdp::{Publishing, Watching};
use showrunner_transport::{Fingerprint, IceCredentials};

use super::hearing::Hearing;
use super::wishes::Wish;
use crate::lived::Lived;
use crate::media::ingest::Track;
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::sync::ProgramSync;
use crate::node::{Adaptation, EndReason, LayerChoice, LayerInfo};

/// A room's media in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub u64);

/// A session's number in this process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(pub u64);

/// What a new session carries.
pub enum Carries {
    /// A publisher's tracks.
    Publish(Publishing),
    /// Layers that a transcoder adds to what a host sends.
    AddLayers {
        /// Its track.
        publishing: Publishing,
        /// What the names of its layers begin with.
        prefix: Arc<str>,
        /// The host.
        host: SessionNumber,
    },
    /// A viewer's tracks.
    Watch {
        /// The tracks.
        watching: Watching,
        /// What it gets is encoded anew for others: it is to be the host's own picture.
        transcodes: bool,
    },
    /// What another pod takes of the room.
    Feed,
    /// What another pod has of the room. It may be reached at these addresses, the best first.
    Take(Vec<SocketAddr>),
    /// What another server has of it: this node is one of its viewers. It may be reached at these addresses.
    Pull(Publishing, Vec<SocketAddr>),
}

/// A layer, or the sound, that a pod has of a room, as it tells others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its SSRC on links.
    pub ssrc: u32,
    /// Its RID.
    pub rid: Arc<str>,
    /// Its format.
    pub codec: Codec,
    /// Its picture size, if known.
    pub size: Option<(u16, u16)>,
    /// Measured bitrate, bit/s; 0: not sent now.
    pub bitrate_bps: u64,
}

/// A session for a shard.
pub struct NewSession {
    /// Its number.
    pub number: SessionNumber,
    /// Its public name, for logs.
    pub log_id: Arc<str>,
    /// The room's program.
    pub program: ProgramId,
    /// The shard that the room's publishers are on.
    pub home: usize,
    /// The longest that the shorter side of the room's picture may be, in pixels; none: any.
    pub max_lines: Option<u16>,
    /// Our ICE credentials; the ufrag names the session in STUN.
    pub local: IceCredentials,
    /// The peer's.
    pub remote: IceCredentials,
    /// SHA-256 of the peer's certificate.
    pub fingerprint: Fingerprint,
    /// Its media.
    pub carries: Carries,
}

/// From the control plane to a shard.
pub enum Command {
    /// Takes a session.
    Add(Box<NewSession>),
    /// ICE restart (RFC 8445 §9).
    RestartIce {
        /// Which session.
        number: SessionNumber,
        /// Our new credentials.
        local: IceCredentials,
        /// The peer's.
        remote: IceCredentials,
    },
    /// Ends a session.
    End {
        /// Which session.
        number: SessionNumber,
        /// Why.
        reason: EndReason,
    },
    /// A viewer's choice of layer.
    Choose {
        /// Which session.
        number: SessionNumber,
        /// What was asked for.
        choice: LayerChoice,
    },
    /// What the pod at the other end of a link wants of the room from now on.
    Want {
        /// The link.
        number: SessionNumber,
        /// Layers, and sound with them; none: nothing.
        wants: Option<Arc<[Arc<str>]>>,
    },
    /// Says something to the other end of a link, in place of what was said before.
    Say {
        /// The link.
        number: SessionNumber,
        /// What.
        note: Arc<[u8]>,
    },
    /// What the pod that a room comes from has of it.
    Announce {
        /// Which program.
        program: ProgramId,
        /// Video layers.
        layers: Arc<[Announced]>,
    },
    /// Closes all sessions and ends the shard.
    Shutdown,
}

/// From a shard to the control plane.
pub enum ShardEvent {
    /// DTLS is up.
    Connected {
        /// Which session.
        number: SessionNumber,
    },
    /// A session is over.
    Ended {
        /// Which session.
        number: SessionNumber,
        /// Why.
        reason: EndReason,
        /// What it lived through.
        lived: Box<Lived>,
    },
    /// A viewer's picture stood still, for the first time.
    Stalled {
        /// Which session.
        number: SessionNumber,
        /// When that began.
        at: Instant,
    },
    /// Of a program's layers, its viewers are on these or would be: the others need not be sent. From its home shard
    /// only, and when that changes.
    Wanted {
        /// Which program.
        program: ProgramId,
        /// Their RIDs, in any order.
        rids: Arc<[Arc<str>]>,
    },
    /// What a viewer is to be sent of the picture changed.
    Adapted {
        /// Which session.
        number: SessionNumber,
        /// What it is now.
        adaptation: Adaptation,
    },
    /// What a program has on air: when that changes, and once a second, since bitrates do. From
    /// its home shard only.
    OnAir {
        /// Which program.
        program: ProgramId,
        /// Whether audio or video comes in.
        active: bool,
        /// Video layers, best first.
        layers: Arc<[LayerInfo]>,
        /// What other pods can take of it: sound, and video layers in any order.
        streams: Arc<[Announced]>,
    },
    /// The other end of a link says something new.
    Note {
        /// The link.
        number: SessionNumber,
        /// What.
        note: Box<[u8]>,
    },
    /// A link has brought the newest of all that is on air: from now on it does alone.
    CaughtUp {
        /// The link.
        number: SessionNumber,
    },
    /// Which of its viewers a shard hears; ten times a second.
    Hears {
        /// Which shard.
        shard: usize,
        /// When it listened.
        at: Instant,
        /// How many.
        hearing: Hearing,
    },
}

/// From a shard to a shard.
pub enum Relay {
    /// Shard `to` has viewers of a program whose home is here.
    Subscribe {
        /// Which program.
        program: ProgramId,
        /// The shard that wants its packets.
        to: usize,
    },
    /// It has no more.
    Unsubscribe {
        /// Which program.
        program: ProgramId,
        /// The shard.
        to: usize,
    },
    /// A layer begins.
    Layer {
        /// Which program.
        program: ProgramId,
        /// Audio or video.
        track: Track,
        /// The stream.
        source: SourceId,
        /// Its RID.
        rid: Arc<str>,
        /// Its format.
        codec: Codec,
        /// Its picture size, if known.
        size: Option<(u16, u16)>,
    },
    /// What a layer has stored already, of which nothing is to be sent on as if it came now.
    Stored {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
        /// The packets, in order.
        packets: Vec<Arc<StoredPacket>>,
    },
    /// A packet of a layer.
    Packet {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
        /// The packet.
        packet: Arc<StoredPacket>,
    },
    /// A number of a layer that carries no media.
    Padding {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
        /// The number.
        seq: u64,
    },
    /// A layer is over: nothing more comes of it.
    LayerEnds {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
    },
    /// The picture size of a layer.
    Size {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
        /// Width and height.
        size: (u16, u16),
    },
    /// The publisher's clocks.
    Sync {
        /// Which program.
        program: ProgramId,
        /// Its clocks.
        sync: ProgramSync,
    },
    /// What the viewers there want.
    Wish {
        /// Which program.
        program: ProgramId,
        /// The shard that they are on.
        from: usize,
        /// Their largest wish; none: there are no viewers.
        wish: Option<Wish>,
    },
    /// The publisher is gone, and all its layers.
    OffAir {
        /// Which program.
        program: ProgramId,
    },
    /// A viewer there needs a keyframe from the publisher here.
    KeyframeWanted {
        /// Which program.
        program: ProgramId,
        /// The stream.
        source: SourceId,
    },
}

impl Relay {
    /// Whether it may be dropped before the queue is quite full: video that is not the beginning
    /// of a keyframe. Audio and everything that isn't media stays.
    pub(super) fn is_sheddable(&self) -> bool {
        matches!(self, Self::Packet { packet, .. } if packet.codec != Codec::Opus && !packet.starts_keyframe)
    }
}
