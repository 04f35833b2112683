#!/usr/bin/env bash
# Builds LiveKit 1.11 and what publishes to it and loads it: .cache/bin/livekit-server-v1.11.0 (minutes, the first
# time) and .cache/bin/livekit-load.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=$PWD/.cache/bin
version=v1.11.0

mkdir -p "$bin"
if [[ ! -x $bin/livekit-server-$version ]]; then
  # `go install` at a version takes the dependencies that LiveKit itself pins.
  GOBIN=$bin nice go install "github.com/livekit/livekit-server/cmd/server@$version" >&2
  mv "$bin/server" "$bin/livekit-server-$version"
fi
nice go -C e2e/bench/livekit build -o "$bin/livekit-load" . >&2
