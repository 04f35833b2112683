//! Merges everybody's wish for a keyframe of one layer into at most one request a second.

use std::time::{Duration, Instant};

/// The least time between two keyframe requests for one layer.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The keyframe wishes for one layer.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    last_sent: Option<Instant>,
    wanted: bool,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// A keyframe has arrived: all wishes so far are granted.
    pub fn granted(&mut self) {
        self.wanted = false;
    }

    /// True if a request must go out now; the caller sends it.
    #[must_use]
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.wanted
            && self
                .last_sent
                .is_none_or(|at| now.saturating_duration_since(at) >= MIN_INTERVAL);
        if due {
            self.last_sent = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_wishes_make_one_request_a_second() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        let mut sent = 0;
        for ms in 0..3000 {
            requests.want();
            sent += u32::from(requests.poll(start + Duration::from_millis(ms)));
        }
        assert_eq!(sent, 3);
    }

    #[test]
    fn a_keyframe_grants_the_wish() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want();
        assert!(requests.poll(start));
        requests.granted();
        assert!(!requests.poll(start + Duration::from_secs(5)));
    }

    #[test]
    fn an_unanswered_request_is_repeated() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want();
        assert!(requests.poll(start));
        assert!(!requests.poll(start + Duration::from_millis(999)));
        assert!(requests.poll(start + MIN_INTERVAL));
    }
}
