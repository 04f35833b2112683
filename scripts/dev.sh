#!/usr/bin/env bash
# A node on this machine with a test host on air in the room default/demo. Ctrl-C ends both.
set -euo pipefail
cd "$(dirname "$0")/.."

http_port=${HTTP_PORT:-8080}
media_port=${MEDIA_PORT:-7000}
address=127.0.0.1
room=default/demo
base=http://$address:$http_port

in_use() { (exec 3<>"/dev/tcp/$address/$1") 2>/dev/null; }
for port in "$http_port:HTTP_PORT" "$media_port:MEDIA_PORT"; do
  if in_use "${port%%:*}"; then
    echo "Port ${port%%:*} is in use. Choose another: make dev ${port##*:}=$((${port%%:*} + 1000))" >&2
    exit 1
  fi
done

# The host first: it says good-bye to the node.
trap 'kill %2 2>/dev/null && wait %2; kill %1 2>/dev/null && wait %1' EXIT
trap 'exit 0' INT TERM

target/release/media-node --http "$address:$http_port" --media-bind "$address" \
  --media-port "$media_port" --web-dir media-node/web/dist &
node=$!
for _ in {1..100}; do
  curl --silent --fail --output /dev/null "$base/readyz" && break
  kill -0 "$node" 2>/dev/null || { echo "The node ended at once; its log is above." >&2; exit 1; }
  sleep 0.1
done

target/release/showrunner-load publish --url "$base" --room "$room" --media .cache/media &
host=$!

cat <<TEXT

  Showrunner is on air.

  Watch:    $base/rooms/$room
  Go live:  $base/rooms/default/mine/host   (your own camera, in a room of your own)
  Status:   $base/v1/status

  Ctrl-C ends it.

TEXT
# Whichever ends first takes the other with it.
wait -n "$node" "$host" || echo "One of the two ended; its log is above." >&2
exit 1
