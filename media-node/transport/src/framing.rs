//! Datagrams on a TCP connection (RFC 4571): each behind its length, two bytes.

/// Why a datagram or a stream can't be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The length doesn't fit into 16 bits, or not into the reader.
    #[error("frame too long")]
    TooLong,
}

/// The longest frame that a [`Reader`] takes: no packet of a session is longer, on any network.
pub const MAX_FRAME: usize = 4 << 10;

/// The most bytes that wait in a [`Reader`]: some key frames of a fast sender.
const MAX_BUFFERED: usize = 256 << 10;

/// The room that an idle [`Reader`] keeps.
const KEPT: usize = 32 << 10;

/// Cuts a byte stream into frames. It holds at most 256 KiB: after each [`Reader::push`] take all
/// frames with [`Reader::next_frame`].
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Where the next frame begins in `bytes`.
    at: usize,
}

impl Reader {
    /// Takes in what the connection brought.
    ///
    /// # Errors
    /// [`FramingError::TooLong`] if the stream announces a frame longer than [`MAX_FRAME`] or its
    /// frames were not taken. The connection is of no use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        self.drop_taken();
        if self.bytes.len() + bytes.len() > MAX_BUFFERED {
            return Err(FramingError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        let mut rest = self.bytes.as_slice();
        while let [hi, lo, body @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*hi, *lo]));
            if len > MAX_FRAME {
                return Err(FramingError::TooLong);
            }
            rest = body.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Copies the next whole frame into `frame`; its length. A frame longer than `frame` is
    /// dropped. Empty frames, which some peers send to keep a connection alive, are skipped.
    pub fn next_frame(&mut self, frame: &mut [u8]) -> Option<usize> {
        while let Some(whole) = self.whole_frame() {
            let len = whole.len();
            let room = frame.get_mut(..len).filter(|room| !room.is_empty());
            let copied = room.map(|room| room.copy_from_slice(whole)).is_some();
            self.at += 2 + len;
            if copied {
                return Some(len);
            }
        }
        self.drop_taken();
        self.bytes.shrink_to(KEPT);
        None
    }

    fn whole_frame(&self) -> Option<&[u8]> {
        let (len, body) = self.bytes.get(self.at..)?.split_first_chunk()?;
        body.get(..usize::from(u16::from_be_bytes(*len)))
    }

    fn drop_taken(&mut self) {
        self.bytes.drain(..self.at);
        self.at = 0;
    }
}

/// Appends a datagram, framed, to what waits to be written.
///
/// # Errors
/// [`FramingError::TooLong`] from 65,536 bytes on.
pub fn write(datagram: &[u8], out: &mut Vec<u8>) -> Result<(), FramingError> {
    let len = u16::try_from(datagram.len()).map_err(|_| FramingError::TooLong)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(datagram);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(reader: &mut Reader) -> Vec<Vec<u8>> {
        let mut frame = [0; MAX_FRAME];
        std::iter::from_fn(|| {
            reader
                .next_frame(&mut frame)
                .map(|len| frame[..len].to_vec())
        })
        .collect()
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let sent = [b"a".to_vec(), vec![7; MAX_FRAME], b"last".to_vec()];
        let mut stream = Vec::new();
        for datagram in &sent {
            write(datagram, &mut stream).unwrap();
            write(&[], &mut stream).unwrap();
        }
        for size in [1, 2, 3, 1000, stream.len()] {
            let mut reader = Reader::default();
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece).unwrap();
                got.extend(frames(&mut reader));
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_frame_too_long_ends_the_connection() {
        assert_eq!(
            Reader::default().push(&[0xff, 0xff]),
            Err(FramingError::TooLong)
        );
        let mut after_a_good_one = vec![0, 1, 9];
        after_a_good_one.extend([0x10, 0x01]);
        assert_eq!(
            Reader::default().push(&after_a_good_one),
            Err(FramingError::TooLong)
        );
        assert_eq!(
            write(&vec![0; 65_536], &mut Vec::new()),
            Err(FramingError::TooLong)
        );
    }

    #[test]
    fn frames_not_taken_do_not_pile_up() {
        let mut reader = Reader::default();
        let mut frame = Vec::new();
        write(&[0; MAX_FRAME], &mut frame).unwrap();
        let pushed = (0..1000)
            .take_while(|_| reader.push(&frame).is_ok())
            .count();
        assert!(pushed * frame.len() <= MAX_BUFFERED);
        assert_eq!(frames(&mut reader).len(), pushed);
        assert!(
            reader.bytes.capacity() <= KEPT,
            "an idle connection costs little"
        );
    }

    #[test]
    fn a_frame_that_the_caller_has_no_room_for_is_dropped() {
        let mut reader = Reader::default();
        reader.push(&[0, 3, 1, 2, 3, 0, 1, 9]).unwrap();
        let mut frame = [0; 2];
        assert_eq!(reader.next_frame(&mut frame), Some(1));
        assert_eq!(frame[0], 9);
    }
}
