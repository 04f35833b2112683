//! The resources of Showrunner: [`LiveRoom`], one live show, and [`MediaNode`], a site of media pods.
//!
//! The field docs become what `kubectl explain` says, and the rules become the API server's: a resource that breaks
//! one is refused with the rule's message. The program `crds` writes them into the chart.

pub mod autoscaling;
pub mod condition;
pub mod live_room;
pub mod media_node;
mod rule;
mod schema;
pub mod source;

pub use live_room::{LiveRoom, LiveRoomSpec, LiveRoomStatus};
pub use media_node::{MediaNode, MediaNodeSpec, MediaNodeStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The group of all resources.
pub const GROUP: &str = "showrunner.dev";

/// All definitions, each with the name of its file.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [
        ("liverooms.yaml", LiveRoom::crd()),
        ("medianodes.yaml", MediaNode::crd()),
    ]
}

/// Takes Rust's unsigned formats out of a schema: OpenAPI has none, and the API server warns of each. What they mean is
/// said by `minimum`.
fn without_unsigned(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            let is_unsigned = |format: &serde_json::Value| {
                format.as_str().is_some_and(|name| name.starts_with("uint"))
            };
            if members.get("format").is_some_and(is_unsigned) {
                members.remove("format");
            }
            members.values_mut().for_each(without_unsigned);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_unsigned),
        _ => {}
    }
}

/// A definition as its file has it.
///
/// # Errors
/// If it can't be written as YAML.
pub fn to_yaml(
    definition: &CustomResourceDefinition,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut value = serde_json::to_value(definition)?;
    without_unsigned(&mut value);
    let yaml = serde_saphyr::to_string(&value)?;
    Ok(format!(
        "# Made by `make crds` from the crate `crds`: change it there.\n{yaml}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_has_the_definitions_of_this_crate() {
        let chart = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../charts/showrunner/files/crds"
        );
        for (file, definition) in definitions() {
            let there = std::fs::read_to_string(format!("{chart}/{file}")).unwrap_or_default();
            assert!(
                there == to_yaml(&definition).unwrap(),
                "{file} is stale: run make crds"
            );
        }
    }
}
