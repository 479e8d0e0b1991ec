"""Prints the gateway's software bill of materials (CycloneDX 1.6, JSON): what Cargo.lock puts into
the binary for x86_64 without the simulator, and the C libraries that are compiled into it. Crates that
only build it have the scope `excluded`.

The same sources print the same bytes: its date is SOURCE_DATE_EPOCH, its number comes from Cargo.lock.

    .tools/deploy/bin/python scripts/sbom.py >sbom.cdx.json
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = "x86_64-unknown-linux-gnu"
LICENSES = LicenseFactory()


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def needed(edges):
    """The crates that the gateway needs, by name and version; `edges`: in the program, or to build it."""
    command = ["cargo", "tree", "--locked", "--package", "settlement-gateway"]
    command += ["--no-default-features", "--target", TARGET, "--edges", edges]
    command += ["--prefix", "none", "--no-dedupe", "--format", "{p}"]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    # "tonic v0.14.9", "settlement-gateway v0.1.0 (/folder)"
    crates = (line.split()[:2] for line in printed.splitlines())
    return {(name, version.removeprefix("v")) for name, version in crates}


def checksums():
    """By name and version, as Cargo.lock has them."""
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(one["name"], one["version"]): one.get("checksum") for one in packages}


def licensed(text):
    return [LICENSES.make_from_string(text.replace("/", " OR "))] if text else []


def crate(package, checksum, scope):
    name, version = package["name"], package["version"]
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        scope=scope,
        licenses=licensed(package["license"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)],
        purl=PackageURL("cargo", None, name, version),
        bom_ref=f"cargo:{name}@{version}",
    )


def compiled_in(packages):
    """The C libraries that crates bring along: a scanner knows their weaknesses by these names."""
    sqlite = packages["libsqlite3-sys"]
    header = os.path.join(os.path.dirname(sqlite["manifest_path"]), "sqlite3/sqlite3.h")
    with open(header, encoding="utf-8") as file:
        version = re.search(r'SQLITE_VERSION +"([\d.]+)"', file.read()).group(1)
    yield "libsqlite3-sys", c_library("sqlite", version, "sqlite", "blessing")
    # "0.7.1+5.3.1-…": the crate's version, then the library's.
    version = packages["tikv-jemalloc-sys"]["version"].split("+")[1].split("-")[0]
    yield "tikv-jemalloc-sys", c_library("jemalloc", version, "jemalloc", "BSD-2-Clause")


def c_library(name, version, vendor, license_id):
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        licenses=[LICENSES.make_from_string(license_id)],
        purl=PackageURL("generic", None, name, version),
        cpe=f"cpe:2.3:a:{vendor}:{name}:{version}:*:*:*:*:*:*:*",
        bom_ref=f"c:{name}@{version}",
    )


def bill():
    known, sums = metadata(), checksums()
    packages = {package["id"]: package for package in known["packages"]}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    root = known["resolve"]["root"]
    of = lambda crates: {
        one for one, package in packages.items() if (package["name"], package["version"]) in crates
    }
    linked, all_needed = of(needed("normal,no-proc-macro")), of(needed("normal,build"))
    bom = Bom()
    with open(os.path.join(ROOT, "Cargo.lock"), encoding="utf-8") as file:
        bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, file.read())
    date = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(date, datetime.timezone.utc)
    this = packages[root]
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION,
        name=this["name"],
        version=this["version"],
        licenses=licensed(this["license"]),
        bom_ref="gateway",
    )
    components = {root: bom.metadata.component}
    for package in sorted(all_needed - {root}):
        scope = ComponentScope.REQUIRED if package in linked else ComponentScope.EXCLUDED
        found = packages[package]
        checksum = sums[found["name"], found["version"]]
        components[package] = crate(found, checksum, scope)
        bom.components.add(components[package])
    in_c = dict(compiled_in({packages[package]["name"]: packages[package] for package in linked}))
    for component in in_c.values():
        bom.components.add(component)
    for package, component in components.items():
        uses = {components[one] for one in nodes[package]["dependencies"] if one in components}
        library = in_c.get(packages[package]["name"])
        bom.register_dependency(component, uses | ({library} if library else set()))
    return JsonV1Dot6(bom).output_as_string(indent=2)


if __name__ == "__main__":
    sys.stdout.write(bill() + "\n")
