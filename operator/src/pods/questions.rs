//! What pods are being asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::PodId;

/// What a pod is asked, or others of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// How it is, and all that it has.
    All,
    /// Whether it is there, and ready.
    Presence,
    /// Whether it answers its neighbours.
    Peers,
}

/// The questions that are under way, and since when; none: it waits for its turn.
#[derive(Debug, Default)]
pub struct Questions(Mutex<HashMap<(PodId, Question), Option<Instant>>>);

impl Questions {
    /// Begins one that is not under way already, and says whether it is new.
    pub fn begin(&self, pod: &PodId, question: Question) -> bool {
        let mut all = self.all();
        let key = (pod.clone(), question);
        let is_new = !all.contains_key(&key);
        if is_new {
            all.insert(key, None);
        }
        is_new
    }

    /// It goes out now.
    pub fn is_sent(&self, pod: &PodId, question: Question, now: Instant) {
        self.all().insert((pod.clone(), question), Some(now));
    }

    /// It is over.
    pub fn end(&self, pod: &PodId, question: Question) {
        self.all().remove(&(pod.clone(), question));
    }

    /// When the oldest of those was sent that the pod itself has not answered yet.
    #[must_use]
    pub fn sent(&self, pod: &PodId) -> Option<Instant> {
        let all = self.all();
        let sent = |question| *all.get(&(pod.clone(), question))?;
        let both = [Question::All, Question::Presence];
        both.into_iter().filter_map(sent).min()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(PodId, Question), Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_that_is_not_answered_counts() {
        let questions = Questions::default();
        let pod = PodId {
            namespace: "media".into(),
            name: "eu-0".into(),
        };
        let start = Instant::now();
        assert!(questions.begin(&pod, Question::All));
        assert!(!questions.begin(&pod, Question::All), "it is under way");
        assert_eq!(questions.sent(&pod), None, "it waits for its turn");
        questions.is_sent(&pod, Question::All, start);
        assert!(questions.begin(&pod, Question::Presence));
        let later = start + Duration::from_millis(250);
        questions.is_sent(&pod, Question::Presence, later);
        assert!(questions.begin(&pod, Question::Peers));
        assert_eq!(questions.sent(&pod), Some(start));
        questions.end(&pod, Question::All);
        assert_eq!(questions.sent(&pod), Some(later));
        questions.end(&pod, Question::Presence);
        assert_eq!(questions.sent(&pod), None, "others are asked, not it");
    }
}
