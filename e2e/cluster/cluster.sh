#!/usr/bin/env bash
# One real Kubernetes node, in network, mount and PID namespaces of its own.
#
#   cluster.sh up [--fresh]       boot it, or bring back what it lacks; --fresh boots it anew
#   cluster.sh down               end all of it, and keep nothing
#   cluster.sh status             say what runs
#   cluster.sh kubeconfig         print the path of the administrator's kubeconfig
#   cluster.sh import IMAGE.tar…  give the node images that image.py made
#   cluster.sh exec -- COMMAND…   run a command in the node's namespaces (ctr, nft, ss …)
#   cluster.sh stop|start COMPONENT…  end a part and bring it back: etcd, kube-apiserver, kubelet …
#   cluster.sh second up|down|import IMAGE.tar…  give it a second machine; take that away as if it had lost its power
#   cluster.sh forward PORT TARGET    pass localhost:PORT on to ADDRESS:PORT or NAMESPACE/SERVICE:PORT
#
# A cable joins the node with this machine and nothing else: the machine (kubectl, a browser) reaches
# the node at $CLUSTER_NET.0.1, its pods and its Services at their own addresses; no packet gets
# farther. Several clusters can be up if they differ in CLUSTER_NAME and CLUSTER_NET.
# All processes descend from one, and the kernel ends them with it: nothing can stay behind.
# Quoted scripts are for the shells in the namespaces.
# shellcheck disable=SC2016
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=components.sh
source "$here/components.sh"

name=${CLUSTER_NAME:-showrunner}
net=${CLUSTER_NET:-10.213}
cache=$(realpath -m "$here/../../.cache/cluster")
work=$cache/run/$name
programs=$cache/bin
cni_programs=/usr/lib/cni
node=node1
cable=${name}0
node_ip=$net.0.1
host_ip=$net.0.254
dns_ip=$node_ip
pod_net=$net.1.0/24
# The second machine is another kubelet with a containerd of its own, in the same namespaces.
second_node=node2
second_ip=$net.0.2
second_net=$net.2.0/24
service_net=$net.128.0/17
api_ip=$net.128.1

export PATH=$programs:$PATH KUBECONFIG=$work/kubeconfig
# Nothing here is to be reached through a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

say() { echo "cluster: $*"; }
fail() {
  echo "cluster: $*" >&2
  exit 1
}

# The process that holds the namespaces, if it lives. Its name guards against a number used anew.
holder() {
  local pid
  pid=$(cat "$work/holder.pid" 2>/dev/null) || return 1
  [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"$programs/pause $name "* ]] || return 1
  echo "$pid"
}

# Runs a command in the namespaces, in the directory that it was called in.
enter() {
  local pid
  pid=$(holder) || fail "'$name' is not up; cluster.sh up boots it"
  nsenter --net="/proc/$pid/ns/net" --mount="/proc/$pid/ns/mnt" --pid="/proc/$pid/ns/pid_for_children" \
    env --chdir="$PWD" "$@"
}

# The components that were started and are gone.
ended_components() {
  enter sh -c 'for file in "$1"/*.pid; do
    kill -0 "$(cat "$file")" || basename "$file" .pid; done' - "$work/pids" 2>/dev/null | xargs
}

# await SECONDS WHAT COMMAND…: until the command succeeds.
await() {
  local deadline=$((SECONDS + $1)) what=$2 ended
  shift 2
  until "$@" >/dev/null 2>&1; do
    ended=$(ended_components)
    if [[ $ended ]]; then fail "$ended ended"; fi
    if ((SECONDS > deadline)); then fail "gave up: $what"; fi
    sleep 0.1
  done
}

runs() { enter sh -c 'kill -0 "$(cat "$1")"' - "$work/pids/$1.pid" 2>/dev/null; }

start() {
  local command
  component_command "$1"
  if runs "$1"; then return; fi
  # The shell ends at once, and the component becomes a child of the namespace's first process.
  enter sh -c 'pid=$1 log=$2; shift 2; setsid "$@" </dev/null >>"$log" 2>&1 9>&- & echo $! >"$pid"' - \
    "$work/pids/$1.pid" "$work/log/$1.log" "${command[@]}"
}

stop() {
  local command
  component_command "$1"
  if ! runs "$1"; then return; fi
  # An API server waits for whoever watches it, for longer than anyone wants to wait here.
  enter sh -c 'pid=$(cat "$1"); kill "$pid"
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.1; done
    kill -KILL "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done' - "$work/pids/$1.pid"
}

require() {
  local tool
  for tool in ip nft iptables conntrack openssl nsenter unshare gcc python3; do
    command -v "$tool" >/dev/null || fail "'$tool' is missing; scripts/deps.sh cluster installs it"
  done
  [[ -x $cni_programs/ptp ]] || fail "there are no network plugins in $cni_programs; scripts/deps.sh cluster installs them"
  unshare --net --mount --pid --fork true 2>/dev/null ||
    fail "this machine allows no new network, mount and PID namespaces; an unprivileged container cannot boot the cluster"
  [[ -d /sys/fs/cgroup ]] || fail "no control groups are mounted at /sys/fs/cgroup"
  local taken
  taken=$({ ip -4 route show root "$net.0.0/16"; ip -4 route show match "$net.0.0/16"; } | grep -v -e '^default' -e " $cable " || true)
  [[ -z $taken ]] || fail "this machine has a route within $net.0.0/16 (${taken%%$'\n'*}); choose another CLUSTER_NET, such as 10.214"
}

