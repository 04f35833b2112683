//! What there is, for those who ask before they ask for something.

use serde_json::{Value, json};

use super::catalog::{Api, CUSTOM, EXTERNAL, External, SUBJECTS};

const APIS: [Api; 2] = [CUSTOM, EXTERNAL];

/// What is at a path that is of no resource.
#[must_use]
pub fn at(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": APIS.map(group),
        })),
        ["apis", name] => {
            let api = APIS.into_iter().find(|api| api.group == *name)?;
            let mut group = group(api);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        ["apis", name, version] => {
            let mut apis = APIS.into_iter();
            let api = apis.find(|api| api.group == *name && api.version == *version)?;
            Some(json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": api.group_version(),
                "resources": resources(api),
            }))
        }
        _ => None,
    }
}

fn group(api: Api) -> Value {
    let version = json!({"groupVersion": api.group_version(), "version": api.version});
    json!({"name": api.group, "versions": [version], "preferredVersion": version})
}

fn resources(api: Api) -> Vec<Value> {
    let resource = |name: String, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
    if api == EXTERNAL {
        let metrics =
            External::all().map(|metric| resource(metric.name(), "ExternalMetricValueList"));
        return metrics.collect();
    }
    let of_all = SUBJECTS.into_iter().flat_map(|subject| {
        subject.measures().iter().map(move |measure| {
            let name = format!("{}/{}", subject.resource(), measure.custom_name());
            resource(name, "MetricValueList")
        })
    });
    of_all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<String> {
        let list = at(path).unwrap();
        let resources = list["resources"].as_array().unwrap();
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        resources.iter().map(name).collect()
    }

    #[test]
    fn every_metric_is_found() {
        let custom = names("/apis/custom.metrics.k8s.io/v1beta2");
        assert_eq!(custom.len(), 13);
        for name in [
            "pods/showrunner_viewers",
            "medianodes.showrunner.dev/showrunner_cpu_utilization",
            "liverooms.showrunner.dev/showrunner_viewers",
        ] {
            assert!(custom.contains(&name.to_owned()), "{name}");
        }
        let external = names("/apis/external.metrics.k8s.io/v1beta1/");
        assert!(external.contains(&"showrunner_medianode_viewers".to_owned()));
    }

    #[test]
    fn groups_say_their_version_and_nothing_else_is_there() {
        let groups = at("/apis").unwrap();
        assert_eq!(
            groups["groups"][1]["preferredVersion"]["version"],
            "v1beta1"
        );
        let group = at("/apis/custom.metrics.k8s.io").unwrap();
        assert_eq!(
            group["versions"][0]["groupVersion"],
            "custom.metrics.k8s.io/v1beta2"
        );
        for path in [
            "/",
            "/apis/other",
            "/apis/custom.metrics.k8s.io/v1beta1",
            "/openapi/v2",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
