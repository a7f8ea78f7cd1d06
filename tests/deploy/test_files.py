"""The files of deployments: their own tools accept them, and what they say of the program is true of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings

yaml = pytest.importorskip("yaml", reason="PyYAML, to read the files with, is not installed")
ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy/cluster/compose.yaml"
HAPROXY = ROOT / "deploy/cluster/haproxy.cfg"
DOCKERFILE = ROOT / "deploy/container/Dockerfile"
KUBERNETES = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))


def tool(name: str) -> str:
    """Where a validator is, on the path or beside this interpreter."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)]))
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def accepted(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kubernetes_objects() -> dict[str, dict[str, object]]:
    return {
        f"{found['kind']} {found['metadata']['name']}": found
        for path in KUBERNETES
        for found in yaml.safe_load_all(path.read_text())
    }


def bridge_pod() -> dict[str, object]:
    return kubernetes_objects()["Deployment sidetone"]["spec"]["template"]["spec"]  # type: ignore[index]


def bridge_settings() -> dict[str, str]:
    return kubernetes_objects()["ConfigMap sidetone"]["data"]  # type: ignore[return-value]


# what their tools say


def test_compose_accepts_the_cluster(tmp_path: Path) -> None:
    compose = tool("docker-compose")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / ".env").write_text("")
    told = ("-f", str(tmp_path / "deploy/cluster/compose.yaml"), "config")
    accepted(compose, *told, PUBLIC_URL="https://bridge.example.net")


def test_haproxy_accepts_its_configuration() -> None:
    places = {"PROXY_BIND": "127.0.0.1:18080", "BRIDGE_1": "127.0.0.1:18081", "BRIDGE_2": "127.0.0.1:18082"}
    accepted(tool("haproxy"), "-c", "-f", str(HAPROXY), **places)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_accepts_its_objects(path: Path) -> None:
    accepted(tool("kubernetes-validate"), "--strict", str(path))


def test_the_dockerfile_has_no_fault() -> None:
    accepted(tool("hadolint"), str(DOCKERFILE))


# what they say of the program


def test_deployments_set_only_what_there_is_and_with_values_that_it_takes() -> None:
    bridge = yaml.safe_load(COMPOSE.read_text())["x-bridge"]["environment"]
    for told in (bridge_settings(), {**bridge, "PUBLIC_URL": "https://bridge.example.net"}):
        assert {name.lower() for name in told} <= set(Settings.model_fields)
        Settings.load(told, None)


def test_bridges_are_given_time_to_hand_their_calls_over() -> None:
    pod, drain_s = bridge_pod(), float(bridge_settings()["DRAIN_S"])
    pause_s = float(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])  # type: ignore[index]
    assert pod["terminationGracePeriodSeconds"] >= pause_s + drain_s + 15  # type: ignore[operator]
    bridge = yaml.safe_load(COMPOSE.read_text())["x-bridge"]
    assert float(bridge["stop_grace_period"].rstrip("s")) >= float(bridge["environment"]["DRAIN_S"]) + 15


def test_what_is_probed_and_counted_exists(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    from app.main import create_app

    objects = kubernetes_objects()
    container = bridge_pod()["containers"][0]  # type: ignore[index]
    probed = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    probed |= set(re.findall(r"127\.0\.0\.1:8080(/\w+)", DOCKERFILE.read_text()))
    probed |= set(re.findall(r"http-check send meth GET uri (/\w+)", HAPROXY.read_text()))
    annotations = objects["Deployment sidetone"]["spec"]["template"]["metadata"]["annotations"]  # type: ignore[index]
    counted = objects["HorizontalPodAutoscaler sidetone"]["spec"]["metrics"][0]["pods"]["metric"]["name"]  # type: ignore[index]
    app = create_app(Settings.load({"STATE_DIR": str(tmp_path), "API_TOKEN": "secret"}, None))
    with TestClient(app, headers={"Authorization": "Bearer secret"}) as client:
        for path in probed | {annotations["prometheus.io/path"]}:
            assert client.get(path).status_code == 200, path
        assert f"\n{counted} " in client.get("/metrics").text


def test_the_image_copies_what_is_there_and_not_left_out() -> None:
    left_out = {line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().split()}
    copied = [
        source
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source not in left_out
