//! How long before it is needed a pod must be asked for.

use super::Pod;

/// Until a need is seen, its pod is made and has said that it is ready, in seconds.
const REACTION: u32 = 5;
/// A few pods that took longer, such as for a machine that could not be had, don't make all others early, in seconds.
const LONGEST: u32 = 900;

/// The time within which nine of ten pods got ready. What is known stays known when no pod is left.
pub(super) fn learn(known: &mut Option<u32>, pods: &[Pod], default: u32) -> u32 {
    let mut times: Vec<u32> = pods.iter().filter_map(|pod| pod.ready_after).collect();
    times.sort_unstable();
    let rank = (times.len() * 9).div_ceil(10);
    if let Some(last) = rank.checked_sub(1) {
        *known = Some(times[last]);
    }
    let ready = known.unwrap_or(default).min(LONGEST);
    ready.saturating_add(REACTION)
}
