"""What deploy/kubernetes/rendered says, held against published schemas, the pages of docs and the rules of the house."""

import json
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ["dev", "production"]
# The oldest and the newest release whose schemas the files are held against.
VERSIONS = ["1.29", "1.37"]
BUILT_IN = {
    "Namespace", "Service", "StatefulSet", "Deployment", "HorizontalPodAutoscaler",
    "PodDisruptionBudget", "NetworkPolicy",
}
# Two of these in one node would contradict each other.
SINGLE = {"chain", "consensus", "wallet", "peer", "miner"}
COMPONENT = "app.kubernetes.io/component"


def rendered(overlay):
    text = (KUBERNETES / "rendered" / f"{overlay}.yaml").read_text()
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(overlay, *kinds):
    return {it["metadata"]["name"]: it for it in rendered(overlay) if it["kind"] in kinds}


def workloads(overlay):
    return of_kind(overlay, "StatefulSet", "Deployment")


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    containers = pod(workload)["containers"]
    assert len(containers) == 1 and "initContainers" not in pod(workload)
    return containers[0]


def environment(workload):
    return {it["name"]: it["value"] for it in container(workload)["env"]}


def documented_calls():
    """The table of services in docs/architecture.md: who calls which other service."""
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    services = {name for name, _ in rows} & {"wallet", "chain", "miner", "consensus", "peer"}
    calls = {name: set(re.findall(r"\w+", called)) & services for name, called in rows if name in services}
    assert len(calls) == 5, calls
    # A worker is the miner's binary elsewhere, and talks to the miner alone.
    return {**calls, "worker": {"miner"}}


class Rendered(unittest.TestCase):
    def test_is_what_the_overlays_give(self):
        kubectl = shutil.which("kubectl")
        version = (0, 0)
        if kubectl:
            output = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True, check=True)
            version = tuple(map(int, re.search(r"Client Version: v(\d+)\.(\d+)", output.stdout).groups()))
        if version < (1, 32):
            self.skipTest("no kubectl of 1.32 or later: nobody renders the overlays")
        for overlay in OVERLAYS:
            with self.subTest(overlay):
                output = subprocess.run(
                    [kubectl, "kustomize", KUBERNETES / "overlays" / overlay],
                    capture_output=True, text=True, check=True,
                )
                text = (KUBERNETES / "rendered" / f"{overlay}.yaml").read_text()
                self.assertEqual(output.stdout, text, "run `make rendered`")

    def test_is_valid_by_the_published_schemas(self):
        validate = Path(sys.executable).with_name("kubernetes-validate")
        files = [str(KUBERNETES / "rendered" / f"{overlay}.yaml") for overlay in OVERLAYS]
        for version in VERSIONS:
            output = subprocess.run(
                [validate, "--strict", "--kubernetes-version", version, *files],
                capture_output=True, text=True, check=False,
            )
            self.assertEqual(output.returncode, 0, output.stdout + output.stderr)

    def test_has_built_in_kinds_only(self):
        for overlay in OVERLAYS:
            self.assertEqual({it["kind"] for it in rendered(overlay)}, BUILT_IN)


