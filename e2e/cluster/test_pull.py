"""A room whose show comes from another room, through the gateway as any viewer's does."""

import unittest

from showrunner import CHART, MEDIA_NAMESPACE, SHOP, SITE, SYSTEM, showrunner


def grant(secret: str) -> str:
    """What lets the operator get one Secret."""
    return f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: source, namespace: {SHOP}}}
rules: [{{apiGroups: [""], resources: [secrets], resourceNames: [{secret}], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: source, namespace: {SHOP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: source}}
subjects: [{{kind: ServiceAccount, name: showrunner-operator, namespace: {SYSTEM}}}]
"""


class Pull(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.live = showrunner()
        cls.cluster = cls.live.cluster
        # The gateway here has no certificate.
        cls.live.install(str(CHART), "--set", "pull.allowInsecure=true")
        cls.addClassCleanup(cls.live.install)
        # Where the show comes from.
        spec = {**SITE["spec"], "region": "away", "replicas": 1}
        cls.live.create({**SITE, "metadata": {"name": "away", "namespace": MEDIA_NAMESPACE}, "spec": spec})
        cls.addClassCleanup(
            cls.cluster.kubectl, "--namespace", MEDIA_NAMESPACE, "delete", "mn", "away", "--timeout=120s"
        )
        cls.live.await_condition("MediaNode", "away", "Ready", MEDIA_NAMESPACE)

    def await_pulled(self, room: str, status: str, reason: str) -> dict:
        return self.live.await_condition("LiveRoom", room, "Pulled", status=status, reason=reason)

    def test_a_show_is_pulled_through_the_gateway(self) -> None:
        with self.live.room("far", regions=["away"], access={"watch": "Token"}) as far:
            # A host's token lets in to watch as well.
            token, secret = self.live.token(far), f"{far}-host-token"
            source = {
                "url": f"{self.live.base}/whep/{SHOP}/{far}",
                "tokenSecretRef": {"name": secret, "key": "token"},
            }
            with self.live.room("near", regions=["local"], source={"pull": source}) as near:
                said = self.await_pulled(near, "False", "SourceForbidden")
                self.assertIn(f"may not get Secret {secret}", said["message"])
                self.cluster.kubectl("apply", "--filename=-", given=grant(secret))
                self.addCleanup(self.cluster.kubectl, "--namespace", SHOP, "delete", "role/source", "rolebinding/source")
                self.await_pulled(near, "False", "SourceNotLive")
                with self.live.host(far):
                    self.await_pulled(near, "True", "Connected")
                    self.live.await_condition("LiveRoom", near, "Live")
                    self.live.await_gateways(near)
                    self.live.watch(near)
                self.live.await_condition("LiveRoom", near, "Live", status="False")
                with self.live.host(far):
                    self.live.await_condition("LiveRoom", near, "Live")
                reasons = {event["reason"] for event in self.live.events(near)}
                self.assertLessEqual({"PullFailed", "Pulled", "OnAir"}, reasons)
                found = self.cluster.kubectl("--namespace", SHOP, "get", f"lr/{near}", "--output=json")
                self.assertNotIn(token, found)
            for log in self.logs():
                self.assertNotIn(token, log)

    def logs(self) -> list[str]:
        parts = [(SYSTEM, "component=operator"), (MEDIA_NAMESPACE, "component=media-pod")]
        return [
            self.cluster.kubectl("--namespace", namespace, "logs", "--tail=-1", f"--selector=app.kubernetes.io/{part}")
            for namespace, part in parts
        ]


if __name__ == "__main__":
    unittest.main()
