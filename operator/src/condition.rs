//! Conditions of a status. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What is said of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub of: &'static str,
    /// Whether it is so.
    pub is: bool,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// Says it. The time of the last change stays if nothing changes but reason or message, as Kubernetes has it.
pub fn say(conditions: &mut Vec<Condition>, said: Said, generation: Option<i64>, now: Timestamp) {
    let status = if said.is { "True" } else { "False" };
    let new = |since| Condition {
        type_: said.of.to_owned(),
        status: status.to_owned(),
        reason: said.reason.to_owned(),
        message: said.message.clone(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|one| one.type_ == said.of) {
        Some(known) if known.status == status => *known = new(known.last_transition_time.clone()),
        Some(known) => *known = new(Time(now)),
        None => conditions.push(new(Time(now))),
    }
}

/// The reason of a condition, if it was said.
#[must_use]
pub fn reason<'a>(conditions: &'a [Condition], of: &str) -> Option<&'a str> {
    conditions
        .iter()
        .find(|one| one.type_ == of)
        .map(|one| one.reason.as_str())
}

/// Whether a condition was said to be so.
#[must_use]
pub fn is(conditions: &[Condition], of: &str) -> bool {
    conditions
        .iter()
        .any(|one| one.type_ == of && one.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let mut conditions = Vec::new();
        let mut say_at = |second, is, reason| {
            let said = Said {
                of: "Ready",
                is,
                reason,
                message: String::new(),
            };
            say(
                &mut conditions,
                said,
                Some(1),
                Timestamp::from_second(second).unwrap(),
            );
            (
                conditions.len(),
                conditions[0].last_transition_time.0.as_second(),
            )
        };
        assert_eq!(say_at(10, false, "A"), (1, 10));
        assert_eq!(say_at(20, false, "B"), (1, 10));
        assert_eq!(say_at(30, true, "C"), (1, 30));
        assert_eq!(reason(&conditions, "Ready"), Some("C"));
        assert!(is(&conditions, "Ready") && !is(&conditions, "Live"));
    }
}
