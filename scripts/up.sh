#!/usr/bin/env bash
# Showrunner on a Kubernetes of its own on this machine, with a room on air.
#
#   up.sh check   say what this machine lacks for it, if anything
#   up.sh up      boot, install, apply the sample, put a test host on air
#   up.sh down    end all of it
#   up.sh host    the test host: comes back when it is cut off (up starts it)
set -euo pipefail
cd "$(dirname "$0")/.."

port=${HTTP_PORT:-8080}
url=http://localhost:$port
room=default/sale
cluster=e2e/cluster/cluster.sh
kubeconfig=$($cluster kubeconfig)
run=$(dirname "$kubeconfig")
export KUBECONFIG=$kubeconfig PATH=$PWD/.cache/cluster/bin:$PATH
# Nothing here is to be reached through a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

fail() {
  echo "up: $*" >&2
  exit 1
}

step=0
say() {
  step=$((step + 1))
  echo "[$step/6] $* ($SECONDS s)"
}

# Whether the process of a file is one of ours, by what it was started with.
is_alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"$2"* ]]
}
is_forwarded() { is_alive "$run/forward-$port.pid" "forward.py $port "; }
has_host() { is_alive "$run/host.pid" "up.sh host "; }

check() {
  ((EUID == 0)) || fail "a cluster needs root, for namespaces and control groups: run sudo make up (make dev needs no root)"
  unshare --net --mount --pid --fork true 2>/dev/null ||
    fail "this machine allows no new network, mount and PID namespaces, as an unprivileged container doesn't; make dev needs none"
  if ! is_forwarded && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port is in use: choose another, make up HTTP_PORT=$((port + 1000))"
  fi
}

# await KIND/NAME: until it is ready, or else why it is not.
await() {
  kubectl wait --for=condition=Ready "$1" --timeout=180s >/dev/null 2>&1 || {
    kubectl describe "$1" >&2
    kubectl get pods --all-namespaces >&2
    fail "$1 did not get ready; above is what the cluster says of it, and kubectl --kubeconfig=$KUBECONFIG tells more"
  }
}

up() {
  local image
  check
  say "booting Kubernetes"
  $cluster up
  say "assembling the image"
  image=$(scripts/image.sh)
  $cluster import .cache/image.tar
  say "installing the chart with $image"
  IMAGE=$image PUBLIC_URL=$url HELM_FLAGS="--set=logFormat=text" scripts/install.sh >/dev/null ||
    fail "the chart did not get ready: kubectl --kubeconfig=$KUBECONFIG get pods --namespace=showrunner"
  say "applying the sample site and room"
  kubectl apply --filename=charts/showrunner/samples/local.yaml
  await mn/media
  await "lr/${room#*/}"
  say "forwarding $url to the gateway"
  is_forwarded || $cluster forward "$port" showrunner/showrunner-gateway:http >/dev/null
  say "putting a test host on air"
  if ! has_host; then
    setsid scripts/up.sh host "$port" </dev/null >"$run/host.log" 2>&1 &
    echo $! >"$run/host.pid"
  fi
  kubectl wait --for=condition=Live "lr/${room#*/}" --timeout=60s >/dev/null ||
    fail "the test host did not get on air: $(tail -n 3 "$run/host.log")"
  kubectl get lr,mn
  cat <<TEXT

  Showrunner is on air.

  Watch:    $url/rooms/$room
  Go live:  $url/rooms/default/mine/host   (your own camera, in a room of your own)
  Look on:  export KUBECONFIG=$KUBECONFIG
            kubectl get showrunner

  make down ends it.

TEXT
}

# A host whose pod is gone joins again, as an encoder would.
host() {
  local token=
  trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM INT
  while :; do
    token=$(kubectl --namespace "${room%/*}" get secret "${room#*/}-host-token" --output=jsonpath='{.data.token}' | base64 --decode)
    SHOWRUNNER_PUBLISH_TOKEN=$token target/release/showrunner-load publish --url "$url" --room "$room" --media .cache/media &
    wait $! || true
    sleep 1
  done
}

down() {
  if has_host; then kill "$(<"$run/host.pid")"; fi
  $cluster down
}

case ${1:-} in
  check | up | down | host) "$1" ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
