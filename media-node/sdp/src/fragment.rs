//! Pieces of SDP that a session sends and gets after its answer: `application/trickle-ice-sdpfrag` (RFC 8840).
//!
//! The node is ICE-lite: it learns a client's addresses from the client's checks, so a fragment's candidates are read
//! only to tell good fragments from bad ones. What counts are the credentials: new ones ask for an ICE restart.

use std::fmt::Write;
use std::net::IpAddr;

use crate::{Candidate, IceParameters, Offer};

/// The media type of fragments.
pub const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";
/// Longest fragment that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Most candidates that are read of one fragment.
const MAX_CANDIDATES: usize = 64;

/// Why a fragment was refused. The text says what the client should change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// More text than any real fragment has.
    #[error("the fragment has {0} bytes; at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// More candidates than any client gathers.
    #[error(
        "the fragment has more than {MAX_CANDIDATES} candidates; send them in several fragments"
    )]
    TooManyCandidates,
    /// Not a line of SDP that belongs into a fragment.
    #[error(
        "line {number} of the fragment, {line:?}, is not SDP: RFC 8840 §9 allows a= and m= lines"
    )]
    NotSdp {
        /// Counted from 1.
        number: usize,
        /// The line, shortened.
        line: String,
    },
    /// A candidate before any m-line or without `a=mid`.
    #[error("the fragment has candidates that belong to no m-section; put a=mid before them")]
    NoMid,
    /// One of the two credentials is missing.
    #[error("the fragment has only one of a=ice-ufrag and a=ice-pwd; send both (RFC 8840 §4.4)")]
    HalfCredentials,
    /// Credentials outside of the grammar.
    #[error(
        "the fragment's ICE credentials are not 4-256 and 22-256 letters, digits, '+' or '/' (RFC 8839 §5.4)"
    )]
    BadCredentials,
    /// Credentials that differ between m-sections of one bundle.
    #[error("the fragment has different ICE credentials for m-sections of one bundle")]
    MixedCredentials,
    /// A candidate outside of the grammar.
    #[error("{0:?} is not a candidate (RFC 8839 §5.1)")]
    BadCandidate(String),
    /// Nothing that a session could act on.
    #[error(
        "the fragment has neither ICE credentials nor a candidate nor a=end-of-candidates, so there is nothing to do"
    )]
    Empty,
}

/// What a fragment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The client's credentials, where stated.
    pub ice: Option<IceParameters>,
    /// Its m-sections, by mid.
    pub mids: Vec<String>,
    /// Addresses of the candidates that this node could reach: UDP with a literal IP address. Others (TCP, mDNS names)
    /// are read and left out, as WHIP asks.
    pub candidates: Vec<(IpAddr, u16)>,
    /// No more candidates will follow.
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Reads a fragment of at most 16 KiB.
    ///
    /// # Errors
    /// Says what the client should change.
    pub fn parse(text: &str) -> Result<Fragment, FragmentError> {
        if text.len() > MAX_BYTES {
            return Err(FragmentError::TooLong(text.len()));
        }
        let mut reader = Reader::default();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim_end();
            match line.split_once('=') {
                _ if line.is_empty() => {}
                Some(("a", attribute)) => reader.attribute(attribute)?,
                Some(("m", _)) => reader.start_section()?,
                _ => {
                    return Err(FragmentError::NotSdp {
                        number: i + 1,
                        line: line.chars().take(80).collect(),
                    });
                }
            }
        }
        reader.finish()
    }
}

#[derive(Default)]
struct Reader {
    fragment: Fragment,
    ufrag: Option<String>,
    pwd: Option<String>,
    has_mid: bool,
    candidates: usize,
}

impl Reader {
    fn attribute(&mut self, attribute: &str) -> Result<(), FragmentError> {
        let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match key {
            "ice-ufrag" => self.ufrag = Some(value.to_owned()),
            "ice-pwd" => self.pwd = Some(value.to_owned()),
            "mid" => {
                self.has_mid = true;
                self.fragment.mids.push(value.trim().to_owned());
            }
            "end-of-candidates" => self.fragment.end_of_candidates = true,
            "candidate" => self.candidate(value)?,
            // RFC 8840 §9.2: what is not known is ignored.
            _ => {}
        }
        Ok(())
    }

