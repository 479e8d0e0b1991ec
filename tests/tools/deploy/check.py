"""Kubernetes, kustomize and systemd take what is in deploy/, and checkov finds nothing in it that has
no reason. The bill of materials is one, and the same each time.

Prints a line `ok - …` or `not ok - …` for each check. Run by scripts/test, which installs what it
needs into .tools/deploy.
"""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib

import kubernetes_validate
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
DEPLOY = os.path.join(ROOT, "deploy")
MANIFESTS = os.path.join(DEPLOY, "kubernetes")
UNIT = os.path.join(DEPLOY, "systemd", "settlement-gateway.service")
BIN = os.path.dirname(sys.executable)

# The oldest and the newest version of Kubernetes that the manifests are for.
KUBERNETES = ["1.30", "1.34"]
# How exposed the unit may be at most, in tenths of what `systemd-analyze security` says (10: fully).
EXPOSURE_MAX = 15
NAME = "app.kubernetes.io/name"
GATEWAY = "settlement-gateway"
# The folders with a gateway. Each has a folder `init` for what is made once.
WORKLOADS = ["sqlite", "postgres"]
# Made by a person, as docs/production.md says.
SECRETS = {"settlement-gateway", "settlement-gateway-tls", "settlement-callbacks-tls"}


@functools.cache
def kustomizations():
    """The folders that are applied, each with what kustomize makes of it."""
    made = {}
    for folder, _, files in sorted(os.walk(MANIFESTS)):
        if "kustomization.yaml" in files and "base" not in folder:
            text = ran("kubectl", "kustomize", folder)
            made[os.path.relpath(folder, MANIFESTS)] = list(yaml.safe_load_all(text))
    return made


