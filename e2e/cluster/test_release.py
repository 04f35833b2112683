"""The chart: what it takes for values, what it makes of them, and what its accounts may do."""

import json
import re
import unittest

from local import ROOT
from showrunner import CHART, SHOP, SYSTEM, showrunner

VERSION = ["--kube-version", "1.37.0"]
IMAGE = ["--set", "image.repository=localhost/showrunner"]

# Values that change what is made.
OPTIONS = {
    "defaults": [],
    "an Ingress": ["--set", "ingress.enabled=true,ingress.host=live.example.com,ingress.tlsSecretName=live"],
    "a certificate of its own": ["--set", "gateway.tls.secretName=live,gateway.service.port=443,gateway.service.type=LoadBalancer"],
    "a customer's tokens": ["--set", "tokens.customer.issuer=https://shop.example.com,tokens.customer.jwks=\\{\\}"],
    "one replica": ["--set", "operator.replicas=1,gateway.replicas=1"],
    "a dashboard": ["--set", "monitoring.dashboard.enabled=true"],
    "metrics for autoscalers": ["--set", "metricsApi.enabled=true,metricsApi.external=false,metricsApi.from[0].ipBlock.cidr=10.0.0.0/8"],
    "headroom": ["--set", "headroom.enabled=true,headroom.nodeSelector.a=b,headroom.tolerations[0].operator=Exists"],
    "much": ["--set", "gateway.region=eu,gateway.trustedProxies={10.0.0.0/8},gateway.nodeSelector.a=b,fullnameOverride=live,"
             "gateway.tolerations[0].operator=Exists,image.pullSecrets[0].name=pull,operator.priorityClassName=high"],
}  # fmt: skip
# These need definitions that the cluster has not.
FOREIGN = {
    "an HTTPRoute": ["--set", "httpRoute.enabled=true,httpRoute.hostnames={live.example.com},httpRoute.parentRefs[0].name=public"],
    "monitoring": ["--set", "monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.podMonitor.labels.release=prometheus"],
}  # fmt: skip
# Each with what is said to whoever tries.
WRONG = {
    "image.repository=": "image.repository is not set: build the image",
    "ingress.enabled=true": "ingress.host is not set: say under which name people reach the gateway",
    "httpRoute.enabled=true,httpRoute.hostnames={a.example}": "httpRoute.parentRefs is not set: say which Gateway the route is for",
    "tokens.customer.issuer=https://shop.example.com": "give the issuer's public keys",
    "replicas=3": "replicas",
    "gateway.replicas=many": "gateway/replicas",
    "publicUrl=live.example.com": "publicUrl",
    "gateway.limits.address=100": "gateway/limits/address",
    "tokens.hostSeconds=10": "tokens/hostSeconds",
    "logFormat=xml": "logFormat",
}


