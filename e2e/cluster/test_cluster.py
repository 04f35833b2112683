"""The local cluster runs an image of ours as a chart would run it, is reached from this machine, and leaves nothing behind."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from local import HERE, ROOT, LocalCluster, free_port, get

sys.path.append(str(ROOT / "e2e/native"))
from peer import LIMIT_SECONDS, Host, Watcher  # noqa: E402
from test_gstreamer import VP8_HOST  # noqa: E402

PROGRAM = Path(os.environ.get("SHOWRUNNER_MEDIA_NODE", ROOT / "target/release/media-node"))
# Not those of `make up`, whose cluster may be up meanwhile.
NAME = "sr-smoke"
NET = "10.215"
IMAGE = "localhost/showrunner/media-node:smoke"
MEDIA_PORT = 7100

POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: node, labels: {{app: node}}}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: node
      image: {IMAGE}
      args: [--shards=1, --media-port={MEDIA_PORT}, --public-ip={NET}.0.1]
      ports:
        - {{name: http, containerPort: 8080}}
        - {{name: media, containerPort: {MEDIA_PORT}, hostPort: {MEDIA_PORT}, protocol: UDP}}
      readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {{name: node}}
spec:
  selector: {{app: node}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"""


def addresses(name: str, server: str) -> list[str]:
    """Asks a DNS server for the IPv4 addresses of a name (RFC 1035) over UDP."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0" + question, (server, 53))
        answer = client.recv(4096)
    count = int.from_bytes(answer[6:8])
    # CoreDNS repeats the name in full or points back at the question: the address ends each record.
    records, found = answer[12 + len(question) :], []
    for _ in range(count):
        start = 2 if records[0] & 0xC0 else records.index(0) + 1
        length = int.from_bytes(records[start + 8 : start + 10])
        found.append(socket.inet_ntoa(records[start + 10 : start + 10 + length]))
        records = records[start + 10 + length :]
    return found


def processes_of_cluster() -> list[str]:
    """The command lines of the processes that run on the cluster's files."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/run/{NAME}/" in command or f"pause {NAME} " in command:
            found.append(command)
    return found


@unittest.skipUnless(os.geteuid() == 0, "only root can boot a cluster")
class Cluster(unittest.TestCase):
    local = LocalCluster(NAME, NET)
    cluster = staticmethod(local.script)
    kubectl = staticmethod(local.kubectl)

    @classmethod
    def setUpClass(cls) -> None:
        cls.addClassCleanup(cls.local.down)
        cls.local.boot()

    def test_1_a_second_up_changes_nothing(self) -> None:
        before = self.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
        self.assertIn("is up already", self.cluster("up"))
        self.assertEqual(self.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"), before)

    def test_1_no_packet_finds_a_way_out(self) -> None:
        # An address for documentation (RFC 5737): only the routes are asked, nothing is sent.
        with self.assertRaisesRegex(AssertionError, "unreachable"):
            self.cluster("exec", "--", "ip", "route", "get", "192.0.2.1")

    def test_2_an_image_of_ours_runs_without_rights_and_is_reached(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            archive = Path(directory) / "node.tar"
            subprocess.run(
                [sys.executable, HERE / "image.py", "--name", IMAGE, "--output", archive, "--program", PROGRAM],
                check=True,
            )
            self.cluster("import", str(archive))
        self.kubectl("apply", "--filename=-", given=POD)
        try:
            self.kubectl("wait", "--for=condition=Ready", "pod/node", "--timeout=120s")
        except AssertionError:
            print(self.kubectl("describe", "pod/node"))
            raise

        # The container may do what its user may: not root's, and not write.
        pid = self.cluster("exec", "--", "pgrep", "--exact", "media-node").strip()
        status = self.cluster("exec", "--", "cat", f"/proc/{pid}/status")
        self.assertRegex(status, r"(?m)^Uid:\s+65532\s+65532\s+65532\s+65532$")
        self.assertRegex(status, r"(?m)^CapEff:\s+0+$")
        self.assertRegex(status, r"(?m)^Seccomp:\s+2$")

        pod = json.loads(self.kubectl("get", "pod/node", "--output=json"))
        service = json.loads(self.kubectl("get", "service/node", "--output=json"))["spec"]["clusterIP"]
        get(f"http://{pod['status']['podIP']}:8080/readyz")
        get(f"http://{service}/readyz")
        self.assertEqual(addresses("node.default.svc.cluster.local", f"{NET}.0.1"), [service])
        # The pod reaches a Service, even if it is its own, and knows where to ask for names.
        self.cluster("exec", "--", "nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-sSf", f"http://{service}/readyz")
        self.assertIn(f"nameserver {NET}.0.1", self.cluster("exec", "--", "cat", f"/proc/{pid}/root/etc/resolv.conf"))
        port = free_port()
        self.assertIn(f"http://localhost:{port}", self.cluster("forward", str(port), "default/node:http"))
        self.assertIn("rooms", get(f"http://127.0.0.1:{port}/v1/status"))
        # The only way for media is UDP, by the port that kubelet opens on the node.
        with Host(VP8_HOST) as host, Watcher("encoding-name=VP8", "rtpvp8depay ! vp8dec") as watcher:
            host.go_live(f"http://127.0.0.1:{port}/whip/default/smoke")
            watcher.negotiate(f"http://127.0.0.1:{port}/whep/default/smoke")
            watcher.pictures.get(timeout=LIMIT_SECONDS)
            watcher.sounds.get(timeout=LIMIT_SECONDS)

        self.kubectl("delete", "pod/node", "--timeout=60s")
        self.assertEqual(self.kubectl("get", "pods", "--output=name"), "")

    def test_3_a_port_in_use_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with self.assertRaisesRegex(AssertionError, "can't be listened on"):
                self.cluster("forward", str(server.getsockname()[1]), "default/kubernetes:https")

    def test_4_a_component_ends_and_comes_back(self) -> None:
        self.cluster("stop", "kube-apiserver")
        status = self.local.run(str(HERE / "cluster.sh"), "status")
        self.assertRegex(status.stdout, r"kube-apiserver +does not run")
        self.assertIn("is up already", self.cluster("up"))
        self.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=60s")

    def test_5_down_leaves_nothing(self) -> None:
        self.assertNotEqual(processes_of_cluster(), [])
        self.cluster("down")
        self.assertEqual(processes_of_cluster(), [])
        self.assertFalse(Path(f"/sys/class/net/{NAME}0").exists())
        self.assertFalse((ROOT / ".cache/cluster/run" / NAME).exists())
        groups = Path("/sys/fs/cgroup")
        self.assertEqual([*groups.glob(NAME), *groups.glob(f"*/{NAME}")], [])
        mounts = Path("/proc/mounts").read_text()
        self.assertNotIn(f"/run/{NAME}/", mounts)


if __name__ == "__main__":
    unittest.main()
