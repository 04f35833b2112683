//! What of a peer's datagrams the DTLS library gets to see.
//!
//! The library keeps every fragment of a handshake message that it can't use yet and puts them
//! together by recursion, however many there are; and it takes a record that it can't read for
//! the end of the handshake. So it is shown only datagrams of whole, sound records (RFC 6347
//! §4.1, §4.2.2), and only so many as a handshake with losses takes.

/// Records of a handshake, repetitions included: a browser's takes about ten, and it repeats
/// its flights up to ten times.
const HANDSHAKE: Allowance = Allowance {
    parts: 256,
    bytes: 128 << 10,
};

/// Handshake records after it: the peer's last flight again, if ours was lost.
const REPEATED_FLIGHTS: Allowance = Allowance {
    parts: 64,
    bytes: 16 << 10,
};

/// The longest handshake message: no certificate of a browser comes near it.
const MAX_MESSAGE: usize = 16 << 10;

/// The longest encrypted handshake record. The only one is Finished, about 50 bytes with any
/// cipher.
const MAX_ENCRYPTED_MESSAGE: usize = 128;

const RECORD_HEADER: usize = 13;
const FRAGMENT_HEADER: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE_RECORD: u8 = 22;
const APPLICATION_DATA: u8 = 23;

#[derive(Clone, Copy)]
struct Allowance {
    /// Records, or fragments of handshake messages.
    parts: usize,
    bytes: usize,
}

impl Allowance {
    fn minus(self, parts: usize, bytes: usize) -> Option<Allowance> {
        Some(Allowance {
            parts: self.parts.checked_sub(parts)?,
            bytes: self.bytes.checked_sub(bytes)?,
        })
    }
}

/// Decides which datagrams of one session are let through.
pub(super) struct Guard {
    left: Allowance,
    established: bool,
}

impl Guard {
    pub(super) fn new() -> Guard {
        Guard {
            left: HANDSHAKE,
            established: false,
        }
    }

    /// The handshake is done: what is authentic may come without end from now on.
    pub(super) fn establish(&mut self) {
        *self = Guard {
            left: REPEATED_FLIGHTS,
            established: true,
        };
    }

    pub(super) fn admits(&mut self, datagram: &[u8]) -> bool {
        let mut left = self.left;
        let mut rest = datagram;
        while !rest.is_empty() {
            let Some((record, after)) = Record::split(rest) else {
                return false;
            };
            let Some(parts) = record.parts() else {
                return false;
            };
            if !self.established || record.content_type == HANDSHAKE_RECORD {
                let Some(less) = left.minus(parts, record.body.len()) else {
                    return false;
                };
                left = less;
            }
            rest = after;
        }
        self.left = left;
        !datagram.is_empty()
    }
}

struct Record<'a> {
    content_type: u8,
    encrypted: bool,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of what is left of a datagram, and the rest.
    fn split(bytes: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let [
            content_type,
            0xfe,
            _,
            epoch_high,
            epoch_low,
            ..,
            len_high,
            len_low,
        ] = *header
        else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let (body, after) = rest.split_at_checked(len)?;
        let encrypted = [epoch_high, epoch_low] != [0, 0];
        Some((
            Record {
                content_type,
                encrypted,
                body,
            },
            after,
        ))
    }

    /// Of how many parts the library would have to keep track; none if the record is not sound.
    fn parts(&self) -> Option<usize> {
        let sound = match (self.content_type, self.encrypted) {
            (HANDSHAKE_RECORD, false) => return fragments(self.body),
            (HANDSHAKE_RECORD, true) => self.body.len() <= MAX_ENCRYPTED_MESSAGE,
            (CHANGE_CIPHER_SPEC, _) => self.body == [1],
            (ALERT, false) => self.body.len() == 2,
            (ALERT | APPLICATION_DATA, true) => true,
            _ => false,
        };
        sound.then_some(1)
    }
}

