//! Who may write, by a Lease: what to do next, from what the Lease says and how long it has said so. Pure.
//!
//! Nobody compares another machine's clock with their own. A replica that waits takes the Lease once it has said the
//! same for its whole duration, by the waiting one's own clock; a holder counts its time from before it asked for more,
//! so its time is over before anybody can think so.

use std::time::Duration;

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; none if it was let go.
    pub holder: Option<String>,
    /// Changes with everything that is written.
    pub version: String,
    /// For how long it is held after it was last written.
    pub duration: Duration,
}

/// What a replica remembers of a Lease.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: Option<(Record, Duration)>,
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make the Lease, as its holder.
    Create,
    /// Write itself into the Lease that is there: nobody holds it any more, or it is its own already.
    Take,
    /// Somebody else holds it.
    Wait,
}

impl Memory {
    /// Takes note of what the Lease says at a time of this replica's own clock; none if there is no Lease.
    pub fn see(&mut self, record: Option<Record>, now: Duration) {
        match (record, &self.seen) {
            (None, _) => self.seen = None,
            (Some(record), Some((known, _))) if *known == record => {}
            (Some(record), _) => self.seen = Some((record, now)),
        }
    }

    /// What to do.
    #[must_use]
    pub fn verdict(&self, me: &str, now: Duration) -> Verdict {
        match &self.seen {
            None => Verdict::Create,
            Some((record, since)) => match record.holder.as_deref() {
                None | Some("") => Verdict::Take,
                Some(holder) if holder == me => Verdict::Take,
                Some(_) if now >= since.saturating_add(record.duration) => Verdict::Take,
                Some(_) => Verdict::Wait,
            },
        }
    }

    /// The version that must still be there when the Lease is written.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.seen
            .as_ref()
            .map(|(record, _)| record.version.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DURATION: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn record(holder: &str, version: u32) -> Option<Record> {
        Some(Record {
            holder: Some(holder.to_owned()).filter(|name| !name.is_empty()),
            version: version.to_string(),
            duration: DURATION,
        })
    }

    #[test]
    fn who_may_take_it() {
        for (story, record, waited, expected) in [
            ("there is none", None, 0, Verdict::Create),
            ("it was let go", record("", 1), 0, Verdict::Take),
            (
                "it is its own, as after a restart",
                record("me", 1),
                0,
                Verdict::Take,
            ),
            ("it is another's", record("you", 1), 7, Verdict::Wait),
            ("it was another's", record("you", 1), 8, Verdict::Take),
        ] {
            let mut memory = Memory::default();
            memory.see(record, at(100));
            assert_eq!(memory.verdict("me", at(100 + waited)), expected, "{story}");
        }
    }

    #[test]
    fn waiting_begins_anew_with_each_renewal() {
        let mut memory = Memory::default();
        memory.see(record("you", 1), at(0));
        memory.see(record("you", 2), at(6));
        memory.see(record("you", 2), at(9));
        assert_eq!(memory.verdict("me", at(13)), Verdict::Wait);
        assert_eq!(memory.verdict("me", at(14)), Verdict::Take);
        assert_eq!(memory.version(), Some("2"));
    }

    /// A server with one Lease, and replicas that ask when they like. Time goes on between any two steps, and an answer
    /// may take time or be lost.
    #[derive(Clone, Debug)]
    struct Step {
        replica: usize,
        pass: u64,
        answer_after: u64,
        is_lost: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..3usize, 0..4u64, 0..3u64, prop::bool::weighted(0.2)).prop_map(
            |(replica, pass, answer_after, is_lost)| Step {
                replica,
                pass,
                answer_after,
                is_lost,
            },
        )
    }

    proptest! {
        /// Never two that believe they hold it, whatever is slow or lost.
        #[test]
        fn never_two_at_a_time(steps in prop::collection::vec(step(), 0..80)) {
            let names = ["a", "b", "c"];
            let mut server: Option<(String, u32)> = None;
            let mut memories = vec![Memory::default(); 3];
            let mut until = [at(0); 3];
            let mut now = at(1);
            for step in steps {
                now += at(step.pass);
                let (me, memory) = (names[step.replica], &mut memories[step.replica]);
                let there = server.clone();
                memory.see(there.and_then(|(holder, version)| record(&holder, version)), now);
                if memory.verdict(me, now) == Verdict::Wait {
                    continue;
                }
                let version = server.as_ref().map_or(0, |(_, version)| *version);
                server = Some((me.to_owned(), version + 1));
                let asked = now;
                now += at(step.answer_after);
                if !step.is_lost {
                    until[step.replica] = asked + DURATION;
                }
                let holders = until.iter().filter(|until| **until > now).count();
                prop_assert!(holders <= 1, "{until:?} at {now:?}");
            }
        }
    }
}