    /// Credentials may stand before the first m-line, for all of them, or in each.
    fn start_section(&mut self) -> Result<(), FragmentError> {
        self.has_mid = false;
        self.take_credentials()
    }

    fn take_credentials(&mut self) -> Result<(), FragmentError> {
        let ice = match (self.ufrag.take(), self.pwd.take()) {
            (None, None) => return Ok(()),
            (Some(ufrag), Some(pwd)) => {
                IceParameters::new(&ufrag, &pwd).ok_or(FragmentError::BadCredentials)?
            }
            _ => return Err(FragmentError::HalfCredentials),
        };
        match &self.fragment.ice {
            Some(earlier) if *earlier != ice => Err(FragmentError::MixedCredentials),
            _ => {
                self.fragment.ice = Some(ice);
                Ok(())
            }
        }
    }

    fn candidate(&mut self, value: &str) -> Result<(), FragmentError> {
        if !self.has_mid {
            return Err(FragmentError::NoMid);
        }
        self.candidates += 1;
        if self.candidates > MAX_CANDIDATES {
            return Err(FragmentError::TooManyCandidates);
        }
        // Chromium signals the end of a generation by an empty candidate.
        if value.trim().is_empty() {
            return Ok(());
        }
        let (transport, address, port) =
            read_candidate(value).ok_or_else(|| bad_candidate(value))?;
        if let Ok(ip) = address.parse()
            && transport.eq_ignore_ascii_case("udp")
        {
            self.fragment.candidates.push((ip, port));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Fragment, FragmentError> {
        self.take_credentials()?;
        let fragment = self.fragment;
        let says_nothing =
            fragment.ice.is_none() && self.candidates == 0 && !fragment.end_of_candidates;
        if says_nothing {
            return Err(FragmentError::Empty);
        }
        Ok(fragment)
    }
}

fn bad_candidate(value: &str) -> FragmentError {
    FragmentError::BadCandidate(value.chars().take(120).collect())
}

/// `foundation component transport priority address port typ type …` (RFC 8839 §5.1): transport, address and port.
fn read_candidate(value: &str) -> Option<(&str, &str, u16)> {
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next()?;
    let component = words.next()?.parse::<u16>().ok()?;
    let transport = words.next()?;
    words.next()?.parse::<u32>().ok()?;
    let address = words.next()?;
    let port = words.next()?.parse().ok()?;
    let is_typed = words.next()? == "typ" && words.next().is_some();
    let fits = is_typed && foundation.len() <= 32 && (1..=256).contains(&component);
    fits.then_some((transport, address, port))
}

/// The m-section that fragments of a session are about: the one that tags its bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    media: &'static str,
    mid: Box<str>,
}

impl Tagged {
    /// The tagged m-section of the answer to an offer: the first that was taken.
    #[must_use]
    pub fn of(offer: &Offer) -> Tagged {
        let section = offer
            .bundle
            .iter()
            .find_map(|mid| {
                offer
                    .sections
                    .iter()
                    .find(|s| s.wanted.is_some() && s.mid == *mid)
            })
            .or_else(|| offer.sections.iter().find(|s| s.wanted.is_some()));
        Tagged {
            media: match section.map(|s| s.media.as_str()) {
                Some("video") => "video",
                _ => "audio",
            },
            mid: section.map_or("0", |s| s.mid.as_str()).into(),
        }
    }

    /// The fragment that answers an ICE restart: new credentials and the whole list of the node's candidates, with the
    /// ICE attributes of the answer.
    #[must_use]
    pub fn restarted(&self, ice: &IceParameters, candidates: &[Candidate]) -> String {
        let mut text = String::from("a=ice-lite\r\na=ice-options:trickle\r\n");
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "m={} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            self.media, self.mid, ice.ufrag, ice.pwd
        );
        for (rank, candidate) in candidates.iter().enumerate() {
            let _ = write!(text, "a={}\r\n", candidate.attribute(rank));
        }
        text.push_str("a=end-of-candidates\r\n");
        text
    }
}
