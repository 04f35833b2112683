#!/usr/bin/env bash
# Puts LiveKit 1.11 under the same load in the same namespaces and prints its figures as
# `name: value` lines. LIVEKIT_VIEWERS says how many viewers (100).
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=e2e/bench/namespaces.sh
source e2e/bench/namespaces.sh
require_root

viewers=${LIVEKIT_VIEWERS:-100}
bin=$PWD/.cache/bin
version=v1.11.0
work=$(mktemp -d)

e2e/bench/livekit-build.sh

make_namespaces
key=bench
secret=$(head -c 32 /dev/urandom | base64 | tr -d '+/=\n')
cat >"$work/livekit.yaml" <<YAML
port: 7880
bind_addresses: ["$NODE_IP"]
keys:
  $key: $secret
rtc:
  udp_port: 7882-7883
  use_external_ip: false
  use_ice_lite: true
  node_ip: $NODE_IP
  # Any address of ours: without one, clients are told to ask a public STUN server.
  stun_servers: ["$NODE_IP:3478"]
logging:
  level: warn
YAML
chmod 600 "$work/livekit.yaml"
in_node "$bin/livekit-server-$version" --config "$work/livekit.yaml" >"$work/server.log" 2>&1 &
server=$!
await_http "http://$NODE_IP:7880/" "$server" || { tail -20 "$work/server.log" >&2; exit 1; }

(load_in_client "$bin/livekit-load" -url "ws://$NODE_IP:7880" -key "$key" -secret "$secret" \
  -video .cache/media/f.h264 -audio .cache/media/audio.ogg \
  -viewers "$viewers" -server-pid "$server") || { tail -20 "$work/server.log" >&2; exit 1; }
kill "$server"
rm -rf "$work"
