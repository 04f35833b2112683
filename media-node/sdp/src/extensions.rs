//! Header extensions that the node uses (RFC 8285), by the number that the offer gives each.

/// Numbers of the header extensions agreed on for one m-section; `None`: not offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// Media identification (RFC 9143 §15).
    pub mid: Option<u8>,
    /// RTP stream id of a simulcast layer (RFC 8852).
    pub rid: Option<u8>,
    /// RTP stream id of the layer that a retransmission repairs (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub transport_cc: Option<u8>,
    /// Client-to-mixer audio level (RFC 6464).
    pub audio_level: Option<u8>,
    /// Video orientation (3GPP TS 26.114).
    pub orientation: Option<u8>,
    /// AV1 dependency descriptor (AV1 RTP specification, appendix A).
    pub dependency_descriptor: Option<u8>,
    /// Absolute capture time.
    pub abs_capture_time: Option<u8>,
    /// Bounds of the time between arrival and display. Viewers only.
    pub playout_delay: Option<u8>,
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const ORIENTATION: &str = "urn:3gpp:video-orientation";
const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Highest number of the one-byte form, which is all that the node writes (RFC 8285 §4.2).
const MAX_ONE_BYTE_ID: u8 = 14;
/// Longest value of the one-byte form.
const MAX_ONE_BYTE_LEN: usize = 16;

impl ExtensionIds {
    /// Takes note of an `a=extmap` value: `4 urn:…` or, with a direction, `4/sendrecv urn:…` (RFC 8285 §8).
    pub(crate) fn offer(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        let (Some(number), Some(uri)) = (words.next(), words.next()) else {
            return;
        };
        let (number, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
        let id = match number.parse() {
            Ok(id @ (1..=14 | 16..=255)) if direction == "sendrecv" => id,
            _ => return,
        };
        if let Some(slot) = self.slot(uri) {
            slot.get_or_insert(id);
        }
    }

    fn slot(&mut self, uri: &str) -> Option<&mut Option<u8>> {
        match uri {
            MID => Some(&mut self.mid),
            RID => Some(&mut self.rid),
            REPAIRED_RID => Some(&mut self.repaired_rid),
            TRANSPORT_CC => Some(&mut self.transport_cc),
            AUDIO_LEVEL => Some(&mut self.audio_level),
            ORIENTATION => Some(&mut self.orientation),
            DEPENDENCY_DESCRIPTOR => Some(&mut self.dependency_descriptor),
            ABS_CAPTURE_TIME => Some(&mut self.abs_capture_time),
            PLAYOUT_DELAY => Some(&mut self.playout_delay),
            _ => None,
        }
    }

    /// What is agreed on with a host: RIDs only for simulcast, transport-wide numbers only with their feedback.
    pub(crate) fn receivable(mut self, simulcast: bool, transport_cc: bool) -> ExtensionIds {
        if !simulcast {
            self.rid = None;
            self.repaired_rid = None;
        }
        if !transport_cc {
            self.transport_cc = None;
        }
        self.playout_delay = None;
        self
    }

    /// What is agreed on with a viewer: what the node can write, without simulcast; transport-wide numbers only with
    /// their feedback; dependency descriptors, which with a keyframe are too long for the one-byte form, only if the
    /// forms may be `mixed`.
    pub(crate) fn sendable(self, mid: &str, transport_cc: bool, mixed: bool) -> ExtensionIds {
        let writable = |id: Option<u8>| id.filter(|id| *id <= MAX_ONE_BYTE_ID);
        ExtensionIds {
            mid: writable(self.mid).filter(|_| mid.len() <= MAX_ONE_BYTE_LEN),
            transport_cc: writable(self.transport_cc).filter(|_| transport_cc),
            audio_level: writable(self.audio_level),
            orientation: writable(self.orientation),
            dependency_descriptor: writable(self.dependency_descriptor).filter(|_| mixed),
            abs_capture_time: writable(self.abs_capture_time),
            playout_delay: writable(self.playout_delay),
            ..ExtensionIds::default()
        }
    }

    /// Number and URI of each that is agreed on.
    pub(crate) fn agreed(&self) -> impl Iterator<Item = (u8, &'static str)> + use<> {
        [
            (self.mid, MID),
            (self.rid, RID),
            (self.repaired_rid, REPAIRED_RID),
            (self.transport_cc, TRANSPORT_CC),
            (self.audio_level, AUDIO_LEVEL),
            (self.orientation, ORIENTATION),
            (self.dependency_descriptor, DEPENDENCY_DESCRIPTOR),
            (self.abs_capture_time, ABS_CAPTURE_TIME),
            (self.playout_delay, PLAYOUT_DELAY),
        ]
        .into_iter()
        .filter_map(|(id, uri)| Some((id?, uri)))
    }
}
