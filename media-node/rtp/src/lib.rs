//! RTP and RTCP on the wire, and the small state machines that keep count of them.
//!
//! [`packet`] and [`rtcp`] are the formats; [`codec`] reads the payload headers that a forwarder has
//! to understand, and [`packetize`] writes them; [`red`] is redundant audio; [`loss`], [`twcc`] and
//! [`reports`] turn what arrived into what the sender is told. Time comes in as a value; there are
//! no sockets, clocks or allocations per packet here. Whatever a stranger sends is an error at
//! worst, never a panic.

pub mod bwe;
pub mod codec;
pub mod loss;
pub mod packet;
pub mod packetize;
pub mod red;
pub mod reports;
pub mod rtcp;
pub mod seq;
pub mod twcc;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They end too early.
    Truncated,
    /// They contradict the format.
    Invalid,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet is cut off",
            Self::Invalid => "the packet contradicts its format",
        })
    }
}

impl std::error::Error for ParseError {}

fn be16(bytes: &[u8], at: usize) -> Result<u16, ParseError> {
    let chunk = bytes.get(at..).and_then(|b| b.first_chunk());
    chunk
        .map(|b| u16::from_be_bytes(*b))
        .ok_or(ParseError::Truncated)
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, ParseError> {
    let chunk = bytes.get(at..).and_then(|b| b.first_chunk());
    chunk
        .map(|b| u32::from_be_bytes(*b))
        .ok_or(ParseError::Truncated)
}
