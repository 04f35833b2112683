//! The time of day, for credentials.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock before that makes every credential one of the future, which is refused.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
