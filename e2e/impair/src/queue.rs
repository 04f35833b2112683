//! The bounded queue before a bottleneck.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use crate::codel::Codel;

/// Which packets are dropped when too many come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discipline {
    /// Those that find the queue full.
    #[default]
    DropTail,
    /// Those too, and as CoDel (RFC 8289) says.
    Codel,
}

/// A packet that waits.
#[derive(Clone, Debug)]
pub struct Waiting<P> {
    /// It.
    pub packet: P,
    /// Its length, from the first byte of the IP header.
    pub bytes: usize,
    /// When it came.
    pub since: Duration,
}

/// Packets that wait for the link, first in first out.
#[derive(Debug)]
pub struct Queue<P> {
    waiting: VecDeque<Waiting<P>>,
    bytes: usize,
    codel: Codel,
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            codel: Codel::default(),
        }
    }
}

impl<P> Queue<P> {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a packet at the end. False if it finds no room in `limit` bytes; an empty queue has
    /// room for any one packet, or a small limit would let nothing through at all.
    pub fn push(&mut self, waiting: Waiting<P>, limit: usize) -> bool {
        let has_room = self.waiting.is_empty() || self.bytes + waiting.bytes <= limit;
        if has_room {
            self.bytes += waiting.bytes;
            self.waiting.push_back(waiting);
        }
        has_room
    }

    /// The packet whose turn it is, and how many were dropped before it.
    pub fn pop(&mut self, now: Duration, discipline: Discipline) -> (Option<Waiting<P>>, u64) {
        let (waiting, bytes) = (&mut self.waiting, &mut self.bytes);
        let mut pop = || {
            let front = waiting.pop_front()?;
            *bytes -= front.bytes;
            Some((*bytes, front))
        };
        match discipline {
            Discipline::DropTail => (pop().map(|(_, front)| front), 0),
            Discipline::Codel => {
                let mut dropped = 0;
                let next = self.codel.dequeue(
                    now,
                    || {
                        let (left, front) = pop()?;
                        let since = front.since;
                        Some((front, since, left))
                    },
                    |_| dropped += 1,
                );
                (next, dropped)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> Waiting<()> {
        Waiting {
            packet: (),
            bytes,
            since: Duration::ZERO,
        }
    }

    #[test]
    fn the_bound_holds_to_the_byte() {
        let mut queue = Queue::default();
        assert!(queue.push(packet(600), 1000));
        assert!(queue.push(packet(400), 1000));
        assert!(!queue.push(packet(1), 1000));
        assert_eq!(queue.bytes(), 1000);
        assert!(queue.pop(Duration::ZERO, Discipline::DropTail).0.is_some());
        assert_eq!(queue.bytes(), 400);
        assert!(queue.push(packet(600), 1000));
    }

    #[test]
    fn one_packet_always_fits() {
        let mut queue = Queue::default();
        assert!(queue.push(packet(1500), 100));
        assert!(!queue.push(packet(10), 100));
    }
}
