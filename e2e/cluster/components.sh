# shellcheck shell=bash disable=SC2034,SC2054,SC2154
# The programs of the cluster, their keys and their configuration, for cluster.sh, which sources
# this and says where: $work (its directory), $programs, $node_ip, $dns_ip, $pod_net, $service_net …

COMPONENTS=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy coredns)

# A key, and a certificate of the cluster's authority: NAME SUBJECT [ALTERNATIVE_NAMES].
make_certificate() {
  local name=$1 subject=$2 names=${3:-DNS:$1} keys=$work/pki
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$keys/$name.key" -out "$keys/$name.csr" 2>/dev/null
  openssl x509 -req -in "$keys/$name.csr" -CA "$keys/ca.crt" -CAkey "$keys/ca.key" -CAcreateserial -days 365 \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names") \
    -out "$keys/$name.crt" 2>/dev/null
}

# FILE CERTIFICATE
make_kubeconfig() {
  local keys=$work/pki
  cat >"$1" <<YAML
apiVersion: v1
kind: Config
current-context: $name
contexts: [{name: $name, context: {cluster: $name, user: $2}}]
clusters: [{name: $name, cluster: {server: "https://$node_ip:6443", certificate-authority-data: $(base64 -w0 "$keys/ca.crt")}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$keys/$2.crt"), client-key-data: $(base64 -w0 "$keys/$2.key")}}]
YAML
}

make_keys() {
  local keys=$work/pki user
  mkdir -p "$keys"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=$name" \
    -keyout "$keys/ca.key" -out "$keys/ca.crt" 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$keys/accounts.key"
  openssl ec -in "$keys/accounts.key" -pubout -out "$keys/accounts.pub" 2>/dev/null
  make_certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$api_ip,IP:$node_ip"
  make_certificate aggregator /CN=aggregator
  make_certificate admin /O=system:masters/CN=admin
  make_certificate controllers /CN=system:kube-controller-manager
  make_certificate scheduler /CN=system:kube-scheduler
  make_certificate kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$node_ip"
  make_certificate proxy /CN=system:kube-proxy
  make_certificate coredns /CN=system:coredns
  for user in controllers scheduler kubelet proxy coredns; do make_kubeconfig "$work/$user.kubeconfig" "$user"; done
  make_kubeconfig "$work/kubeconfig" admin
  chmod 600 "$work"/*kubeconfig "$keys"/*.key
}

make_configuration() {
  mkdir -p "$work"/{cni,containerd}
  # Each pod has a cable of its own to the node, which routes. On a bridge, pods would answer one
  # another past the node's address translation, and no Service would work between them.
  cat >"$work/cni/10-pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_net"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  # Without CAP_SYS_RESOURCE, as in many sandboxes, runc may not lower a pod's OOM score.
  cat >"$work/containerd.toml" <<TOML
version = 3
root = "$work/containerd"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["$cni_programs"]
conf_dir = "$work/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
TOML
  # No collecting of images: there is no registry to get them back from. And a developer's disk is
  # seldom so empty that kubelet would be content with it.
  cat >"$work/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $work/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $work/pki/kubelet.crt
tlsPrivateKeyFile: $work/pki/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$name
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $work/resolv.conf
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
shutdownGracePeriod: 0s
YAML
  echo "nameserver $dns_ip" >"$work/resolv.conf"
  # The kernel's table of connections belongs to the machine: hands off its size.
  cat >"$work/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $node
clusterCIDR: $pod_net
clientConnection: {kubeconfig: $work/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  cat >"$work/Corefile" <<CONF
. {
  bind $dns_ip
  errors
  ready $dns_ip:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $work/coredns.kubeconfig
  }
  cache 5
}
CONF
}

make_second_configuration() {
  [[ -e $work/pki/kubelet2.crt ]] || {
    make_certificate kubelet2 "/O=system:nodes/CN=system:node:$second_node" "DNS:$second_node,IP:$second_ip"
    make_kubeconfig "$work/kubelet2.kubeconfig" kubelet2
    chmod 600 "$work/kubelet2.kubeconfig" "$work/pki/kubelet2.key"
  }
  mkdir -p "$work"/{cni2,containerd2,kubelet2,log/pods2}
  cgroups | sed 's:$:/second:' | xargs mkdir -p
  sed -e 's/"name": "pods"/"name": "pods2"/' -e "s:$pod_net:$second_net:" "$work/cni/10-pods.conflist" >"$work/cni2/10-pods.conflist"
  sed -e "s:$work/containerd:&2:" -e "s:$work/cni:&2:" "$work/containerd.toml" >"$work/containerd2.toml"
  cat >>"$work/containerd2.toml" <<TOML
[grpc]
address = "/run/containerd2/containerd.sock"
[ttrpc]
address = "/run/containerd2/containerd.sock.ttrpc"
TOML
  sed -i "1a state = \"/run/containerd2\"" "$work/containerd2.toml"
  sed -e "s:/pki/kubelet\\.:/pki/kubelet2.:" -e 's:/run/containerd/:/run/containerd2/:' \
    -e "s:^cgroupRoot.*:cgroupRoot\: /$name/second:" "$work/kubelet.yaml" >"$work/kubelet2.yaml"
  cat >>"$work/kubelet2.yaml" <<YAML
port: 10350
healthzPort: 10348
podLogsDir: $work/log/pods2
YAML
}

# Sets $command to what runs a component.
component_command() {
  local keys=$work/pki
  case $1 in
    etcd)
      # What is here need not outlive a power cut.
      command=(etcd --name etcd --data-dir "$work/etcd" --unsafe-no-fsync --log-level warn
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
        --listen-peer-urls http://127.0.0.1:2380) ;;
    kube-apiserver)
      # EvictionRequests are alpha, so they are off unless they are asked for.
      # The requestheader and proxy-client flags switch on the aggregation layer: custom metrics.
      command=(kube-apiserver --advertise-address "$node_ip" --etcd-servers http://127.0.0.1:2379
        --service-cluster-ip-range "$service_net" --authorization-mode Node,RBAC
        --enable-admission-plugins NodeRestriction --allow-privileged
        --feature-gates EvictionRequestAPI=true --runtime-config lifecycle.k8s.io/v1alpha1=true
        --client-ca-file "$keys/ca.crt" --tls-cert-file "$keys/apiserver.crt" --tls-private-key-file "$keys/apiserver.key"
        --service-account-issuer https://kubernetes.default.svc.cluster.local
        --service-account-key-file "$keys/accounts.pub" --service-account-signing-key-file "$keys/accounts.key"
        --kubelet-client-certificate "$keys/admin.crt" --kubelet-client-key "$keys/admin.key"
        --kubelet-preferred-address-types InternalIP
        --proxy-client-cert-file "$keys/aggregator.crt" --proxy-client-key-file "$keys/aggregator.key"
        --requestheader-client-ca-file "$keys/ca.crt" --requestheader-allowed-names aggregator
        --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group
        --requestheader-username-headers X-Remote-User --enable-aggregator-routing) ;;
    kube-controller-manager)
      command=(kube-controller-manager --kubeconfig "$work/controllers.kubeconfig" --leader-elect=false
        --use-service-account-credentials --root-ca-file "$keys/ca.crt"
        --service-account-private-key-file "$keys/accounts.key"
        --cluster-signing-cert-file "$keys/ca.crt" --cluster-signing-key-file "$keys/ca.key") ;;
    kube-scheduler)
      command=(kube-scheduler --kubeconfig "$work/scheduler.kubeconfig" --leader-elect=false) ;;
    containerd)
      command=(containerd --config "$work/containerd.toml" --log-level warn) ;;
    kubelet)
      command=(kubelet --config "$work/kubelet.yaml" --kubeconfig "$work/kubelet.kubeconfig"
        --hostname-override "$node" --node-ip "$node_ip"
        --node-labels topology.kubernetes.io/region=local,topology.kubernetes.io/zone=local-a) ;;
    containerd2)
      command=(containerd --config "$work/containerd2.toml" --log-level warn) ;;
    kubelet2)
      command=(kubelet --config "$work/kubelet2.yaml" --kubeconfig "$work/kubelet2.kubeconfig" --root-dir "$work/kubelet2"
        --hostname-override "$second_node" --node-ip "$second_ip"
        --node-labels topology.kubernetes.io/region=local,topology.kubernetes.io/zone=local-b) ;;
    kube-proxy)
      command=(kube-proxy --config "$work/proxy.yaml") ;;
    coredns)
      command=(coredns -conf "$work/Corefile") ;;
    *)
      fail "there is no component '$1'; they are ${COMPONENTS[*]}" ;;
  esac
}