/// The fragments of handshake messages in a record's body; none if they are not sound. A fragment
/// holds all that it announces, and only the last one of a record is less than a message.
fn fragments(mut body: &[u8]) -> Option<usize> {
    let mut count = 0;
    loop {
        let (header, rest) = body.split_first_chunk::<FRAGMENT_HEADER>()?;
        let field = |at: usize| {
            header[at..at + 3]
                .iter()
                .fold(0, |value, byte| value << 8 | usize::from(*byte))
        };
        let (message, offset, len) = (field(1), field(6), field(9));
        let (_, after) = rest.split_at_checked(len)?;
        let whole = len == message && offset == 0;
        let piece = len > 0 && offset + len <= message && after.is_empty();
        if message > MAX_MESSAGE || !(whole || piece) {
            return None;
        }
        count += 1;
        if after.is_empty() {
            return Some(count);
        }
        body = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        let header = [
            content_type,
            0xfe,
            0xfd,
            0,
            epoch,
            0,
            0,
            0,
            0,
            0,
            0,
            len[0],
            len[1],
        ];
        [&header, body].concat()
    }

    fn fragment(message: u8, offset: u8, len: u8, data: &[u8]) -> Vec<u8> {
        [&[1, 0, 0, message, 0, 0, 0, 0, offset, 0, 0, len], data].concat()
    }

    fn admitted(datagram: &[u8]) -> bool {
        Guard::new().admits(datagram)
    }

    #[test]
    fn sound_records_pass() {
        let hello = record(HANDSHAKE_RECORD, 0, &fragment(3, 0, 3, b"abc"));
        let piece = record(HANDSHAKE_RECORD, 0, &fragment(9, 3, 3, b"abc"));
        let done = record(HANDSHAKE_RECORD, 0, &fragment(0, 0, 0, b""));
        let change = record(CHANGE_CIPHER_SPEC, 0, &[1]);
        let finished = record(HANDSHAKE_RECORD, 1, &[7; 48]);
        let two = [fragment(3, 0, 3, b"abc"), fragment(9, 0, 2, b"ab")].concat();
        let flight = [hello, done, change, finished, piece].concat();
        assert!(admitted(&flight));
        assert!(admitted(&record(HANDSHAKE_RECORD, 0, &two)));
        assert!(admitted(&record(ALERT, 0, &[2, 40])));
    }

    #[test]
    fn what_is_not_sound_does_not() {
        let finished = record(HANDSHAKE_RECORD, 1, &[7; 48]);
        for datagram in [
            vec![],
            vec![22; 40],
            finished[..finished.len() - 1].to_vec(),
            [finished.as_slice(), &[22]].concat(),
            record(APPLICATION_DATA, 0, b"plain"),
            record(24, 0, b"heartbeat"),
            record(ALERT, 0, &[2]),
            record(HANDSHAKE_RECORD, 1, &[7; 500]),
            record(HANDSHAKE_RECORD, 0, b""),
            record(HANDSHAKE_RECORD, 0, &fragment(9, 0, 0, b"")),
            record(HANDSHAKE_RECORD, 0, &fragment(9, 0, 1, b"")),
            record(HANDSHAKE_RECORD, 0, &fragment(9, 8, 2, b"ab")),
            record(HANDSHAKE_RECORD, 0, &fragment(9, 0, 2, b"abc")),
        ] {
            assert!(!admitted(&datagram), "{datagram:?}");
        }
    }

    #[test]
    fn a_stranger_cannot_fill_the_library_with_fragments() {
        let piece = record(HANDSHAKE_RECORD, 0, &fragment(200, 100, 1, b"x"));
        let mut guard = Guard::new();
        let before = (0..10_000).filter(|_| guard.admits(&piece)).count();
        assert_eq!(before, HANDSHAKE.parts);
        guard.establish();
        let after = (0..10_000).filter(|_| guard.admits(&piece)).count();
        assert_eq!(after, REPEATED_FLIGHTS.parts);
        assert!(
            guard.admits(&record(ALERT, 1, &[9; 26])),
            "a goodbye is heard all the same"
        );
    }
}
