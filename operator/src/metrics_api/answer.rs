//! Values as the two APIs write them.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::core::{Selector, SelectorExt};
use serde_json::{Value as Json, json};

use super::catalog::{CUSTOM, EXTERNAL, External, Measure, Subject};
use super::reading::Value;

/// An object of the cluster and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What it has.
    pub value: Value,
}

/// A `MetricValueList`.
#[must_use]
pub fn custom(subject: Subject, measure: Measure, namespace: &str, all: &[Described]) -> Json {
    let (kind, api_version) = subject.kind();
    let items = all.iter().map(|one| {
        let mut item = json!({
            "describedObject": {
                "kind": kind,
                "namespace": namespace,
                "name": one.name,
                "apiVersion": api_version,
            },
            "metric": {"name": measure.custom_name(), "selector": null},
            "timestamp": time(one.value.at),
            "value": one.value.quantity.to_string(),
        });
        if let Some(seconds) = measure.window_seconds() {
            item["windowSeconds"] = seconds.into();
        }
        item
    });
    json!({
        "kind": "MetricValueList",
        "apiVersion": CUSTOM.group_version(),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// A value with labels; none if it isn't known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// By which it is found.
    pub labels: BTreeMap<String, String>,
    /// What it is.
    pub value: Option<Value>,
}

/// An `ExternalMetricValueList` of those that are selected. Whoever asks adds them up: if one of them isn't known, none
/// is told, since the sum of the others would be too small.
#[must_use]
pub fn external(metric: External, selector: &Selector, all: Vec<Labelled>) -> Json {
    let selected = all.into_iter().filter(|one| selector.matches(&one.labels));
    let known: Option<Vec<(BTreeMap<String, String>, Value)>> =
        selected.map(|one| Some((one.labels, one.value?))).collect();
    let items = known.into_iter().flatten().map(|(labels, value)| {
        let mut item = json!({
            "metricName": metric.name(),
            "metricLabels": labels,
            "timestamp": time(value.at),
            "value": value.quantity.to_string(),
        });
        if let Some(seconds) = metric.measure.window_seconds() {
            item["window"] = seconds.into();
        }
        item
    });
    json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": EXTERNAL.group_version(),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// As Kubernetes writes times: in whole seconds.
fn time(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or_default();
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::quantity::Quantity;
    use super::super::selector::parse;
    use super::*;

    fn value(number: u64) -> Value {
        Value {
            at: Timestamp::from_millisecond(1_800_000_000_900).unwrap(),
            quantity: Quantity::whole(number),
        }
    }

    #[test]
    fn objects_are_described_with_what_they_have() {
        let all = [Described {
            name: "eu-0".into(),
            value: value(1500),
        }];
        let list = custom(Subject::Pod, Measure::Egress, "media", &all);
        assert_eq!(list["apiVersion"], "custom.metrics.k8s.io/v1beta2");
        let item = &list["items"][0];
        assert_eq!(item["describedObject"]["name"], "eu-0");
        assert_eq!(item["metric"]["name"], "showrunner_egress_bits_per_second");
        assert_eq!(item["timestamp"], "2027-01-15T08:00:00Z");
        assert_eq!(item["value"], "1500");
        assert_eq!(item["windowSeconds"], 1);
        let list = custom(Subject::Pod, Measure::Viewers, "media", &all);
        assert_eq!(list["items"][0].get("windowSeconds"), None);
    }

    #[test]
    fn a_sum_that_would_be_too_small_is_not_told() {
        let metric = External {
            subject: Subject::MediaNode,
            measure: Measure::Viewers,
        };
        let labelled = |region: &str, value| Labelled {
            labels: [("region".to_owned(), region.to_owned())].into(),
            value,
        };
        let all = || {
            vec![
                labelled("eu", Some(value(2))),
                labelled("us", None),
                labelled("ap", Some(value(3))),
            ]
        };
        let values = |selector: &str| -> Vec<String> {
            let list = external(metric, &parse(selector).unwrap(), all());
            let items = list["items"].as_array().unwrap();
            items
                .iter()
                .map(|item| item["value"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(values("region in (eu,ap)"), ["2", "3"]);
        assert!(values("region in (eu,us)").is_empty());
        assert!(values("").is_empty());
        assert!(values("region=other").is_empty());
    }
}