def ran(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def every_manifest_fits_the_schema_as_it_is_and_as_kustomize_makes_it():
    plain = []
    for folder, _, files in os.walk(MANIFESTS):
        for name in files:
            if name.endswith(".yaml") and name != "kustomization.yaml":
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    plain += yaml.safe_load_all(file)
    made = [manifest for manifests in kustomizations().values() for manifest in manifests]
    names = lambda manifests: {(one["kind"], one["metadata"]["name"]) for one in manifests}
    # No file is forgotten by its kustomization.
    assert names(plain) == names(made), names(plain) ^ names(made)
    for version in KUBERNETES:
        for manifest in plain + made:
            kubernetes_validate.validate(manifest, version, strict=True)
    for manifest in plain:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "settlement", manifest["metadata"]


def what_a_manifest_names_is_there():
    for folder, manifests in kustomizations().items():
        have = {(one["kind"], one["metadata"]["name"]) for one in manifests}
        for manifest in manifests:
            for kind, name in named(manifest):
                # The volume is made once, and not with the rest.
                made_before = (kind, name) == ("PersistentVolumeClaim", "settlement-data")
                there = name in SECRETS if kind == "Secret" else (kind, name) in have
                assert there or made_before, f"{folder}: there is no {kind} {name}"


def named(manifest):
    """The objects that an object names, by their kinds."""
    keys = {
        "serviceAccountName": "ServiceAccount",
        "secretName": "Secret",
        "claimName": "PersistentVolumeClaim",
        "serviceName": "Service",
    }
    waiting = [manifest]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
            for key, kind in keys.items():
                if isinstance(one.get(key), str):
                    yield kind, one[key]
            if "configMap" in one:
                yield "ConfigMap", one["configMap"]["name"]
            if isinstance(one.get("service"), dict):
                yield "Service", one["service"]["name"]


def ports_have_the_names_by_which_they_are_called():
    for folder, manifests in kustomizations().items():
        ports = {
            port["name"]
            for manifest in manifests
            for container in pod(manifest).get("containers", [])
            for port in container.get("ports", [])
        }
        for manifest in manifests:
            spec = manifest.get("spec", {})
            if manifest["kind"] == "Service":
                called = {port["targetPort"] for port in spec["ports"]}
            elif manifest["kind"] == "NetworkPolicy":
                rules = spec.get("ingress", [])
                called = {port["port"] for rule in rules for port in rule["ports"]}
            else:
                continue
            assert called <= ports, f"{folder}: {called - ports}"


def pod(manifest):
    return manifest.get("spec", {}).get("template", {}).get("spec", {})


def the_network_lets_in_callers_and_the_scraper_and_callbacks_from_everywhere():
    callers = {"podSelector": {"matchLabels": {"calls-settlement-gateway": "true"}}}
    scraper = {"podSelector": {"matchLabels": {NAME: "prometheus"}}}
    expected = {
        "grpc": [callers | {"namespaceSelector": {}}],
        "admin": [scraper | {"namespaceSelector": {"matchLabels": in_namespace("monitoring")}}],
        "callbacks": None,
    }
    for folder in WORKLOADS:
        # All policies of a pod count together.
        rules = [
            (port["port"], rule.get("from"))
            for policy in the(folder, "NetworkPolicy")
            if finds(policy["spec"]["podSelector"], workload(folder))
            for rule in policy["spec"].get("ingress", [])
            for port in rule["ports"]
        ]
        assert len(rules) == len(expected) and dict(rules) == expected, f"{folder}: {rules}"
        policies = the(f"{folder}/init", "NetworkPolicy")
        assert not [policy for policy in policies if "ingress" in policy["spec"]], folder
        for folder in [folder, f"{folder}/init"]:
            closed = {
                direction
                for policy in the(folder, "NetworkPolicy")
                if finds(policy["spec"]["podSelector"], workload(folder))
                for direction in policy["spec"]["policyTypes"]
            }
            assert closed == {"Ingress", "Egress"}, f"{folder}: {closed}"


def nothing_inside_the_cluster_is_reached_but_names_and_the_database():
    private = {"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
    names = in_namespace("kube-system")
    database = {"namespaceSelector": {}, "podSelector": {"matchLabels": {NAME: "postgresql"}}}
    for folder, more in [("sqlite", set()), ("postgres", {5432}), ("postgres/init", {5432})]:
        reached = set()
        for policy in the(folder, "NetworkPolicy"):
            for rule in policy["spec"].get("egress", []):
                ports = {port["port"] for port in rule["ports"]}
                (to,) = rule["to"]
                if ports == {443}:
                    assert to["ipBlock"]["cidr"] == "0.0.0.0/0", to
                    assert set(to["ipBlock"]["except"]) == private, to
                elif ports == {53}:
                    assert to["namespaceSelector"]["matchLabels"] == names, to
                else:
                    assert (ports, to) == ({5432}, database), rule
                reached |= ports
        douyin = set() if folder.endswith("init") else {443}
        assert reached == {53} | douyin | more, f"{folder}: {reached}"


def there_are_as_many_gateways_as_the_store_takes():
    assert workload("sqlite")["kind"] == "StatefulSet"
    assert workload("sqlite")["spec"]["replicas"] == 1
    # A second one on the same volume would wait for the first one's locks.
    (volume,) = the("sqlite/init", "PersistentVolumeClaim")
    assert volume["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert workload("postgres")["kind"] == "Deployment"
    assert workload("postgres")["spec"]["replicas"] == 3
    assert workload("postgres")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (budget,) = the("postgres", "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert finds(budget["spec"]["selector"], workload("postgres"))
    # One pod must not keep its node from being emptied.
    assert not the("sqlite", "PodDisruptionBudget")
    for folder in WORKLOADS:
        assert finds(workload(folder)["spec"]["selector"], workload(folder))
        for service in the(folder, "Service"):
            assert finds({"matchLabels": service["spec"]["selector"]}, workload(folder))


def probes_ask_what_they_are_for():
    for folder in WORKLOADS:
        (container,) = pod(workload(folder))["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"grpc": 50051, "callbacks": 8080, "admin": 9090}, ports
        # A process that hangs is ended; one that cannot serve gets no calls, and is not ended.
        asked = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        for probe, path in asked.items():
            assert container[probe]["httpGet"] == {"path": path, "port": "admin"}, probe
        patience = {
            probe: container[probe]["periodSeconds"] * container[probe]["failureThreshold"]
            for probe in asked
        }
        # A migration of a large database, an answer that is late, and news for balancers.
        assert patience["startupProbe"] >= 15 * 60, patience
        assert patience["livenessProbe"] >= 60, patience
        assert patience["readinessProbe"] <= 10, patience


def every_command_in_a_container_finds_the_configuration():
    for folder in WORKLOADS:
        for folder, command in [(folder, "serve"), (f"{folder}/init", "init")]:
            (container,) = pod(workload(folder))["containers"]
            assert container["args"] == [command], container["args"]
            variables = {one["name"]: one["value"] for one in container["env"]}
            path, name = os.path.split(variables["SETTLEMENT_CONFIG"])
            (configured,) = the(folder, "ConfigMap")
            assert name in configured["data"], name
            volumes = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
            maps = {one["name"]: one.get("configMap") for one in pod(workload(folder))["volumes"]}
            assert maps[volumes[path]] == {"name": configured["metadata"]["name"]}, maps


def the(folder, *kinds):
    """What kustomize makes of a folder, of these kinds."""
    return [one for one in kustomizations()[folder] if one["kind"] in kinds]


def workload(folder):
    (found,) = the(folder, "StatefulSet", "Deployment", "Job")
    return found


def finds(selector, manifest):
    """Whether a selector finds the pods of a workload."""
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert set(selector) == {"matchLabels"} and selector["matchLabels"], selector
    return selector["matchLabels"].items() <= labels.items()


def in_namespace(name):
    return {"kubernetes.io/metadata.name": name}


def checkov_finds_nothing_without_a_reason():
    with tempfile.TemporaryDirectory() as folder:
        for name, manifests in kustomizations().items():
            path = os.path.join(folder, name.replace("/", "-") + ".yaml")
            with open(path, "w", encoding="utf-8") as file:
                yaml.safe_dump_all(manifests, file)
        quiet = {"LOG_LEVEL": "ERROR", "CKV_IGNORE_HIDDEN_DIRECTORIES": "false"}
        done = subprocess.run(
            [os.path.join(BIN, "checkov"), "--directory", folder, "--framework", "kubernetes"]
            + ["--output", "json", "--skip-download", "--quiet"],
            capture_output=True,
            text=True,
            env=os.environ | quiet,
        )
        report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 100, report["summary"]
    failed = report["results"]["failed_checks"]
    told = [f"{one['check_id']} {one['resource']}: {one['check_name']}" for one in failed]
    assert not told, "\n".join(told)


def systemd_takes_the_unit_and_finds_it_closed():
    with open(UNIT, encoding="utf-8") as file:
        text = file.read()
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, os.path.basename(UNIT))
        with open(unit, "w", encoding="utf-8") as file:
            # It looks whether there is such a program.
            file.write(text.replace("/usr/local/bin/settlement-gateway", "/bin/true"))
        said = ran("systemd-analyze", "verify", unit, stderr=None)
        assert said == "", said
        offline = ["--offline=true", f"--threshold={EXPOSURE_MAX}", unit]
        said = ran("systemd-analyze", "security", *offline)
    level = re.search(r"exposure level.*?: ([\d.]+)", said)
    print(f"# exposure level {level.group(1)}, at most {EXPOSURE_MAX / 10}")


def the_bill_of_materials_is_whole_and_the_same_each_time():
    command = [sys.executable, os.path.join(ROOT, "scripts", "sbom.py")]
    first, second = (ran(*command) for _ in range(2))
    assert first == second
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(first)
    assert problem is None, problem
    bill = json.loads(first)
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        locked = {(one["name"], one["version"]) for one in tomllib.load(file)["package"]}
    crates = [one for one in bill["components"] if one["purl"].startswith("pkg:cargo/")]
    assert {(one["name"], one["version"]) for one in crates} <= locked
    linked = {one["name"] for one in crates if one["scope"] == "required"}
    # None is left out, and what only a build needs is told apart.
    assert linked == needed("normal,no-proc-macro"), linked ^ needed("normal,no-proc-macro")
    everything = {one["name"] for one in crates}
    assert everything == needed("normal,build"), everything ^ needed("normal,build")
    assert {"tonic", "rusqlite", "rustls", "ring"} <= linked
    assert not linked & {"douyin-sim", "tonic-prost-build", "syn", "proptest"}, linked
    uses = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert reached(uses, "gateway") == set(uses), set(uses) - reached(uses, "gateway")
    assert {"sqlite", "jemalloc"} <= {one["name"] for one in bill["components"]}
    print(f"# {len(linked)} crates in the program, {len(crates) - len(linked)} build it")


def needed(edges):
    """The names of the crates that cargo would take for the image, but for the gateway itself."""
    command = ["cargo", "tree", "--locked", "--no-default-features", "--edges", edges]
    command += ["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}"]
    return {line.split()[0] for line in ran(*command, cwd=ROOT).splitlines() if line} - {GATEWAY}


def reached(uses, root):
    found, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += uses[one]
    return found


CHECKS = [
    every_manifest_fits_the_schema_as_it_is_and_as_kustomize_makes_it,
    what_a_manifest_names_is_there,
    ports_have_the_names_by_which_they_are_called,
    the_network_lets_in_callers_and_the_scraper_and_callbacks_from_everywhere,
    nothing_inside_the_cluster_is_reached_but_names_and_the_database,
    there_are_as_many_gateways_as_the_store_takes,
    probes_ask_what_they_are_for,
    every_command_in_a_container_finds_the_configuration,
    checkov_finds_nothing_without_a_reason,
    systemd_takes_the_unit_and_finds_it_closed,
    the_bill_of_materials_is_whole_and_the_same_each_time,
]


def main():
    passed = True
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok - deploy: {name}", flush=True)
        except Exception as problem:
            passed = False
            print(f"not ok - deploy: {name}: {problem!r}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
