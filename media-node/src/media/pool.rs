//! Reuses stored packets, so that a room in steady state allocates nothing per packet.
//!
//! A packet leaves a layer's history when a newer one takes its slot; other shards may still hold
//! it for a moment. The pool of the shard that it came in on keeps it until the last of them lets
//! go, then hands it out again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::packet::StoredPacket;

/// The most packets kept for reuse: more than a shard has in flight between shards.
const MAX_SPARE: usize = 4096;

/// A shard's spare packets, oldest first.
#[derive(Debug, Default)]
pub struct PacketPool {
    retired: VecDeque<Arc<StoredPacket>>,
    allocated: u64,
}

impl PacketPool {
    /// A packet that nobody else holds.
    pub fn take(&mut self, now: Instant) -> Arc<StoredPacket> {
        if let Some(mut packet) = self.retired.pop_front() {
            if Arc::get_mut(&mut packet).is_some() {
                return packet;
            }
            self.retire(packet);
        }
        self.allocated += 1;
        Arc::new(StoredPacket::empty(now))
    }

    /// Gives a packet back once it is out of every history of this shard.
    pub fn retire(&mut self, packet: Arc<StoredPacket>) {
        if self.retired.len() < MAX_SPARE {
            self.retired.push_back(packet);
        }
    }

    /// How many packets were ever allocated: constant in steady state.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_packet_comes_back_only_when_nobody_holds_it() {
        let now = Instant::now();
        let mut pool = PacketPool::default();
        let first = pool.take(now);
        let held = Arc::clone(&first);
        pool.retire(first);
        drop(pool.take(now));
        assert_eq!(pool.allocated(), 2, "the held packet was not handed out");
        drop(held);
        let again = pool.take(now);
        assert_eq!(pool.allocated(), 2, "the free packet was reused");
        assert_eq!(Arc::strong_count(&again), 1);
    }
}
