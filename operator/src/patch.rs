//! The difference between two statuses, as a JSON Merge Patch (RFC 7396). Pure.

use serde::Serialize;
use serde_json::{Map, Value};

/// What turns `old` into `new`; none if nothing does.
#[must_use]
pub fn merge_patch(old: &impl Serialize, new: &impl Serialize) -> Option<Value> {
    let value = |status| serde_json::to_value(status).unwrap_or_default();
    let old = serde_json::to_value(old).unwrap_or_default();
    difference(&old, &value(new))
}

fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (key, value) in new {
                match old.get(key) {
                    Some(known) => {
                        if let Some(difference) = difference(known, value) {
                            patch.insert(key.clone(), difference);
                        }
                    }
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                }
            }
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2], "f": 0});
        let new = json!({"a": 1, "b": {"c": 1, "d": 3}, "e": [1], "g": null});
        let patch = json!({"b": {"d": 3}, "e": [1], "f": null, "g": null});
        assert_eq!(merge_patch(&old, &new), Some(patch));
        assert_eq!(merge_patch(&old, &old), None);
    }

    /// As the API server does it.
    fn apply(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                let known = target.remove(key).unwrap_or_default();
                target.insert(key.clone(), apply(known, value));
            }
        }
        Value::Object(target)
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(Value::from),
            Just(json!([])),
            Just(json!([1]))
        ];
        let map =
            |inner| prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| json!(map));
        map(leaf.boxed()).prop_recursive(3, 16, 4, move |inner| map(inner.boxed()))
    }

    proptest! {
        #[test]
        fn the_patch_makes_one_the_other(old in object(), new in object()) {
            let patched = merge_patch(&old, &new).map_or(old.clone(), |patch| apply(old, &patch));
            prop_assert_eq!(patched, new);
        }
    }
}