# The directories in which each hierarchy of control groups keeps this cluster's.
cgroups() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo "/sys/fs/cgroup/$name"
  else
    printf "%s/$name\n" /sys/fs/cgroup/*/
  fi
}

# Directories that programs have by heart are the cluster's own, and /run is empty. (Two empty
# ones stay on the machine: to remove them would unmount them in any other cluster.) So are the
# settings that kubelet insists on, which else it would change for the whole machine.
make_mounts() {
  local setting
  mkdir -p /var/lib/kubelet /var/lib/cni "$work"/{log,pids,kubelet,cni-state,settings}
  enter sh -euc 'mount --bind "$1/kubelet" /var/lib/kubelet; mount --bind "$1/cni-state" /var/lib/cni
    mount --bind "$1/log" /var/log; mount -t tmpfs tmpfs /run' - "$work"
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    local file=$work/settings/${setting//\//.}
    echo "${setting#*=}" >"$file"
    enter mount --bind "$file" "/proc/sys/${setting%=*}"
  done
  cgroups | xargs mkdir -p
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    # A group has the controllers that its parent hands down; kubelet wants all there are.
    sed 's/[^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
  fi
}

make_network() {
  local pid
  pid=$(holder)
  ip link add "$cable" type veth peer name node0 netns "$pid"
  ip link set "$cable" addrgenmode none up
  ip address add "$host_ip/24" dev "$cable"
  enter ip link set lo up
  enter ip link set node0 up
  enter ip address add "$node_ip/24" dev node0
  # Only so that there is a route at all: kube-proxy's rules send the packets elsewhere.
  enter ip route add "$service_net" dev node0 src "$node_ip"
  enter sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  ip route add "$net.0.0/16" via "$node_ip" dev "$cable"
}

# It warns of the machine's control groups each time, so what it says matters only if it fails.
import() {
  local said
  said=$(enter ctr --namespace k8s.io images import "$1" 2>&1) || fail "$1 can't be imported: $said"
}

boot_components() {
  local part
  for part in etcd kube-apiserver kube-controller-manager kube-scheduler containerd; do start "$part"; done
  await 60 "containerd takes no calls" enter ctr version
  "$here/image.py" --name localhost/pause:1 --program "$programs/pause" --output "$work/pause.tar"
  import "$work/pause.tar"
  await 120 "the API server is not ready" kubectl get --raw /readyz
  kubectl create clusterrole system:coredns --verb=list,watch \
    --resource=services,namespaces,pods,endpointslices.discovery.k8s.io >/dev/null
  kubectl create clusterrolebinding system:coredns --clusterrole=system:coredns --user=system:coredns >/dev/null
  for part in kubelet kube-proxy coredns; do start "$part"; done
  await_ready
  await 60 "there is no DNS" python3 -c "import urllib.request as u; u.urlopen('http://$dns_ip:8181/ready', timeout=2)"
  # Pods are refused until the controller manager has made this.
  await 60 "there are no service accounts" kubectl get serviceaccount default
}

second_up() {
  holder >/dev/null || fail "'$name' is not up"
  make_second_configuration
  enter ip address replace "$second_ip/24" dev node0
  enter ip route flush root "$second_net"
  start containerd2
  await 60 "the second containerd takes no calls" enter ctr --address /run/containerd2/containerd.sock version
  second_import "$work/pause.tar"
  start kubelet2
  await 120 "the second node is not ready" kubectl wait --for=condition=Ready "node/$second_node" --timeout=5s
}

# With all that runs there, and no goodbye: nobody is told, and no packet is answered.
second_down() {
  enter ip address del "$second_ip/24" dev node0 2>/dev/null || true
  # The kubelet first, or it would start again what ends.
  enter sh -c 'kill -KILL "$(cat "$1/kubelet2.pid")" "$(cat "$1/containerd2.pid")"; rm -f "$1/kubelet2.pid" "$1/containerd2.pid"
    ip -o route show root "$2" | while read -r route _; do ip route replace blackhole "$route"; done
    find /sys/fs/cgroup -path "*/$3/second/*" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill -KILL' - \
    "$work/pids" "$second_net" "$name" 2>/dev/null || true
}

second_import() {
  local said
  said=$(enter ctr --address /run/containerd2/containerd.sock --namespace k8s.io images import "$1" 2>&1) ||
    fail "$1 can't be imported: $said"
}

await_ready() {
  await 120 "the API server is not ready" kubectl get --raw /readyz
  await 120 "the node is not ready" kubectl wait --for=condition=Ready "node/$node" --timeout=5s
}

# Ends what a failed boot began, but for its logs.
abandon() {
  rm -rf "$cache/run/$name-failed"
  cp -r "$work/log" "$cache/run/$name-failed" 2>/dev/null && say "the logs are in $cache/run/$name-failed" >&2
  down >/dev/null
}

up() {
  local part
  case ${1:-} in
    --fresh) down ;;
    "") ;;
    *) fail "up takes --fresh or nothing" ;;
  esac
  if holder >/dev/null && [[ -e $work/booted ]]; then
    for part in "${COMPONENTS[@]}"; do start "$part"; done
    await_ready
    say "'$name' is up already; $KUBECONFIG"
    return
  fi
  # What an earlier boot left that never got to its end.
  down
  require
  "$here/build.sh"
  say "booting '$name'"
  trap abandon EXIT
  trap 'exit 130' INT TERM
  mkdir -p "$work"
  make_keys
  make_configuration
  # `pause` takes no arguments: they are there for holder() and for whoever reads the list of processes.
  setsid unshare --net --mount --pid --fork --kill-child --mount-proc "$programs/pause" "$name" cluster \
    </dev/null >/dev/null 2>&1 9>&- &
  echo $! >"$work/holder.pid"
  until enter test -e /proc/1/cmdline 2>/dev/null; do
    not_there "$!" && fail "the namespaces could not be made"
    sleep 0.05
  done
  make_mounts
  make_network
  boot_components
  touch "$work/booted"
  trap - EXIT INT TERM
  say "'$name' is up after $SECONDS s, at $node_ip; KUBECONFIG=$KUBECONFIG"
}

end_forwards() {
  local file pid
  for file in "$work"/forward-*.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"$here/forward.py "* ]]; then kill "$pid"; fi
  done
}

down() {
  local pid group
  end_forwards
  if pid=$(holder); then
    # The first process of a PID namespace takes all others along, and is gone after them.
    { enter sh -c 'kill -TERM 1' || true; } 2>/dev/null
    until not_there "$pid"; do sleep 0.05; done
  fi
  ip link delete "$cable" 2>/dev/null || true
  while read -r group; do
    if [[ -d $group ]]; then find "$group" -depth -type d -exec rmdir {} +; fi
  done < <(cgroups)
  if [[ -e $work ]]; then
    rm -rf "$work"
    say "'$name' is down"
  fi
}

not_there() { [[ ! -e /proc/$1 ]]; }

status() {
  local part state pid
  pid=$(holder) || fail "'$name' is not up"
  say "'$name' is held by process $pid; KUBECONFIG=$KUBECONFIG"
  for part in "${COMPONENTS[@]}"; do
    if runs "$part"; then state=runs; else state="does not run; its log is $work/log/$part.log"; fi
    printf '  %-24s %s\n' "$part" "$state"
  done
  kubectl get nodes,pods --all-namespaces --output wide
}

forward() {
  (($# == 2)) || fail "forward wants a port and a target"
  local port=$1 target=$2 pid
  holder >/dev/null || fail "'$name' is not up"
  setsid "$here/forward.py" "$port" "$target" </dev/null >"$work/forward-$port.log" 2>&1 9>&- &
  pid=$!
  # It says its address once it listens; else it says why, and ends.
  until grep -q '^http:' "$work/forward-$port.log"; do
    not_there "$pid" && fail "$(cat "$work/forward-$port.log")"
    sleep 0.05
  done
  echo "$pid" >"$work/forward-$port.pid"
  cat "$work/forward-$port.log"
}

# These become paths and addresses.
[[ $name =~ ^[a-z][a-z0-9-]{0,13}$ ]] || fail "CLUSTER_NAME '$name' is no name of at most 14 letters, digits and dashes"
[[ $net =~ ^[0-9]{1,3}\.[0-9]{1,3}$ ]] || fail "CLUSTER_NET '$net' is not the first half of an IPv4 address, as in 10.213"

verb=${1:-}
shift || true
case $verb in
  up | down | start | stop | second | forward | import | exec | status)
    ((EUID == 0)) || fail "namespaces and control groups are root's; run this as root"
    ;;
esac
case $verb in
  up | down | start | stop | second | forward)
    mkdir -p "$cache/run"
    exec 9>"$cache/run/$name.lock"
    flock --nonblock 9 || { say "waiting for another cluster.sh to finish" && flock 9; }
    ;;
esac
case $verb in
  up) up "$@" ;;
  down) down ;;
  status) status ;;
  kubeconfig) echo "$KUBECONFIG" ;;
  import) for image in "$@"; do import "$(realpath "$image")"; done ;;
  second)
    what=${1:-}
    shift || true
    case $what in
      up) second_up ;;
      down) second_down ;;
      import) for image in "$@"; do second_import "$(realpath "$image")"; done ;;
      *) fail "second takes up, down or import IMAGE.tar…" ;;
    esac
    ;;
  exec)
    if [[ ${1:-} == -- ]]; then shift; fi
    enter "$@"
    ;;
  start | stop) for component in "$@"; do "$verb" "$component"; done ;;
  forward) forward "$@" ;;
  *)
    sed -n '2,/^# Quoted/{/^# Quoted/d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
