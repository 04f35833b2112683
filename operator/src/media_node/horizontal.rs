//! The HorizontalPodAutoscaler of a site whose `spec.autoscaling.mode` asks for one. Pure.
//!
//! It goes by metrics of the site's pods and not of the site: if one pod isn't known, Kubernetes counts it as full when
//! it would give pods up, and as empty when it would add some. So a silent pod never makes a site smaller, and never
//! keeps it from growing.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
    MetricTarget, PodsMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use kube::{Resource, ResourceExt};
use showrunner_crds::MediaNode;
use showrunner_crds::autoscaling::{Autoscaling, AutoscalingMode, AutoscalingStatus};

use super::service;
use crate::metrics_api::catalog::Measure;
use crate::metrics_api::quantity::Quantity;

/// What the site should have.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// None.
    None,
    /// None, although one is asked for: it would have nothing to go by.
    NoTarget,
    /// This one.
    This(Box<HorizontalPodAutoscaler>),
}

/// What a site should have, on a cluster that knows of tolerances or doesn't.
#[must_use]
pub fn wanted(site: &MediaNode, has_tolerance: bool) -> Wanted {
    let Some(autoscaling) = &site.spec.autoscaling else {
        return Wanted::None;
    };
    if autoscaling.mode != AutoscalingMode::HorizontalPodAutoscaler {
        return Wanted::None;
    }
    let metrics = metrics(site, autoscaling);
    if metrics.is_empty() {
        return Wanted::NoTarget;
    }
    Wanted::This(Box::new(HorizontalPodAutoscaler {
        metadata: service::meta(site, site.name_any()),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(MediaNode::api_version(&()).into_owned()),
                kind: MediaNode::kind(&()).into_owned(),
                name: site.name_any(),
            },
            min_replicas: Some(signed(autoscaling.min_replicas)),
            max_replicas: signed(autoscaling.max_replicas),
            metrics: Some(metrics),
            behavior: Some(behavior(autoscaling, has_tolerance)),
        },
        status: None,
    }))
}

/// How much of each each pod should have.
fn metrics(site: &MediaNode, autoscaling: &Autoscaling) -> Vec<MetricSpec> {
    let (targets, capacity) = (&autoscaling.targets, &site.spec.capacity);
    let part = |percent: u32, of: u32| Quantity::milli(u64::from(of) * u64::from(percent) * 10);
    let egress = [
        capacity
            .egress_mbps
            .map(|most| u64::from(most) * u64::from(targets.egress_percent) * 10_000),
        Some(u64::from(targets.egress_mbps) * 1_000_000),
    ];
    let egress = egress.into_iter().flatten().filter(|bps| *bps > 0).min();
    let all = [
        (
            Measure::Viewers,
            part(targets.viewers_percent, capacity.viewers),
        ),
        (Measure::Rooms, part(targets.rooms_percent, capacity.rooms)),
        (Measure::Egress, Quantity::whole(egress.unwrap_or(0))),
        (
            Measure::Packets,
            Quantity::whole(targets.packets_per_second.into()),
        ),
        (Measure::Cpu, part(targets.cpu_percent, 1)),
    ];
    let asked = all
        .into_iter()
        .filter(|(_, target)| *target > Quantity::default());
    asked
        .map(|(measure, target)| of_each_pod(measure, target))
        .collect()
}

