//! What viewers are sent once more: what they ask for, and copies unasked.

use std::time::Instant;

use super::core::Core;
use super::reach::Reached;
use super::sessions::Key;
use crate::media::deadline;

impl Core {
    /// Retransmits what a viewer misses.
    pub(super) fn send_again(
        &mut self,
        now: Instant,
        key: Key,
        ssrc: u32,
        seqs: impl Iterator<Item = u16>,
    ) {
        /// The most that one NACK is answered with: a burst of loss, not a flood.
        const MAX_AT_ONCE: usize = 128;
        let Some(Reached {
            peer: viewer,
            program,
            mut to,
            metrics,
            copying,
            ..
        }) = self.reach_viewer(now, key)
        else {
            return;
        };
        viewer.way.refill(now);
        for seq in seqs.take(MAX_AT_ONCE) {
            metrics.nacks_received += 1;
            if !viewer.way.budget().may_repair() {
                // It asks again for what it still can use.
                metrics.repairs_put_off += 1;
                continue;
            }
            let found = viewer.sent(ssrc, seq).and_then(|(video, source, number)| {
                let layer = program.layer_of(source)?;
                Some((video, source, layer, layer.find(number)?))
            });
            let Some((video, source, layer, packet)) = found else {
                metrics.retransmissions_missed += 1;
                continue;
            };
            if video {
                if !viewer.repairs(now, source) {
                    metrics.retransmissions_too_late += 1;
                    continue;
                }
                match viewer.judge(now, seq, packet, layer) {
                    deadline::Verdict::Answer => {}
                    deadline::Verdict::OnItsWay => {
                        metrics.retransmissions_on_their_way += 1;
                        continue;
                    }
                    deadline::Verdict::TooLate => {
                        metrics.retransmissions_too_late += 1;
                        continue;
                    }
                }
            }
            if viewer.send_again(video, seq, source, packet, &mut to) {
                metrics.retransmissions += 1;
                if video {
                    viewer.repeat_answer(now, seq);
                }
            }
        }
        if viewer.begins_copying() {
            copying.push(key);
        }
    }

    /// Sends once more, unasked, what is due to viewers whose paths lose much.
    pub(super) fn send_copies(&mut self, now: Instant) {
        let mut copying = std::mem::take(&mut self.copying);
        copying.retain(|key| self.send_copies_to(now, *key));
        self.copying.append(&mut copying);
    }

    /// True if there are more to come.
    fn send_copies_to(&mut self, now: Instant, key: Key) -> bool {
        let Some(Reached {
            peer: viewer,
            program,
            mut to,
            metrics,
            ..
        }) = self.reach_viewer(now, key)
        else {
            return false;
        };
        viewer.way.refill(now);
        while let Some((first, last)) = viewer.next_copies(now) {
            for seq in (0..=last.wrapping_sub(first)).map(|n| first.wrapping_add(n)) {
                let found = viewer.sent_video(seq).and_then(|(source, number)| {
                    let layer = program.layer_of(source)?;
                    Some((source, layer.find(number)?))
                });
                let Some((source, packet)) = found else {
                    continue;
                };
                if !viewer.way.budget().may_repair() {
                    metrics.repairs_put_off += 1;
                    continue;
                }
                if viewer.send_again(true, seq, source, packet, &mut to) {
                    viewer.sent_copy(now, seq);
                    metrics.copies += 1;
                }
            }
        }
        viewer.is_copying()
    }
}
