"""The Kubernetes manifests: valid, and for every container the same as the compose file says."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports of what Python will drop
    import kubernetes_validate

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "docker" / "kubernetes"
VERSIONS = ("1.33", "1.37")  # of Kubernetes
KUSTOMIZE = ("Kustomization", "Component")
POD_KINDS = ("Deployment", "StatefulSet", "Job")


def _documents(*folders: str) -> list[dict[str, Any]]:
    files = [file for folder in folders for file in sorted((MANIFESTS / folder).glob("*.yaml"))]
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return [document for document in found if document["kind"] not in KUSTOMIZE]


ALL = _documents("base", "gpu", "s3")
WORKLOADS = {document["metadata"]["name"]: document for document in ALL if document["kind"] in POD_KINDS}
LONG = [name for name, workload in WORKLOADS.items() if workload["kind"] != "Job"]
OURS = [name for name in WORKLOADS if name == "api" or name.startswith("worker-")]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def _pod(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return pod


def _container(name: str) -> dict[str, Any]:
    (container,) = _pod(name)["containers"]
    found: dict[str, Any] = container
    return found


def _volumes(name: str) -> dict[str, dict[str, Any]]:
    """By the path that they are seen under."""
    by_name = {volume["name"]: volume for volume in _pod(name)["volumes"]}
    return {m["mountPath"]: by_name.get(m["name"], {}) for m in _container(name)["volumeMounts"]}


def test_every_part_of_the_compose_stack_is_there() -> None:
    # What Kubernetes has others for: an ingress, an operator for Prometheus, a bucket.
    elsewhere = {"proxy", "prometheus", "grafana", "s3", "s3-bucket"}
    assert set(WORKLOADS) == set(SERVICES) - elsewhere


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", ALL, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_a_manifest_has_the_shape_that_kubernetes_declares(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_what_kubernetes_does_not_declare_is_found() -> None:
    (wrong,) = [document for document in _documents("base") if document["metadata"]["name"] == "redis"][:1]
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_container_can_change_itself_or_gain_anything(name: str) -> None:
    service, pod, context = SERVICES[name], _pod(name), _container(name)["securityContext"]
    user, group = service["user"].split(":")
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert context["readOnlyRootFilesystem"] is service["read_only"] is True
    assert context["capabilities"] == {"drop": service["cap_drop"]}
    assert "no-new-privileges:true" in service["security_opt"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["privileged"] is False
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_limits_are_those_of_the_compose_file(name: str) -> None:
    memory = SERVICES[name]["mem_limit"].removeprefix("${HARMONICDET_TRAIN_MEMORY:-").removesuffix("}")
    resources = _container(name)["resources"]
    assert resources["limits"]["memory"] == f"{memory[:-1]}{memory[-1].upper()}i"
    assert {"cpu", "memory"} <= set(resources["requests"])
    for path, volume in _volumes(name).items():
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"], path
    shared = SERVICES[name].get("shm_size")
    if shared:
        shm = _volumes(name)["/dev/shm"]["emptyDir"]
        assert shm == {"medium": "Memory", "sizeLimit": f"{shared[:-1]}{shared[-1].upper()}i"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_places_can_be_written_to(name: str) -> None:
    service = SERVICES[name]
    tmpfs = {entry.partition(":")[0] for entry in service["tmpfs"]}
    volumes = {entry.split(":")[1] for entry in service.get("volumes", [])}
    mounted = _volumes(name)
    assert set(mounted) - {"/dev/shm", "/run/secrets"} == tmpfs | volumes
    for path in tmpfs:
        assert mounted[path]["emptyDir"]["medium"] == "Memory", path


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_secrets_are_given_as_files_and_none_as_variables(name: str) -> None:
    given = SERVICES[name].get("secrets", [])
    wanted = {(s, s) if isinstance(s, str) else (s["source"], s["target"]) for s in given}
    secret = _volumes(name)["/run/secrets"]["secret"]
    assert {(item["key"], item["path"]) for item in secret["items"]} == wanted
    assert not any("valueFrom" in variable for variable in _container(name).get("env", []))
    assert all("secretRef" not in source for source in _container(name).get("envFrom", []))


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_image_does_the_same(name: str) -> None:
    service, container = SERVICES[name], _container(name)
    assert container["image"] == service["image"]
    default = ["python", "-m", "api"] if name == "api" else None
    assert container.get("command", container.get("args")) == service.get("command", default)


@pytest.mark.parametrize("name", LONG)
def test_the_same_command_tells_whether_it_is_healthy(name: str) -> None:
    container = _container(name)
    checks = [
        container[probe]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in container
    ]
    commands = {tuple(check["exec"]["command"]) for check in checks if "exec" in check}
    assert commands == {tuple(SERVICES[name]["healthcheck"]["test"][1:])}


@pytest.mark.parametrize("name", OURS)
def test_settings_are_those_of_the_compose_file(name: str) -> None:
    (generated,) = yaml.safe_load((MANIFESTS / "base" / "kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    settings = dict(literal.split("=", 1) for literal in generated["literals"])
    settings |= {variable["name"]: variable["value"] for variable in _container(name)["env"]}
    # What the compose file leaves to `.env`: the first value is as if nothing was said there.
    said = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    wanted = {key: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value) for key, value in said.items()}
    assert settings == {key: value for key, value in wanted.items() if value}
    assert _pod(name)["shareProcessNamespace"] is SERVICES[name]["init"]


@pytest.mark.parametrize("name", [name for name in LONG if "stop_grace_period" in SERVICES[name]])
def test_who_is_stopped_has_the_same_time(name: str) -> None:
    assert f"{_pod(name)['terminationGracePeriodSeconds']}s" == SERVICES[name]["stop_grace_period"]


def test_the_gpu_worker_asks_for_a_gpu() -> None:
    assert _container("worker-train-gpu")["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_nothing_is_reached_that_is_not_named() -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in ALL if d["kind"] == "NetworkPolicy"}
    assert policies["nobody-unless-allowed"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, port in (("to-database", 5432), ("to-broker", 6379)):
        (rule,) = policies[name]["ingress"]
        assert rule["ports"] == [{"port": port}]
        assert rule["from"], "anybody"


@pytest.mark.parametrize("components", [[], ["gpu"], ["s3"], ["gpu", "s3"]])
def test_kustomize_builds_them(tmp_path: Path, components: list[str]) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    shutil.copytree(MANIFESTS, tmp_path / "kubernetes", ignore=shutil.ignore_patterns("secrets"))
    secrets = tmp_path / "kubernetes" / "base" / "secrets"
    command = ["/bin/sh", str(ROOT / "docker" / "make_secrets.sh"), str(secrets)]
    subprocess.run(command, check=True, capture_output=True)
    file = tmp_path / "kubernetes" / "kustomization.yaml"
    file.write_text(file.read_text() + f"\ncomponents: {components}\n")
    built = subprocess.run(
        [kubectl, "kustomize", str(tmp_path / "kubernetes")], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    for document in documents:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    claims = [d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"]
    assert claims == ([] if "s3" in components else ["blobs"])
    pods = [d["spec"]["template"]["spec"] for d in documents if d["kind"] in POD_KINDS]
    blobs = [v for pod in pods for v in pod["volumes"] if v["name"] == "blobs"]
    assert len(blobs) == (5 if "gpu" in components else 4)
    assert all(("emptyDir" in volume) is ("s3" in components) for volume in blobs)
    images = {c["image"] for pod in pods for c in pod["containers"]}
    assert not any(image.startswith("harmonicdet-") for image in images)
