//! Machines: Node objects, and the Leases that say that they live.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::Error;

/// As kubelets do.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";
/// Keeps pods of others away, and lets those in that ask for it.
pub(crate) const MARK: &str = "showrunner.dev/fleet";

fn name(index: u16) -> String {
    format!("fleet-{index}")
}

/// Whether a machine is one of these.
pub(crate) fn is_ours(machine: &str) -> bool {
    machine.starts_with("fleet-")
}

pub(crate) async fn register(client: &Client, machines: u16) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let by = PatchParams::apply("showrunner-fleet").force();
    for index in 0..machines {
        let name = name(index);
        renew(client, &name).await?;
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {MARK: "true", "kubernetes.io/hostname": name}},
            "spec": {"taints": [{"key": MARK, "effect": "NoSchedule"}]},
        });
        nodes.patch(&name, &by, &Patch::Apply(node)).await?;
        let space = json!({"cpu": "1000", "memory": "4000Gi", "pods": "250"});
        let now = Time(jiff::Timestamp::now());
        let conditions: Vec<_> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
            .into_iter()
            .map(|kind| {
                json!({
                    "type": kind,
                    "status": if kind == "Ready" { "True" } else { "False" },
                    "reason": "Simulated",
                    "message": "simulated",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                })
            })
            .collect();
        let status = json!({"status": {
            "capacity": space,
            "allocatable": space,
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": format!("127.255.0.{}", index + 1)}],
        }});
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
    }
    Ok(())
}

pub(crate) async fn keep_alive(client: &Client, machines: u16) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    loop {
        ticks.tick().await;
        for index in 0..machines {
            // The API server may be away for a while, as kubelets know.
            if let Err(error) = renew(client, &name(index)).await {
                tracing::warn!("a machine's Lease was not renewed: {error}");
            }
        }
    }
}

async fn renew(client: &Client, machine: &str) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": machine},
        "spec": {
            "holderIdentity": machine,
            "leaseDurationSeconds": 40,
            "renewTime": format!("{:.6}", jiff::Timestamp::now()),
        },
    });
    let by = PatchParams::apply("showrunner-fleet").force();
    leases.patch(machine, &by, &Patch::Apply(lease)).await?;
    Ok(())
}
