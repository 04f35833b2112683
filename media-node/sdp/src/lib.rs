//! Offer and answer for WHIP and WHEP.
//!
//! A client's offer goes in as text ([`Offer::parse`]), is judged for one purpose ([`accept_publish`],
//! [`accept_layers`], [`accept_watch`]), and comes back as the few facts that the media path needs ([`Publishing`], [`Watching`]) and the
//! text of an answer ([`answer_publish`], [`answer_watch`]). [`fragment`] does the same for the pieces of SDP that a
//! session gets later, by trickle ICE and ICE restarts.
//!
//! A node can be a viewer itself, too: [`offer_pull`] and [`read_pull_answer`].
//!
//! No sockets, clocks or randomness here. Whatever a stranger sends ends in an [`OfferError`] that says what to
//! change, never in a panic.

mod answer;
mod candidate;
mod codec;
mod error;
mod extensions;
pub mod fragment;
mod negotiate;
mod offer;
mod pull;
mod track;

pub use answer::{CNAME, Local, answer_publish, answer_watch};
pub use candidate::{Candidate, CandidateTransport};
pub use error::{Direction, MediaKind, OfferError, OfferErrorKind};
pub use extensions::ExtensionIds;
pub use negotiate::{Program, PublishRules, accept_layers, accept_publish, accept_watch};
pub use offer::Offer;
pub use pull::{AnswerError, Pulling, offer_pull, read_pull_answer};
pub use showrunner_rtp::codec::Codec;
pub use track::{
    DtlsRole, IceParameters, NegotiatedCodec, Publishing, RecvTrack, Remote, SendTrack, Setup,
    Watching,
};