fn of_each_pod(measure: Measure, target: Quantity) -> MetricSpec {
    MetricSpec {
        type_: "Pods".to_owned(),
        pods: Some(PodsMetricSource {
            metric: MetricIdentifier {
                name: measure.custom_name(),
                selector: None,
            },
            target: MetricTarget {
                type_: "AverageValue".to_owned(),
                average_value: Some(ApiQuantity(target.to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn behavior(autoscaling: &Autoscaling, has_tolerance: bool) -> HorizontalPodAutoscalerBehavior {
    let (up, down) = (&autoscaling.scale_up, &autoscaling.scale_down);
    // In a dry run it says what it would do, and does nothing.
    let select = if autoscaling.dry_run {
        "Disabled"
    } else {
        "Max"
    };
    let rules =
        |policies: [(&str, u32); 2], period: u32, window: u32, tolerance: u64| HPAScalingRules {
            policies: Some(
                policies
                    .into_iter()
                    .filter(|(_, value)| *value > 0)
                    .map(|(type_, value)| HPAScalingPolicy {
                        type_: type_.to_owned(),
                        value: signed(value),
                        period_seconds: signed(period),
                    })
                    .collect(),
            ),
            select_policy: Some(select.to_owned()),
            stabilization_window_seconds: Some(signed(window)),
            // Kubernetes' own is a tenth: a pod would be asked for when others are fuller than they should be by that much.
            tolerance: has_tolerance.then(|| ApiQuantity(Quantity::milli(tolerance).to_string())),
        };
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(rules(
            [("Pods", up.pods), ("Percent", up.percent)],
            up.period_seconds,
            0,
            0,
        )),
        scale_down: Some(rules(
            [("Pods", down.pods), ("Percent", down.percent)],
            down.period_seconds,
            down.stabilization_window_seconds,
            u64::from(down.tolerance_percent) * 10,
        )),
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What Kubernetes says that it does for the site, in the words that the site's status has for it.
#[must_use]
pub fn status(autoscaler: &HorizontalPodAutoscaler) -> Option<AutoscalingStatus> {
    let status = autoscaler.status.as_ref()?;
    let condition = |of: &str| {
        let mut all = status.conditions.iter().flatten();
        all.find(|one| one.type_ == of).map(|one| {
            (
                one.status == "True",
                one.reason.as_deref().unwrap_or_default(),
                one.message.as_deref().unwrap_or_default(),
            )
        })
    };
    let (hold, message) = match [
        condition("ScalingActive"),
        condition("AbleToScale"),
        condition("ScalingLimited"),
    ] {
        [Some((false, _, message)), ..] => (Some("MissingMetrics"), message),
        [_, Some((false, _, message)), _] => (Some("RateLimited"), message),
        [_, _, Some((true, "TooManyReplicas", message))] => (Some("Maximum"), message),
        [_, Some((_, "ScaleDownStabilized", message)), _] => (Some("Stabilizing"), message),
        [active, able, limited] => (
            None,
            limited
                .or(able)
                .or(active)
                .map_or("", |(_, _, message)| message),
        ),
    };
    Some(AutoscalingStatus {
        desired_replicas: u32::try_from(status.desired_replicas).unwrap_or(0),
        signal: "HorizontalPodAutoscaler".to_owned(),
        hold: hold.map(str::to_owned),
        message: message.chars().take(500).collect(),
        last_scale_time: status.last_scale_time.clone(),
        ..AutoscalingStatus::default()
    })
}

/// Whether a cluster of this version knows of tolerances in a HorizontalPodAutoscaler: from 1.35 on, without being told.
#[must_use]
pub fn knows_tolerance(major: &str, minor: &str) -> bool {
    let number = |text: &str| {
        let digits = text.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().unwrap_or(0u32)
    };
    (number(major), number(minor)) >= (1, 35)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn site(autoscaling: Value) -> MediaNode {
        serde_json::from_value(json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "MediaNode",
            "metadata": {"name": "eu", "namespace": "media", "uid": "u"},
            "spec": {"region": "eu", "capacity": {"viewers": 500, "rooms": 20, "egressMbps": 1000}, "autoscaling": autoscaling},
        }))
        .unwrap()
    }

    fn made(autoscaling: Value, has_tolerance: bool) -> Value {
        match wanted(&site(autoscaling), has_tolerance) {
            Wanted::This(made) => serde_json::to_value(*made).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn horizontal(more: Value) -> Value {
        let mut spec =
            json!({"mode": "HorizontalPodAutoscaler", "minReplicas": 2, "maxReplicas": 9});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        spec
    }

    #[test]
    fn it_goes_by_the_targets_of_the_site() {
        let made = made(
            horizontal(json!({"targets": {"packetsPerSecond": 20_000}})),
            true,
        );
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u");
        let spec = &made["spec"];
        assert_eq!(
            spec["scaleTargetRef"],
            json!({"apiVersion": "showrunner.dev/v1alpha1", "kind": "MediaNode", "name": "eu"})
        );
        assert_eq!(
            (&spec["minReplicas"], &spec["maxReplicas"]),
            (&json!(2), &json!(9))
        );
        let targets: Vec<String> = spec["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| {
                let pods = &metric["pods"];
                format!(
                    "{}={}",
                    pods["metric"]["name"].as_str().unwrap(),
                    pods["target"]["averageValue"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(
            targets,
            [
                "showrunner_viewers=450",
                "showrunner_rooms=18",
                "showrunner_egress_bits_per_second=800M",
                "showrunner_packets_per_second=20k",
                "showrunner_cpu_utilization=700m",
            ]
        );
    }

    #[test]
    fn the_smaller_target_of_two_counts() {
        let targets = json!({"targets": {"egressMbps": 300, "viewersPercent": 0, "roomsPercent": 0, "cpuPercent": 0}});
        let made = made(horizontal(targets), true);
        let metrics = made["spec"]["metrics"].as_array().unwrap().clone();
        assert_eq!(metrics.len(), 1);
        assert_eq!(metrics[0]["pods"]["target"]["averageValue"], "300M");
    }

    #[test]
    fn paces_and_tolerances_are_those_of_the_site() {
        let made_with = |has_tolerance| {
            made(
                horizontal(json!({"scaleUp": {"percent": 0}})),
                has_tolerance,
            )["spec"]["behavior"]
                .clone()
        };
        let behavior = made_with(true);
        assert_eq!(
            behavior["scaleUp"]["policies"],
            json!([{"type": "Pods", "value": 20, "periodSeconds": 15}])
        );
        assert_eq!(behavior["scaleUp"]["tolerance"], "0");
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(
            behavior["scaleDown"]["policies"].as_array().unwrap().len(),
            2
        );
        assert_eq!(made_with(false)["scaleDown"].get("tolerance"), None);
        let dry = made(horizontal(json!({"dryRun": true})), true);
        assert_eq!(
            dry["spec"]["behavior"]["scaleDown"]["selectPolicy"],
            "Disabled"
        );
    }

    #[test]
    fn there_is_none_where_none_is_asked_for_or_nothing_to_go_by() {
        assert_eq!(wanted(&site(json!(null)), true), Wanted::None);
        assert_eq!(wanted(&site(json!({"maxReplicas": 3})), true), Wanted::None);
        let nothing = json!({"targets": {"viewersPercent": 0, "roomsPercent": 0, "egressPercent": 0, "cpuPercent": 0}});
        assert_eq!(wanted(&site(horizontal(nothing)), true), Wanted::NoTarget);
    }

    #[test]
    fn versions_say_what_a_cluster_knows() {
        for (major, minor, knows) in [
            ("1", "36", true),
            ("1", "35+", true),
            ("1", "34", false),
            ("2", "0", true),
            ("", "", false),
        ] {
            assert_eq!(knows_tolerance(major, minor), knows, "{major}.{minor}");
        }
    }

    #[test]
    fn what_kubernetes_says_is_passed_on() {
        let said = |conditions: Value| {
            let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({
                "spec": {"maxReplicas": 1, "scaleTargetRef": {"kind": "MediaNode", "name": "eu"}},
                "status": {"desiredReplicas": 4, "conditions": conditions},
            }))
            .unwrap();
            let status = status(&autoscaler).unwrap();
            (status.desired_replicas, status.hold, status.message)
        };
        let condition = |of: &str, status: &str, reason: &str| json!({"type": of, "status": status, "reason": reason, "message": format!("{of} is {reason}")});
        let broken = json!([
            condition("AbleToScale", "True", "x"),
            condition("ScalingActive", "False", "FailedGetPodsMetric")
        ]);
        assert_eq!(
            said(broken),
            (
                4,
                Some("MissingMetrics".into()),
                "ScalingActive is FailedGetPodsMetric".into()
            )
        );
        let full = json!([
            condition("ScalingActive", "True", "ok"),
            condition("ScalingLimited", "True", "TooManyReplicas")
        ]);
        assert_eq!(said(full).1.as_deref(), Some("Maximum"));
        let fine = json!([
            condition("ScalingActive", "True", "ValidMetricFound"),
            condition("ScalingLimited", "False", "DesiredWithinRange")
        ]);
        assert_eq!(
            said(fine),
            (4, None, "ScalingLimited is DesiredWithinRange".into())
        );
    }
}
