//! Which kind of program a client is, from its `User-Agent` (RFC 9110 §10.1.5): one of a few, so that nothing of the
//! text itself, which may tell people apart, is kept.

use serde::Serialize;

/// A kind of program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Chrome, and browsers of its engine that don't say more.
    Chrome,
    /// Edge.
    Edge,
    /// Firefox.
    Firefox,
    /// Safari, and every browser of iOS.
    Safari,
    /// OBS Studio.
    Obs,
    /// GStreamer.
    #[serde(rename = "gstreamer")]
    GStreamer,
    /// FFmpeg.
    Ffmpeg,
    /// Something else.
    Other,
    /// It did not say.
    #[default]
    Unknown,
}

/// A kind of program, and whether it runs on a phone or tablet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The program.
    pub agent: Agent,
    /// Whether it says that it is on a mobile device.
    pub is_mobile: bool,
}

/// Marks, the first that is found counts: browsers name those that they want to be taken for as well.
const MARKS: [(&str, Agent); 12] = [
    ("obs-studio", Agent::Obs),
    ("gstreamer", Agent::GStreamer),
    ("lavf", Agent::Ffmpeg),
    ("ffmpeg", Agent::Ffmpeg),
    ("edg/", Agent::Edge),
    ("edga/", Agent::Edge),
    ("firefox/", Agent::Firefox),
    ("crios/", Agent::Safari),
    ("fxios/", Agent::Safari),
    ("chrome/", Agent::Chrome),
    ("chromium/", Agent::Chrome),
    ("safari/", Agent::Safari),
];

impl Client {
    /// Of a header field's value.
    #[must_use]
    pub fn of(user_agent: &str) -> Client {
        let text = user_agent.to_ascii_lowercase();
        let agent = MARKS.iter().find(|(mark, _)| text.contains(mark));
        Client {
            agent: match agent {
                Some((_, agent)) => *agent,
                None if text.trim().is_empty() => Agent::Unknown,
                None => Agent::Other,
            },
            is_mobile: ["mobile", "android", "iphone", "ipad"]
                .iter()
                .any(|mark| text.contains(mark)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        const WEBKIT: &str = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (text, agent, is_mobile) in [
            (format!("Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/156.0.0.0 Safari/537.36"), Agent::Chrome, false),
            (format!("Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/156.0.0.0 Mobile Safari/537.36"), Agent::Chrome, true),
            (format!("Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0"), Agent::Edge, false),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0".to_owned(), Agent::Firefox, false),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/156 Mobile/15E148 Safari/604.1".to_owned(), Agent::Safari, true),
            ("Mozilla/5.0 OBS-Studio/32.0".to_owned(), Agent::Obs, false),
            ("GStreamer souphttpsrc 1.26 libsoup/3".to_owned(), Agent::GStreamer, false),
            ("Lavf/62.3.100".to_owned(), Agent::Ffmpeg, false),
            ("curl/8".to_owned(), Agent::Other, false),
            (" ".to_owned(), Agent::Unknown, false),
        ] {
            assert_eq!(Client::of(&text), Client { agent, is_mobile }, "{text}");
        }
    }
}
