#!/usr/bin/env bash
# What a node costs and how quick it is: node and clients in two network namespaces joined by a
# veth pair, LiveKit beside it. Prints `name: value` lines and rewrites docs/benchmarks.md.
# SKIP_LIVEKIT=1 leaves LiveKit out; BENCH_SECONDS says how long each load is measured (20).
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=e2e/bench/namespaces.sh
source e2e/bench/namespaces.sh
require_root

seconds=${BENCH_SECONDS:-20}
results=$PWD/.cache/bench/forward
base=http://$NODE_IP:8080
node=

rm -rf "$results"
mkdir -p "$results"
make_namespaces

# A fresh node for each load, so that memory is counted from the same start.
start_node() {
  in_node target/release/media-node --http "$NODE_IP:8080" --media-bind "$NODE_IP" 2>"$results/node.log" &
  node=$!
  await_http "$base/readyz" "$node"
}
stop_node() {
  kill "$node"
  wait "$node" || true
}
metrics() { (in_client curl --silent --fail "$base/metrics") >"$results/$1"; }

# measure NAME ARGUMENTS…: one load; its figures go to NAME.json, its table to the terminal, and
# the node's metrics from when all had joined and from the end to NAME.before and NAME.after.
measure() {
  local name=$1 log=$results/$1.log load
  shift
  echo "== $name: $*" >&2
  start_node
  load_in_client target/release/showrunner-load run --url "$base" --media .cache/media --verify sample \
    --seconds "$seconds" --node-pid "$node" --json "$results/$name.json" "$@" 2>"$log" >&2 &
  load=$!
  until grep --quiet 'viewers are there' "$log" || ! kill -0 "$load" 2>/dev/null; do sleep 0.2; done
  sleep 2
  metrics "$name.before"
  if ! wait "$load"; then
    cat "$log" "$results/node.log" >&2
    return 1
  fi
  metrics "$name.after"
  stop_node
  cat "$log" >&2
}

measure 300 --viewers 300
measure 50 --viewers 50
measure 1000 --viewers 1000
measure 20x15 --rooms 20 --viewers 15
# Two hundred joins a second, for as long as the machine has viewers to spare.
measure joins --viewers 600 --join-rate 200

if [[ -z ${SKIP_LIVEKIT:-} ]]; then
  e2e/bench/livekit.sh | tee "$results/livekit.txt" >&2
fi

# How long packets stay in the node is told by loads at real-time priorities, where the system
# allows them: whatever else runs on this machine would show in it.
chrt --fifo --pid 2 $$ || echo "no real-time priority here: residence is that of a shared machine" >&2
measure crowd --viewers 1000
# As many rooms of 50 viewers as load the machine, node and clients together, to 70 %: first as
# many as should, then as many as that proved right.
rooms=$(python3 e2e/bench/report.py rooms-for-load 0.7 20x15)
measure probe --rooms "$rooms" --viewers 50 --join-rate 100
rooms=$(python3 e2e/bench/report.py rooms-for-load 0.7 probe)
measure residence --rooms "$rooms" --viewers 50 --join-rate 100

python3 e2e/bench/report.py write "$seconds"
