"""Kubernetes, kustomize and systemd take what is in deploy/, and checkov finds nothing in it that has
no reason. The bill of materials is one, and the same each time.

Prints a line `ok - …` or `not ok - …` for each check. Run by scripts/test, which installs what it
needs into .tools/deploy.
"""

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
# Made by a person, as docs/production.md says.
SECRETS = {"settlement-gateway", "settlement-gateway-tls", "settlement-callbacks-tls"}


def kustomizations():
    """The folders that are applied, each with what kustomize makes of it."""
    for folder, _, files in sorted(os.walk(MANIFESTS)):
        if "kustomization.yaml" in files and "base" not in folder:
            made = ran("kubectl", "kustomize", folder)
            yield os.path.relpath(folder, MANIFESTS), list(yaml.safe_load_all(made))


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
    made = [manifest for _, manifests in kustomizations() for manifest in manifests]
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
    for folder, manifests in kustomizations():
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
    for folder, manifests in kustomizations():
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


def checkov_finds_nothing_without_a_reason():
    with tempfile.TemporaryDirectory() as folder:
        for name, manifests in kustomizations():
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
    assert {"tonic", "rusqlite", "rustls", "ring"} <= linked
    assert not linked & {"douyin-sim", "tonic-prost-build", "syn", "proptest"}, linked
    assert {"sqlite", "jemalloc"} <= {one["name"] for one in bill["components"]}
    print(f"# {len(linked)} crates in the program, {len(crates) - len(linked)} build it")


CHECKS = [
    every_manifest_fits_the_schema_as_it_is_and_as_kustomize_makes_it,
    what_a_manifest_names_is_there,
    ports_have_the_names_by_which_they_are_called,
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
