//! Whose rooms a site takes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use showrunner_crds::media_node::{AllowedRooms, From};

/// Whether a site takes rooms of a namespace that has these labels. Nothing is known of a namespace that was made a
/// moment ago: no selector finds it.
#[must_use]
pub fn takes(
    allowed: &AllowedRooms,
    own_namespace: &str,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    match allowed.from {
        From::All => true,
        From::Same => own_namespace == namespace,
        From::Selector => match (&allowed.selector, labels) {
            (Some(selector), Some(labels)) => selects(selector, labels),
            _ => false,
        },
    }
}

/// As Kubernetes selects: all that is asked for must be so.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let rules = selector.match_expressions.iter().flatten();
    equal
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && rules.into_iter().all(|rule| holds(rule, labels))
}

fn holds(rule: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&rule.key);
    let is_listed = value.is_some_and(|value| rule.values.iter().flatten().any(|one| one == value));
    match rule.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(from: From, selector: serde_json::Value) -> AllowedRooms {
        AllowedRooms {
            from,
            selector: serde_json::from_value(selector).unwrap(),
        }
    }

    #[test]
    fn whose_rooms_are_taken() {
        use serde_json::json;
        let labels: BTreeMap<String, String> = [("team".to_owned(), "shop".to_owned())].into();
        let rule = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]});
        for (from, selector, namespace, expected) in [
            (From::All, json!(null), "shop", true),
            (From::Same, json!(null), "shop", false),
            (From::Same, json!(null), "media", true),
            (From::Selector, json!({}), "shop", true),
            (
                From::Selector,
                json!({"matchLabels": {"team": "shop"}}),
                "shop",
                true,
            ),
            (
                From::Selector,
                json!({"matchLabels": {"team": "x"}}),
                "shop",
                false,
            ),
            (
                From::Selector,
                json!({"matchLabels": {"team": "x"}}),
                "media",
                false,
            ),
            (From::Selector, rule("In", &["a", "shop"]), "shop", true),
            (From::Selector, rule("In", &["a"]), "shop", false),
            (From::Selector, rule("NotIn", &["a"]), "shop", true),
            (From::Selector, rule("NotIn", &["shop"]), "shop", false),
            (From::Selector, rule("Exists", &[]), "shop", true),
            (From::Selector, rule("DoesNotExist", &[]), "shop", false),
            (From::Selector, rule("Likes", &["shop"]), "shop", false),
        ] {
            let allowed = allowed(from, selector.clone());
            assert_eq!(
                takes(&allowed, "media", namespace, Some(&labels)),
                expected,
                "{from:?} {selector}"
            );
        }
        assert!(
            !takes(&allowed(From::Selector, json!({})), "media", "shop", None),
            "not known yet"
        );
    }
}
