"""The role minikube, played for real; a local server and two scripts stand in for the sites and their programs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import LOCAL, ROOT, Played, interrupt, play, prepare

EXAMINE, LINK = "gaiaflow.setup.minikube : Examine Minikube and kubectl", "gaiaflow.setup.minikube : Link the programs"
# Only the arguments that the role documents are answered.
MINIKUBE = '#!/bin/sh\n[ "$*" = "version --short" ] && echo v{version}\n'
KUBECTL = """#!/bin/sh
[ "$*" = "version --client --output=json" ] && echo '{{"clientVersion": {{"gitVersion": "v{version}"}}}}'
"""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Site(ThreadingHTTPServer):
    """A vendor's site: what it serves, and how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.manner = "well"
        self.asked: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name, manner = self.path.rsplit("/", 1)[-1], self.server.manner
        if manner == "hangs":
            self.server.released.wait(20)
            return
        if manner.isdigit():
            self.send_error(int(manner))
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if manner in ("truncates", "stalls"):
            content = content[:10]
        self.wfile.write(content)
        if manner == "stalls":
            self.wfile.flush()
            self.server.released.wait(20)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


class Host:
    """A host whose programs are in directories of the test's own."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory, self.site = directory, site
        self.bin = directory / "local" / "bin"
        self.other = directory / "other"
        self.other.mkdir()
        self.variables: dict[str, Any] = {
            "minikube_become": False,
            "minikube_bin_directory": str(self.bin),
            "minikube_programs": [],
            "minikube_timeout": 1,
        }
        self.pin("minikube", MINIKUBE, "1.2.3")
        # Newer than any that the machine of the tests may have, so that it does not count.
        self.pin("kubectl", KUBECTL, "99.9.9")

    def pin(self, name: str, script: str, version: str) -> None:
        content = script.format(version=version).encode()
        self.site.files[name] = content
        self.variables[f"{name}_version"] = version
        self.variables[f"{name}_url"] = f"{self.site.url}/v{version}/{{arch}}/{name}"
        self.variables[f"{name}_sha256"] = {"amd64": digest(content), "arm64": digest(content)}

    def foreign(self, directory: Path, name: str, script: str, version: str) -> Path:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script.format(version=version))
        path.chmod(0o755)
        return path

    def play(self, *options: str, **variables: Any) -> Played:
        path = os.pathsep.join([str(self.bin), str(self.other), "/usr/bin", "/bin"])
        return play(self.directory, "minikube", {**self.variables, **variables}, *options, path=path)

    def interrupt(self, signum: signal.Signals, until: Callable[[], bool]) -> None:
        path = os.pathsep.join([str(self.bin), str(self.other), "/usr/bin", "/bin"])
        interrupt(self.directory, "minikube", self.variables, until, signum, path)

    def installed(self) -> set[str]:
        """All files and links beneath the prefix but the lock."""
        return {
            str(path.relative_to(self.bin.parent))
            for path in self.bin.parent.rglob("*")
            if not path.is_dir() and path.name != ".lock"
        }


@pytest.fixture
def host(tmp_path: Path, site: Site) -> Host:
    return Host(tmp_path, site)


BOTH = {
    "bin/minikube",
    "bin/kubectl",
    "lib/gaiaflow-setup/minikube-1.2.3",
    "lib/gaiaflow-setup/kubectl-99.9.9",
}


def test_fresh_then_converged(host: Host) -> None:
    tried = host.play("--check", "--diff")
    assert (tried.code, host.bin.exists(), host.installed()) == (0, False, set())
    linked = [(one["diff"]["before"]["state"], one["diff"]["after"]["state"]) for one in tried.tasks[LINK]["results"]]
    assert linked == [("absent", "link")] * 2

    first = host.play()
    assert (first.code, first.deferred) == (0, {})
    assert host.installed() == BOTH
    said = subprocess.run([host.bin / "minikube", "version", "--short"], capture_output=True, text=True)
    assert said.stdout == "v1.2.3\n"

    host.site.asked.clear()
    again = host.play("--check", "--diff")
    assert (again.code, again.stats["changed"]) == (0, 0)
    again = host.play()
    assert (again.code, again.stats["changed"], host.site.asked) == (0, 0, [])
    found = again.tasks[EXAMINE]["programs"]["minikube"]
    assert (found["kind"], found["path"], found["version"]) == ("ours", str(host.bin / "minikube"), "1.2.3")


def test_a_moved_pin_upgrades_in_place_and_absent_removes(host: Host) -> None:
    host.play()
    host.pin("minikube", MINIKUBE, "1.3.0")
    moved = host.play()
    assert moved.code == 0
    assert host.installed() == (BOTH - {"lib/gaiaflow-setup/minikube-1.2.3"}) | {"lib/gaiaflow-setup/minikube-1.3.0"}
    assert host.play().stats["changed"] == 0
    assert host.play().tasks[EXAMINE]["programs"]["minikube"]["version"] == "1.3.0"

    keep = host.foreign(host.bin, "something", MINIKUBE, "1")
    assert host.play("--check", minikube_state="absent").stats["changed"] == 1
    assert host.play(minikube_state="absent").stats["changed"] == 1
    assert [keep] == [path for path in host.bin.parent.rglob("*") if not path.is_dir()]
    assert host.play(minikube_state="absent").stats["changed"] == 0


def test_a_failed_upgrade_leaves_the_program_that_was_there(host: Host) -> None:
    host.play()
    host.pin("minikube", MINIKUBE, "1.3.0")
    host.site.manner = "truncates"
    assert host.play().code == 2
    assert host.installed() == BOTH


@pytest.mark.thorough
def test_a_program_that_was_damaged_is_made_anew(host: Host) -> None:
    host.play()
    (host.bin.parent / "lib/gaiaflow-setup/minikube-1.2.3").write_text("")
    assert host.play().stats["changed"] == 1
    assert host.play().stats["changed"] == 0


@pytest.mark.thorough
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_download_is_completed_by_the_next_run(host: Host, signum: signal.Signals) -> None:
    host.site.manner, host.variables["minikube_timeout"] = "stalls", 20
    # Both sites were asked before.
    host.interrupt(signum, lambda: len(host.site.asked) == 3)
    assert host.installed() == set()
    host.site.manner = "well"
    assert host.play().code == 0
    assert host.installed() == BOTH


@pytest.mark.parametrize("manner", ["stalls", "503", "407"])
def test_a_site_that_does_not_serve_defers(host: Host, manner: str) -> None:
    host.bin.mkdir(parents=True)
    (host.bin.parent / "lib" / "gaiaflow-setup").mkdir(parents=True)
    host.site.manner = manner
    played = host.play()
    assert (played.code, played.stats["changed"], host.installed()) == (0, 0, set())
    assert set(played.deferred) == {"minikube 1.2.3", "kubectl 99.9.9"}
    assert host.site.url in played.deferred["minikube 1.2.3"]


@pytest.mark.thorough
def test_every_run_tries_again(host: Host) -> None:
    host.site.manner = "hangs"
    for _ in range(2):
        host.site.asked.clear()
        played = host.play()
        assert (played.code, played.stats["changed"], host.installed()) == (0, 0, set())
        assert set(played.deferred) == {"minikube 1.2.3", "kubectl 99.9.9"}
        assert host.site.asked
    strict = host.play(minikube_strict=True)
    assert strict.code == 2
    assert host.site.url in strict.message and "minikube_strict" in strict.message
    assert strict.hint == "gaiaflow-setup workstation"

    host.site.manner = "well"
    assert host.play().code == 0
    assert host.installed() == BOTH


@pytest.mark.thorough
def test_a_refused_connection_and_an_unknown_name_defer(host: Host) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    played = host.play(minikube_url=closed, kubectl_url="http://nowhere.invalid/x")
    assert (played.code, played.stats["changed"], host.installed()) == (0, 0, set())
    assert "Connection refused" in played.deferred["minikube 1.2.3"]
    assert "nowhere.invalid" in played.deferred["kubectl 99.9.9"]
    tried = host.play("--check", minikube_url=closed, kubectl_url="http://nowhere.invalid/x")
    assert (tried.code, tried.stats["changed"]) == (0, 0)


@pytest.mark.thorough
def test_one_that_cannot_be_had_does_not_keep_the_other_away(host: Host) -> None:
    played = host.play(kubectl_url="http://nowhere.invalid/x")
    assert (played.code, set(played.deferred)) == (0, {"kubectl 99.9.9"})
    assert host.installed() == {"bin/minikube", "lib/gaiaflow-setup/minikube-1.2.3"}


def test_a_wrong_checksum_is_an_error(host: Host) -> None:
    wrong = {"amd64": "0" * 64, "arm64": "0" * 64}
    played = host.play(minikube_sha256=wrong)
    assert played.code == 2
    assert digest(host.site.files["minikube"]) in played.message and "0" * 64 in played.message
    assert "minikube_sha256" in played.hint
    assert host.installed() == {"bin/kubectl", "lib/gaiaflow-setup/kubectl-99.9.9"}


@pytest.mark.thorough
def test_a_truncated_file_is_an_error(host: Host) -> None:
    host.site.manner = "truncates"
    played = host.play()
    assert played.code == 2
    assert f"failed to read remaining {len(host.site.files['minikube']) - 10} bytes" in played.message
    assert host.installed() == set()


def test_a_file_that_is_not_there_is_an_error(host: Host, tmp_path: Path) -> None:
    host.site.manner = "404"
    played = host.play()
    assert played.code == 2 and "404" in played.message and "mirror" in played.hint
    absent = (tmp_path / "absent").as_uri()
    played = host.play(minikube_url=absent, kubectl_url="minikube/releases")
    assert played.code == 2 and absent in played.message
    assert "minikube/releases is no address" in played.message
    assert host.installed() == set()


@pytest.mark.thorough
def test_another_version_than_was_pinned_is_an_error(host: Host) -> None:
    played = host.play(minikube_version="1.2.4")
    assert played.code == 2
    assert "says that it is 1.2.3" in played.message and "1.2.4" in played.message
    assert "bin/minikube" not in host.installed()


def test_files_of_a_bundle_are_installed_without_a_network(host: Host, tmp_path: Path) -> None:
    for name, content in host.site.files.items():
        (tmp_path / f"my {name}").write_bytes(content)
        host.variables[f"{name}_url"] = (tmp_path / f"my {name}").as_uri()
    assert host.play().code == 0
    assert (host.installed(), host.site.asked) == (BOTH, [])


def test_check_mode_counts_on_files_that_a_bundle_would_bring(host: Host, tmp_path: Path) -> None:
    absent = (tmp_path / "bundles" / "minikube").as_uri()
    played = host.play("--check", minikube_url=absent, kubectl_url=absent)
    assert (played.code, played.tasks[LINK]["changed"], played.deferred) == (0, True, {})


def test_programs_of_others_that_do_are_used(host: Host) -> None:
    host.foreign(host.other, "minikube", MINIKUBE, "1.2.3")
    host.foreign(host.other, "kubectl", KUBECTL, "99.8.1")
    played = host.play()
    assert (played.stats["changed"], played.deferred, host.installed()) == (0, {}, set())
    found = played.tasks[EXAMINE]["programs"]["kubectl"]
    assert (found["kind"], found["path"], found["version"]) == ("accepted", str(host.other / "kubectl"), "99.8.1")


@pytest.mark.thorough
def test_programs_of_others_that_do_not_are_told_about_and_kept(host: Host) -> None:
    minikube = host.foreign(host.bin, "minikube", MINIKUBE, "1.1.0")
    host.foreign(host.other, "kubectl", KUBECTL, "99.7.0")
    played = host.play()
    reason = played.deferred["minikube 1.2.3"]
    assert f"{minikube} is minikube 1.1.0" in reason and "in the way" in reason
    assert "1.1.0" in minikube.read_text() and not minikube.is_symlink()
    # The directory of ours comes first on this PATH, so that nobody meets the old kubectl.
    assert (host.bin / "kubectl").is_symlink() and set(played.deferred) == {"minikube 1.2.3"}
    assert host.play().stats["changed"] == 0


def test_a_program_that_hides_ours_is_told_about(host: Host) -> None:
    hiding = host.foreign(host.other, "minikube", MINIKUBE, "1.1.0")
    behind = str(host.directory / "elsewhere" / "bin")
    for _ in range(2):
        played = host.play(minikube_bin_directory=behind)
        assert played.code == 0
        assert f"{hiding} is minikube 1.1.0" in played.deferred["minikube 1.2.3"]
    assert played.stats["changed"] == 0


def test_packages_are_deferred_without_root(host: Host) -> None:
    played = host.play(minikube_programs=["sh", "no-such-program"])
    assert played.code == 0
    assert played.deferred == {"no-such-program": "only root can install packages, and root wasn't to be used"}


def test_missing_packages_are_told_in_check_mode(host: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes root")
    host.play()
    played = host.play("--check", "--diff", minikube_become=True, minikube_programs=["sh", "no-such-program"])
    assert (played.code, played.stats["changed"]) == (0, 1)
    assert played.tasks["gaiaflow.setup.minikube : Show which packages would be installed"]["msg"] == "no-such-program"


def test_packages_have_the_distributions_names(tmp_path: Path) -> None:
    found = {"missing_programs": ["conntrack", "socat"]}
    managers = {"debian": ["dpkg", "apt-get"], "fedora": ["dnf"], "arch": ["pacman"], "unknown": []}
    command, environment = prepare(tmp_path, "minikube", {})
    show = {"ansible.builtin.debug": {"msg": "{{ minikube_package_command }} {{ minikube_to_add | join(' ') }}"}}
    tasks = [{"ansible.builtin.include_vars": str(ROOT / "roles/minikube/vars/main.yml")}, show]
    (tmp_path / "playbook.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "inventory.ini").write_text("".join(f"{name} {LOCAL}\n" for name in managers))
    (tmp_path / "host_vars").mkdir()
    for name, there in managers.items():
        content = {"minikube_found": {**found, "package_managers": there}}
        (tmp_path / "host_vars" / f"{name}.json").write_text(json.dumps(content))
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)["plays"][0]["tasks"][-1]["hosts"]
    assert {name: task["msg"] for name, task in told.items()} == {
        "debian": "apt-get install conntrack socat",
        "fedora": "dnf install conntrack-tools socat",
        "arch": "pacman -S conntrack-tools socat",
        "unknown": "apt-get install conntrack-tools socat",
    }


def test_wrong_values_fail_at_once(host: Host) -> None:
    wrong = {"state": "gone", "timeout": "soon", "sha256": {"riscv64": "0"}, "strict": "perhaps"}
    played = host.play(**{f"minikube_{name}": value for name, value in wrong.items()})
    assert played.code == 2 and host.site.asked == []
    said = " ".join(played.failure["argument_errors"])
    assert all(f"minikube_{name}" in said for name in wrong)
    assert all(named in said for named in ("present, absent", "riscv64", "amd64"))


def test_the_pins_are_whole() -> None:
    pins = yaml.safe_load((ROOT / "inventory/group_vars/all/versions.yml").read_text())
    for name in ("minikube", "kubectl"):
        assert all(part in pins[f"{name}_url"] for part in (f"{name}_mirror", f"{name}_version", "{arch}"))
        assert set(pins[f"{name}_sha256"]) == {"amd64", "arm64"}
        assert all(len(bytes.fromhex(one)) == 32 for one in pins[f"{name}_sha256"].values())
