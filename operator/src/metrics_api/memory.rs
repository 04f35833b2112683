//! Answers that are good for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most that is remembered; then all of it is forgotten.
const MOST: usize = 1024;

/// Remembers answers for some time.
#[derive(Debug)]
pub struct Memory<K, V> {
    answers: Mutex<HashMap<K, (V, Instant)>>,
    lasts: Duration,
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    /// Each for so long.
    #[must_use]
    pub fn new(lasts: Duration) -> Memory<K, V> {
        let answers = Mutex::default();
        Memory { answers, lasts }
    }

    /// The answer, if there was one a short while ago.
    #[must_use]
    pub fn recall(&self, question: &K, now: Instant) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, at) = answers.get(question)?;
        (now.saturating_duration_since(*at) < self.lasts).then(|| answer.clone())
    }

    /// Remembers one.
    pub fn keep(&self, question: K, answer: V, now: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (_, at)| now.saturating_duration_since(*at) < self.lasts);
        }
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(question, (answer, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_its_time_and_memory_is_bounded() {
        let (memory, start) = (Memory::new(Duration::from_secs(10)), Instant::now());
        memory.keep(1, "yes", start);
        assert_eq!(
            memory.recall(&1, start + Duration::from_secs(9)),
            Some("yes")
        );
        assert_eq!(memory.recall(&1, start + Duration::from_secs(10)), None);
        assert_eq!(memory.recall(&2, start), None);
        for question in 0..5000 {
            memory.keep(question, "yes", start);
        }
        assert!(memory.answers.lock().unwrap().len() <= MOST);
        assert_eq!(memory.recall(&4999, start), Some("yes"));
    }
}
