//! What the two ends of a link tell each other beside media, and how they notice that the other one is gone.
//!
//! Each end has one note for the other, which says how things stand there; a new one replaces it, so none is ever queued.
//! Notes go in RTCP APP packets (RFC 3550 §6.7), ten times a second until the other end says that it has the newest. The
//! same packets, without a note, are the link's pulse: an end that is silent is known to be gone long before consent
//! (RFC 7675) would tell.
//!
//! An APP packet's data are the number of the sender's newest note, the number of the newest that it has of the other
//! end, the length of the note that follows, and the note.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::rtcp::{BufferFull, Writer};

/// The name of these APP packets.
pub const NAME: [u8; 4] = *b"SRLK";

/// The longest note, in bytes: what fits a packet on any path together with other RTCP.
pub const MAX_NOTE: usize = 1000;

/// How often each end shows that it is there.
pub const PULSE: Duration = Duration::from_millis(100);

/// An end that nothing was heard of for this long is gone. Several pulses, and all media, would have to be lost.
pub const SILENCE: Duration = Duration::from_millis(700);

/// One end's notes.
#[derive(Debug)]
pub struct Notes {
    ours: Arc<[u8]>,
    number: u32,
    /// The newest of ours that the other end has.
    known: u32,
    /// The newest of theirs.
    theirs: u32,
    heard: Instant,
    next: Instant,
}

impl Notes {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(now: Instant) -> Notes {
        Notes {
            ours: Arc::default(),
            number: 0,
            known: 0,
            theirs: 0,
            heard: now,
            next: now,
        }
    }

    /// Has a new note for the other end. One over [`MAX_NOTE`] is not taken: the one before stays.
    pub fn say(&mut self, now: Instant, note: Arc<[u8]>) {
        if note.len() > MAX_NOTE || *note == *self.ours {
            return;
        }
        self.ours = note;
        self.number += 1;
        self.next = now;
    }

    /// Something authentic of the other end came.
    pub fn on_packet(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > SILENCE
    }

    /// Writes what is due.
    ///
    /// # Errors
    /// If there is no room: it is due with the next call as well.
    pub fn write(
        &mut self,
        now: Instant,
        ssrc: u32,
        out: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        if now < self.next {
            return Ok(());
        }
        let note: &[u8] = if self.known == self.number {
            &[]
        } else {
            &self.ours
        };
        let (number, theirs) = (self.number.to_be_bytes(), self.theirs.to_be_bytes());
        let len = (note.len() as u16).to_be_bytes();
        out.application(ssrc, 0, NAME, &[&number, &theirs, &len, note])?;
        self.next = now + PULSE;
        Ok(())
    }

    /// Reads the data of an APP packet; the note in it, if it is news.
    pub fn read<'a>(&mut self, now: Instant, data: &'a [u8]) -> Option<&'a [u8]> {
        let (number, rest) = data.split_first_chunk()?;
        let (known, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (number, known) = (u32::from_be_bytes(*number), u32::from_be_bytes(*known));
        // They may come in another order than they were sent.
        self.known = self.known.max(known.min(self.number));
        let note = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        if number <= self.theirs || note.is_empty() {
            return None;
        }
        self.theirs = number;
        // So that the other end can stop repeating it.
        self.next = now;
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use showrunner_rtp::rtcp::{self, Packet};

    use super::*;

    /// Sends what is due from one end to the other; how many bytes, and the news in them.
    fn send(now: Instant, from: &mut Notes, to: Option<&mut Notes>) -> (usize, Option<String>) {
        let mut buffer = [0; 1200];
        let mut writer = Writer::new(&mut buffer);
        from.write(now, 1, &mut writer).unwrap();
        let len = writer.finish();
        let Some(to) = to else { return (len, None) };
        let news = rtcp::packets(&buffer[..len]).find_map(|packet| match packet.unwrap() {
            Packet::Application { name, data, .. } => {
                assert_eq!(name, NAME);
                to.on_packet(now);
                let note = to.read(now, data)?;
                Some(String::from_utf8(note.to_vec()).unwrap())
            }
            _ => None,
        });
        (len, news)
    }

    fn ends() -> (Instant, Notes, Notes) {
        let now = Instant::now();
        (now, Notes::new(now), Notes::new(now))
    }

    #[test]
    fn a_note_is_repeated_until_it_is_known_and_news_once() {
        let (mut now, mut a, mut b) = ends();
        let (a, b) = (&mut a, &mut b);
        a.say(now, b"one".as_slice().into());
        assert!(send(now, a, None).0 > 20, "lost");
        assert_eq!(send(now, a, None).0, 0, "not due");
        now += PULSE;
        assert_eq!(send(now, a, Some(b)).1.as_deref(), Some("one"));
        now += PULSE;
        assert_eq!(
            send(now, a, Some(b)),
            (24 + 4, None),
            "once more, and no news"
        );
        send(now, b, Some(a));
        now += PULSE;
        assert_eq!(send(now, a, Some(b)), (24, None), "a pulse alone");
    }

    #[test]
    fn the_newest_note_is_the_one_that_counts() {
        let (now, mut a, mut b) = ends();
        let (a, b) = (&mut a, &mut b);
        a.say(now, b"old".as_slice().into());
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        a.write(now, 1, &mut writer).unwrap();
        let late = writer.finish();
        a.say(now, b"new".as_slice().into());
        assert_eq!(send(now, a, Some(b)).1.as_deref(), Some("new"));
        let Some(Ok(Packet::Application { data, .. })) = rtcp::packets(&buffer[..late]).next()
        else {
            panic!("no packet");
        };
        assert_eq!(b.read(now, data), None, "it came late");
        send(now, b, Some(a));
        a.say(now, b"new".as_slice().into());
        assert_eq!(send(now + PULSE, a, None).0, 24, "nothing new was said");
    }

    #[test]
    fn who_is_silent_is_gone() {
        let (now, mut a, mut b) = ends();
        let (a, b) = (&mut a, &mut b);
        assert!(!a.is_silent(now + SILENCE));
        assert!(a.is_silent(now + SILENCE + PULSE));
        let later = now + SILENCE;
        send(later, b, Some(a));
        assert!(!a.is_silent(later + SILENCE));
    }

    #[test]
    fn what_is_cut_off_or_too_long_says_nothing() {
        let (now, mut a, _) = ends();
        let a = &mut a;
        for len in 0..10 {
            assert_eq!(a.read(now, &[0xff; 10][..len]), None);
        }
        assert_eq!(a.read(now, &[0, 0, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3]), None);
        a.say(now, vec![0; MAX_NOTE + 1].into());
        assert_eq!(send(now, a, None).0, 24);
    }
}
