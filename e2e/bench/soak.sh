#!/usr/bin/env bash
# Three hundred viewers for SOAK_SECONDS (3600), five of whom leave a second while five others
# join, on a node in a network namespace of its own. Prints the slope of the node's memory, and
# fails if a viewer failed or a session stayed behind when all had left.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=e2e/bench/namespaces.sh
source e2e/bench/namespaces.sh
require_root

seconds=${SOAK_SECONDS:-3600}
results=$PWD/.cache/soak
base=http://$NODE_IP:8080

mkdir -p "$results"
make_namespaces
in_node target/release/media-node --http "$NODE_IP:8080" --media-bind "$NODE_IP" 2>"$results/node.log" &
node=$!
await_http "$base/readyz" "$node"

(load_in_client target/release/showrunner-load run --url "$base" --media .cache/media --verify sample \
  --viewers 300 --churn 5 --seconds "$seconds" --node-pid "$node" --json "$results/soak.json")

# A viewer that left without a word is noticed when its consent ends, after 30 s.
sessions=
for _ in {1..45}; do
  sessions=$( (in_client curl --silent --fail "$base/v1/status") |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["sessions"])')
  [[ $sessions == 0 ]] && break
  sleep 1
done

python3 - "$results/soak.json" "$sessions" <<'PYTHON'
import json
import sys

report, sessions = json.load(open(sys.argv[1])), int(sys.argv[2])
print(f"soak_seconds: {report['seconds']:.0f}")
print(f"joined: {report['joined']}")
print(f"failed: {report['failed']}")
print(f"loss_percent: {report['loss_percent']:.5f}")
print(f"rss_kib_per_minute: {report['rss_kib_per_minute']:.1f}")
print(f"stuck_sessions: {sessions}")
sys.exit(report["failed"] > 0 or sessions > 0)
PYTHON
