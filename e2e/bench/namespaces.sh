# shellcheck shell=bash
# Two network namespaces joined by a veth pair, for the script that sources this: the node lives
# in $NODE_NS at $NODE_IP, its clients in $CLIENT_NS at $CLIENT_IP. No packet can leave them:
# they have no route but to one another. Both go, with all that runs in them, when the script ends.

NODE_NS=sr-node-$$
CLIENT_NS=sr-client-$$
NODE_IP=10.99.0.1
CLIENT_IP=10.99.0.2

require_root() {
  if ((EUID != 0)); then
    echo "$0 makes network namespaces, which only root may. Run it as root." >&2
    exit 1
  fi
}

make_namespaces() {
  trap remove_namespaces EXIT
  trap 'exit 130' INT TERM
  ip netns add "$NODE_NS"
  ip netns add "$CLIENT_NS"
  ip link add name veth0 netns "$NODE_NS" type veth peer name veth0 netns "$CLIENT_NS"
  ip -n "$NODE_NS" address add "$NODE_IP/24" dev veth0
  ip -n "$CLIENT_NS" address add "$CLIENT_IP/24" dev veth0
  for namespace in "$NODE_NS" "$CLIENT_NS"; do
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set veth0 up
  done
}

remove_namespaces() {
  local namespace pids
  for namespace in "$CLIENT_NS" "$NODE_NS"; do
    mapfile -t pids < <(ip netns pids "$namespace" 2>/dev/null || true)
    if ((${#pids[@]})); then kill "${pids[@]}" 2>/dev/null || true; fi
    ip netns delete "$namespace" 2>/dev/null || true
  done
}

# in_node COMMAND… and in_client COMMAND… replace the shell they run in, so that `in_node … &`
# leaves the command's own process in $!.
in_node() { exec ip netns exec "$NODE_NS" "$@"; }
in_client() { exec ip netns exec "$CLIENT_NS" "$@"; }

# in_client, for a load: its threads wait until a core is free. Each datagram that comes in would
# else have its receiver take the core from the server that shares it, in the midst of sending. A
# script that runs at a real-time priority has its server there, and its clients right below.
load_in_client() {
  if is_real_time; then
    in_client chrt --fifo 1 "$@"
  else
    in_client chrt --batch 0 "$@"
  fi
}

is_real_time() { [[ $(chrt --pid $$) == *SCHED_FIFO* ]]; }

# await_http URL PID: until a server in the node's namespace answers, or its process is gone.
await_http() {
  local url=$1 pid=$2
  for _ in {1..200}; do
    (in_client curl --silent --fail --max-time 2 --output /dev/null "$url") && return
    if ! kill -0 "$pid" 2>/dev/null; then
      echo "the server ended before it answered at $url" >&2
      return 1
    fi
    sleep 0.05
  done
  echo "no answer at $url" >&2
  return 1
}