class Pods(unittest.TestCase):
    def each(self):
        for overlay in OVERLAYS:
            found = workloads(overlay)
            self.assertEqual(set(found), SINGLE | {"worker"})
            yield from ((overlay, name, workload) for name, workload in found.items())

    def test_there_is_one_of_each_service_and_only_workers_scale(self):
        for overlay, name, workload in self.each():
            if name in SINGLE:
                self.assertEqual((workload["kind"], workload["spec"]["replicas"]), ("StatefulSet", 1))
            else:
                self.assertNotIn("replicas", workload["spec"], "the autoscaler says how many")
            scaled = of_kind(overlay, "HorizontalPodAutoscaler").values()
            targets = [(it["spec"]["scaleTargetRef"]["kind"], it["spec"]["scaleTargetRef"]["name"]) for it in scaled]
            self.assertEqual(targets, [("Deployment", "worker")])
            budgets = [it["spec"]["selector"]["matchLabels"] for it in of_kind(overlay, "PodDisruptionBudget").values()]
            self.assertEqual(budgets.count({COMPONENT: name}), 1)

    def test_nothing_is_privileged(self):
        for _, _, workload in self.each():
            spec = pod(workload)
            for key in ["hostNetwork", "hostPID", "hostIPC"]:
                self.assertNotIn(key, spec)
            self.assertFalse(spec["automountServiceAccountToken"])
            context = spec["securityContext"]
            self.assertTrue(context["runAsNonRoot"] and context["runAsUser"] > 0)
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(
                container(workload)["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )
            self.assertFalse([it for it in spec["volumes"] if "hostPath" in it])

    def test_namespaces_enforce_it(self):
        for overlay in OVERLAYS:
            (namespace,) = of_kind(overlay, "Namespace").values()
            self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
            for it in rendered(overlay):
                if it["kind"] != "Namespace":
                    self.assertEqual(it["metadata"]["namespace"], namespace["metadata"]["name"])

    def test_probes_and_limits_are_everywhere(self):
        for _, _, workload in self.each():
            it = container(workload)
            for probe, question in [("startup", "answering"), ("liveness", "answering"), ("readiness", "serving")]:
                command = it[f"{probe}Probe"]["exec"]["command"]
                self.assertEqual(command, ["/service", f"--health={question}"])
            for resource in ["cpu", "memory"]:
                self.assertIn(resource, it["resources"]["requests"])
                self.assertIn(resource, it["resources"]["limits"])

    def test_the_end_is_longer_than_the_drain(self):
        source = (ROOT / "crates/service-kit/src/listen.rs").read_text()
        drain_ms = int(re.search(r"DRAIN_MS_DEFAULT: u64 = ([\d_]+)", source).group(1).replace("_", ""))
        for _, _, workload in self.each():
            # Calls have that long, and then background tasks as long again.
            self.assertGreater(pod(workload)["terminationGracePeriodSeconds"], 2 * drain_ms / 1000)

    def test_images_of_production_have_a_version(self):
        for overlay, _, workload in self.each():
            image, _, tag = container(workload)["image"].partition(":")
            self.assertTrue(image.startswith("pentad-") and tag)
            if overlay == "production":
                self.assertRegex(tag, r"^\d+\.\d+\.\d+$")

    def test_what_an_operator_makes_first_is_documented(self):
        operations = (ROOT / "docs/operations.md").read_text()
        for _, name, workload in self.each():
            for volume in pod(workload)["volumes"]:
                (kind,) = set(volume) - {"name"}
                if kind not in ["secret", "configMap"]:
                    continue
                referred = volume[kind].get("secretName") or volume[kind]["name"]
                self.assertTrue(f"`{referred}`" in operations, f"docs/operations.md does not name {referred}")
                # Root's, and the group's of the pod alone.
                self.assertEqual(volume[kind].get("defaultMode", 0o440), 0o440, name)


class Trust(unittest.TestCase):
    def test_every_service_has_its_own_certificate(self):
        for overlay in OVERLAYS:
            for name, workload in workloads(overlay).items():
                (tls,) = [it for it in pod(workload)["volumes"] if it["name"] == "tls"]
                self.assertEqual(tls["secret"]["secretName"], f"tls-{name}")
                values = environment(workload)
                self.assertNotIn("PENTAD_SERVER__INSECURE_LISTEN", values)
                addresses = [value for key, value in values.items() if key.endswith("__ADDRESS")]
                self.assertTrue(all(address.startswith("https://") for address in addresses), addresses)

    def test_services_call_whom_the_architecture_says(self):
        for overlay in OVERLAYS:
            for name, workload in workloads(overlay).items():
                called = {
                    re.fullmatch(r"https://(\w+):\d+", value).group(1)
                    for key, value in environment(workload).items() if key.endswith("__ADDRESS")
                }
                self.assertEqual(called, documented_calls()[name], name)

    def test_policies_allow_what_the_architecture_says_and_nothing_else(self):
        calls = documented_calls()
        for overlay in OVERLAYS:
            policies = of_kind(overlay, "NetworkPolicy")
            self.assertEqual(policies.pop("default-deny")["spec"], {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
            self.assertEqual(set(policies), set(calls) | {"names", "metrics", "client"})
            for name in calls:
                spec = policies[name]["spec"]
                self.assertEqual(spec["podSelector"], {"matchLabels": {COMPONENT: name}})
                self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
                callers = {caller for caller, called in calls.items() if name in called}
                callers |= {"client"} if name != "worker" else set()
                self.assertEqual(named(spec.get("ingress", []), "from"), (callers, name == "peer"), name)
                self.assertEqual(named(spec.get("egress", []), "to"), (calls[name], name == "peer"), name)

    def test_ports_of_policies_are_those_of_the_services(self):
        for overlay in OVERLAYS:
            found = workloads(overlay)
            ports = {
                name: {it["name"]: it["containerPort"] for it in container(workload)["ports"]}
                for name, workload in found.items()
            }
            for name, workload in found.items():
                listen = environment(workload)["PENTAD_SERVER__GRPC"]
                self.assertEqual(listen, f"0.0.0.0:{ports[name]['grpc']}")
                metrics = environment(workload)["PENTAD_SERVER__METRICS"]
                self.assertEqual(metrics, f"0.0.0.0:{ports[name]['metrics']}")
            policies = of_kind(overlay, "NetworkPolicy")
            for name in found:
                for rule in policies[name]["spec"].get("egress", []):
                    for peer in rule.get("to", []):
                        called = peer["podSelector"]["matchLabels"][COMPONENT]
                        self.assertEqual([it["port"] for it in rule["ports"]], [ports[called]["grpc"]])


def named(rules, side):
    """The components that rules name, and whether one of them names the world."""
    names, world = set(), False
    for rule in rules:
        if side not in rule:
            assert {it["port"] for it in rule["ports"]} <= {5678, "p2p-tcp", "p2p-udp"}, json.dumps(rule)
            world = True
            continue
        for peer in rule[side]:
            assert set(peer) == {"podSelector"}, json.dumps(peer)
            names.add(peer["podSelector"]["matchLabels"][COMPONENT])
    return names, world


if __name__ == "__main__":
    unittest.main()