class Release(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def render(self, *flags: str) -> str:
        return self.cluster.helm("template", "live", str(CHART), "--namespace=default", *VERSION, *IMAGE, *flags)

    def test_all_that_it_makes_is_taken(self) -> None:
        for name, flags in OPTIONS.items():
            with self.subTest(name):
                self.cluster.helm("lint", "--strict", str(CHART), *VERSION, *IMAGE, *flags)
                self.cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-",
                                     given=self.render("--set", "crds.install=false", *flags))  # fmt: skip
        for name, flags in FOREIGN.items():
            with self.subTest(name):
                self.cluster.helm("lint", "--strict", str(CHART), *VERSION, *IMAGE, *flags)
                self.render(*flags)

    def test_wrong_values_are_refused_with_what_to_change(self) -> None:
        for values, message in WRONG.items():
            with self.subTest(values):
                run = self.cluster.run("helm", "template", str(CHART), *VERSION, *IMAGE, "--set", values)
                self.assertNotEqual(run.returncode, 0)
                self.assertIn(message, run.stderr)

    def test_values_and_their_schema_name_the_same(self) -> None:
        values = json.loads(self.cluster.helm("show", "values", str(CHART), "--jsonpath={}"))
        schema = json.loads((CHART / "values.schema.json").read_text())

        def compare(path: str, value: object, schema: dict) -> None:
            if "properties" in schema:
                self.assertEqual(set(value), set(schema["properties"]) - {"global"}, path)
                for key, part in value.items():
                    compare(f"{path}.{key}", part, schema["properties"][key])

        compare("", values, schema)

    def test_metrics_that_it_names_exist(self) -> None:
        """Alerts and the dashboard go by names that the programs have."""
        named = set()
        for file in ("rules.yaml", "dashboard.json"):
            named |= set(re.findall(r"showrunner_[a-z_]+", (CHART / "files" / file).read_text()))
        sources = "".join(
            (ROOT / path).read_text()
            for path in ("media-node/src/metrics.rs", "operator/src/gateway/metrics.rs", "operator/src/metrics.rs")
        )
        for name in named:
            short = re.sub(r"^showrunner_(gateway_|operator_)?|_bucket$", "", name)
            self.assertIn(f'"{short}"', sources, name)

    def may(self, account: str, verb: str, resource: str, namespace: str = SHOP) -> bool:
        run = self.cluster.run(
            "kubectl", "auth", "can-i", verb, *resource.split(), "--namespace", namespace,
            f"--as=system:serviceaccount:{SYSTEM}:showrunner-{account}",
        )  # fmt: skip
        return run.stdout.strip() == "yes"

    def test_accounts_may_do_what_they_must_and_no_more(self) -> None:
        for account, verb, resource in [
            ("operator", "watch", "liverooms"),
            ("operator", "patch", "liverooms --subresource=status"),
            ("operator", "patch", "medianodes --subresource=scale"),
            ("operator", "create", "pods"),
            ("operator", "patch", "secrets"),
            ("operator", "delete", "horizontalpodautoscalers.autoscaling"),
            ("operator", "watch", "evictions.lifecycle.k8s.io"),
            ("operator", "patch", "evictions.lifecycle.k8s.io --subresource=status"),
            ("gateway", "watch", "liverooms"),
            ("gateway", "watch", "pods"),
        ]:
            with self.subTest(account=account, verb=verb, resource=resource):
                self.assertTrue(self.may(account, verb, resource))
        for account, verb, resource in [
            ("operator", "get", "secrets"),
            ("operator", "list", "secrets"),
            ("operator", "watch", "secrets"),
            ("operator", "delete", "secrets"),
            ("operator", "get", "configmaps"),
            ("operator", "patch", "medianodes"),
            ("operator", "delete", "liverooms"),
            ("operator", "create", "pods --subresource=exec"),
            ("operator", "create", "pods --subresource=eviction"),
            ("operator", "patch", "evictions.lifecycle.k8s.io"),
            ("operator", "watch", "evictionrequests.lifecycle.k8s.io"),
            ("operator", "create", "deployments.apps"),
            ("operator", "create", "clusterrolebindings"),
            ("operator", "impersonate", "users"),
            # Only with metricsApi.enabled.
            ("operator", "create", "tokenreviews.authentication.k8s.io"),
            ("operator", "create", "subjectaccessreviews.authorization.k8s.io"),
            ("operator", "patch", "apiservices.apiregistration.k8s.io"),
            ("gateway", "get", "secrets"),
            ("gateway", "create", "secrets"),
            ("gateway", "patch", "liverooms"),
            ("gateway", "patch", "liverooms --subresource=status"),
            ("gateway", "delete", "pods"),
            ("gateway", "get", "nodes"),
        ]:
            with self.subTest(account=account, verb=verb, resource=resource):
                self.assertFalse(self.may(account, verb, resource))
        # In its own namespace, the operator reads the release's keys and nothing else.
        self.assertTrue(self.may("operator", "get", "secrets/showrunner-control", SYSTEM))
        self.assertFalse(self.may("operator", "get", "secrets/another", SYSTEM))
        self.assertFalse(self.may("operator", "list", "secrets", SYSTEM))
        self.assertFalse(self.may("gateway", "get", "secrets/showrunner-gateway", SYSTEM))

    def test_pods_have_no_rights_that_they_do_not_need(self) -> None:
        for pod in [*self.live.pods("operator"), *self.live.pods("gateway"), *self.live.media_pods()]:
            with self.subTest(pod["metadata"]["name"]):
                spec = pod["spec"]
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in spec["containers"]:
                    rights = container["securityContext"]
                    self.assertFalse(rights["allowPrivilegeEscalation"])
                    self.assertTrue(rights["readOnlyRootFilesystem"])
                    self.assertEqual(rights["capabilities"], {"drop": ["ALL"]})
        for pod in self.live.media_pods():
            self.assertFalse(pod["spec"]["automountServiceAccountToken"])

    def test_helm_test_says_that_the_gateway_answers(self) -> None:
        said = self.cluster.helm("test", "showrunner", "--namespace", SYSTEM, "--timeout", "2m")
        self.assertRegex(said, r"Phase: +Succeeded")

    def test_the_notes_say_the_next_command(self) -> None:
        notes = self.cluster.helm("get", "notes", "showrunner", "--namespace", SYSTEM)
        self.assertIn("kubectl apply --filename=-", notes)
        self.assertIn("http://rooms.test/rooms/default/sale", notes)
        example = notes.split("<<YAML\n")[1].split("\nYAML\n")[0]
        self.cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", given=example)


if __name__ == "__main__":
    unittest.main()
