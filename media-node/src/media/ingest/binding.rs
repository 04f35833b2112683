//! Which track and layer a new SSRC is of.
//!
//! Its payload type says the track, and its RID the layer (RFC 8852), where there are several. Both are kept for good,
//! since browsers stop sending RID after the first receiver report.

use std::sync::Arc;

use showrunner_rtp::codec::Codec;
use showrunner_rtp::codec::layering::LayerTracker;
use showrunner_rtp::loss::LossTracker;
use showrunner_rtp::packet::Header;
use showrunner_rtp::reports::Reception;
use showrunner_sdp::{NegotiatedCodec, RecvTrack};
use showrunner_transport::srtp::StreamState;

use super::streams::{Binding, Stream};
use super::{Dropped, Ingest, Track, extension};
use crate::media::ladder;
use crate::media::packet::SourceId;
use crate::media::sync::StreamClock;

/// The most SSRCs that one publisher may use: audio, four layers, their RTX, and a restart of all.
pub(super) const MAX_STREAMS: usize = 24;

/// The same of a link, by which many hosts may come one after the other.
const MAX_STREAMS_OF_LINK: usize = 4 * MAX_STREAMS;

impl Ingest {
    /// Takes the stream of a packet that was opened: where it is from now on.
    pub(super) fn bind(
        &mut self,
        header: &Header,
        packet: &[u8],
        srtp: StreamState,
    ) -> Result<usize, Dropped> {
        let most = match self.is_link {
            true => MAX_STREAMS_OF_LINK,
            false => MAX_STREAMS,
        };
        if self.streams.len() >= most {
            return Err(Dropped::Unknown);
        }
        let (track, negotiated, kind) =
            self.track_of(header.payload_type).ok_or(Dropped::Unknown)?;
        let rid = self.layer_of(header, packet, negotiated, kind.is_rtx())?;
        let rid = match &self.prefix {
            Some(prefix) => ladder::name(prefix, &rid),
            None => rid,
        };
        let source = match self.is_link {
            true => SourceId::relayed(header.ssrc),
            false => SourceId::of_session(self.session, self.streams.len()),
        };
        self.streams.push(Stream {
            ssrc: header.ssrc,
            track,
            rid,
            binding: match kind.is_rtx() {
                true => Binding::Rtx,
                false => Binding::Media,
            },
            source,
            srtp,
            loss: LossTracker::new(),
            reception: Reception::new(track.clock_rate()),
            clock: StreamClock::default(),
            layers: LayerTracker::default(),
            highest: None,
        });
        Ok(self.streams.len() - 1)
    }

    /// The track that a payload type was negotiated for.
    fn track_of(&self, payload_type: u8) -> Option<(Track, &RecvTrack, PayloadKind)> {
        let video = self.video.as_ref().map(|t| (Track::Video, t));
        let audio = self.audio.as_ref().map(|t| (Track::Audio, t));
        let mut tracks = [video, audio].into_iter().flatten();
        tracks.find_map(|(track, negotiated)| {
            let kind = payload_kind(&negotiated.codecs, payload_type)?;
            Some((track, negotiated, kind))
        })
    }

    /// The layer that a packet says its stream is of, or repairs.
    fn layer_of(
        &self,
        header: &Header,
        packet: &[u8],
        negotiated: &RecvTrack,
        is_rtx: bool,
    ) -> Result<Arc<str>, Dropped> {
        let ids = &negotiated.extensions;
        let id = match is_rtx && !self.is_link {
            true => ids.repaired_rid,
            false => ids.rid,
        };
        match extension(header, packet, id) {
            // Its layers are the host's, which the other pod has agreed on.
            named if self.is_link => str::from_utf8(named.unwrap_or_default())
                .map(Arc::from)
                .map_err(|_| Dropped::Unknown),
            Some(rid) => negotiated
                .rids
                .iter()
                .find(|r| r.as_bytes() == rid)
                .map(|r| Arc::from(r.as_str()))
                .ok_or(Dropped::Unknown),
            // Without simulcast there is one stream a track; with it, a stream must name itself.
            None if negotiated.rids.is_empty() => Ok(Arc::from("")),
            None => Err(Dropped::Unknown),
        }
    }
}

/// What a payload type stands for.
#[derive(Clone, Copy)]
pub(super) enum PayloadKind {
    Media(Codec),
    /// Its frames have the payload type `frames`.
    Redundant {
        codec: Codec,
        frames: u8,
    },
    Rtx(Codec),
}

impl PayloadKind {
    fn is_rtx(&self) -> bool {
        matches!(self, Self::Rtx(_))
    }

    pub(super) fn codec(&self) -> Codec {
        match self {
            Self::Media(codec) | Self::Redundant { codec, .. } | Self::Rtx(codec) => *codec,
        }
    }
}

pub(super) fn payload_kind(codecs: &[NegotiatedCodec], payload_type: u8) -> Option<PayloadKind> {
    codecs.iter().find_map(|c| {
        if c.payload_type == payload_type {
            Some(PayloadKind::Media(c.codec))
        } else if c.rtx_payload_type == Some(payload_type) {
            Some(PayloadKind::Rtx(c.codec))
        } else if c.red_payload_type == Some(payload_type) {
            Some(PayloadKind::Redundant {
                codec: c.codec,
                frames: c.payload_type,
            })
        } else {
            None
        }
    })
}
