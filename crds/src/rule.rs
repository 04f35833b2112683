//! Rules in CEL that the API server checks (`x-kubernetes-validations`).

use serde::Serialize;

/// What must be so of a value, and what is said to whoever broke it.
#[derive(Serialize)]
pub(crate) struct Rule {
    rule: &'static str,
    message: &'static str,
}

impl Rule {
    pub(crate) const fn new(rule: &'static str, message: &'static str) -> Rule {
        Rule { rule, message }
    }
}
