"""The role wsl, played for real on directories with the files of a distribution; and Docker's left-over settings."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from role_play import LOCAL, ROOT, Played, play, prepare

from ansible_collections.gaiaflow.setup.plugins.module_utils.docker_config import (
    missing_helpers,
    read_config,
    stale_context,
    without_context,
    without_helpers,
)

EXAMINE, WRITE, REPORT = (
    f"gaiaflow.setup.wsl : {name}"
    for name in ("Examine the WSL distribution", "Write wsl.conf", "Report what is left for later")
)
WSL_2, WSL_1 = "5.15.167.4-microsoft-standard-WSL2\n", "4.4.0-19041-Microsoft\n"
SYSTEMD_ON = "[boot]\nsystemd = true\n"


class Distribution:
    """A directory with what the role looks at: WSL 2 with systemd, and with enough of everything."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.root = directory, directory / "root"
        self.docker = self.root / Path(pwd.getpwuid(os.getuid()).pw_dir).relative_to("/") / ".docker"
        self.conf = self.root / "etc/wsl.conf"
        self.write("proc/sys/kernel/osrelease", WSL_2)
        self.machine(8192, 4)
        self.write("etc/wsl.conf", SYSTEMD_ON)
        self.write("usr/lib/systemd/systemd")
        (self.root / "run/systemd/system").mkdir(parents=True)

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return file

    def machine(self, memory_mb: int, cpus: int) -> None:
        self.write("proc/meminfo", f"MemTotal:       {memory_mb * 1024} kB\nMemFree: 1 kB\n")
        self.write("proc/cpuinfo", "".join(f"processor\t: {one}\nmodel name\t: x\n\n" for one in range(cpus)))

    def configure_docker(self, **config: Any) -> Path:
        self.docker.mkdir(parents=True, exist_ok=True)
        path = self.docker / "config.json"
        path.write_text(json.dumps(config, indent="\t"))
        path.chmod(0o600)
        return path

    def play(self, *options: str, **variables: Any) -> Played:
        become = os.geteuid() == 0
        return play(self.directory, "wsl", {"wsl_root": str(self.root), "wsl_become": become, **variables}, *options)


@pytest.fixture
def wsl(tmp_path: Path) -> Distribution:
    return Distribution(tmp_path)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="writes /etc/wsl.conf as root")


def configure(directory: Path, cases: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Play the role twice on many distributions at once, and return what their wsl.conf comes to.

    Args:
        directory: Where they are.
        cases: What each has in wsl.conf, and its variables.
    """
    made = []
    inventory = ["[all]"]
    for number, (text, variables) in enumerate(cases):
        (directory / str(number)).mkdir()
        one = Distribution(directory / str(number))
        one.write("etc/wsl.conf", text)
        given = {"wsl_root": str(one.root), "wsl_become": True, **variables}
        inventory.append(f"case{number} {LOCAL} " + " ".join(f"{name}={value}" for name, value in given.items()))
        made.append(one)
    command, environment = prepare(directory, "wsl", {})
    (directory / "inventory.ini").write_text("\n".join(inventory) + "\n")
    counts = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        counts.append([one["changed"] for one in json.loads(done.stdout)["stats"].values()])
    assert sum(counts[1]) == 0
    return [one.conf.read_bytes().decode() for one in made]


# ---- The role


def test_a_host_that_is_no_wsl_costs_one_task(wsl: Distribution) -> None:
    wsl.write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
    wsl.conf.unlink()
    played = wsl.play()
    assert (played.code, played.stats["changed"], played.tasks[EXAMINE]["wsl"]) == (0, 0, False)
    assert not wsl.conf.exists()
    wsl.write("proc/sys/kernel/osrelease", WSL_2)
    wsl.write(".dockerenv")  # a container in WSL
    assert wsl.play().tasks[EXAMINE]["wsl"] is False


def test_a_distribution_where_nothing_is_missing(wsl: Distribution) -> None:
    played = wsl.play("--check", "--diff")
    assert (played.code, played.stats["changed"], played.deferred) == (0, 0, {})
    found = wsl.play().tasks[EXAMINE]
    assert (found["wsl"], found["version"], found["docker_desktop"]) == (True, 2, False)
    assert found["systemd"] == {"installed": True, "running": True}


@pytest.mark.thorough
def test_a_kernel_of_the_users_own_is_wsl_too(wsl: Distribution) -> None:
    wsl.write("proc/sys/kernel/osrelease", "6.6.1-mine\n")
    (wsl.root / "run/WSL").mkdir()
    assert wsl.play().tasks[EXAMINE]["version"] == 2


def test_wsl_1_is_refused(wsl: Distribution) -> None:
    wsl.write("proc/sys/kernel/osrelease", WSL_1)
    played = wsl.play()
    assert played.code == 2
    assert "WSL 1" in played.message and "wsl --set-version" in played.hint


@as_root
def test_systemd_is_switched_on_and_deferred_until_it_runs(wsl: Distribution) -> None:
    before = "# mine\n[automount]\noptions = metadata\n\n[boot]\ncommand = echo  # said\n\n[user]\ndefault=me\n"
    wsl.write("etc/wsl.conf", before)
    shutil.rmtree(wsl.root / "run/systemd")
    tried = wsl.play("--check", "--diff")
    assert (tried.code, tried.stats["changed"], wsl.conf.read_text()) == (0, 1, before)
    assert "systemd = true" in tried.tasks[WRITE]["diff"][0]["after"]

    played = wsl.play()
    assert (played.code, played.stats["changed"], set(played.deferred)) == (0, 1, {"systemd"})
    assert wsl.conf.read_text() == before.replace("# said\n", "# said\nsystemd = true\n")
    assert played.tasks[REPORT]["wsl_deferred"][0]["finish"].startswith("wsl.exe --shutdown")
    backups = list(wsl.conf.parent.glob("wsl.conf.*"))
    assert [one.read_text() for one in backups] == [before]

    again = wsl.play()
    assert (again.stats["changed"], set(again.deferred)) == (0, {"systemd"})
    (wsl.root / "run/systemd/system").mkdir(parents=True)
    assert wsl.play().deferred == {}


def test_without_root_the_file_is_deferred(wsl: Distribution) -> None:
    wsl.conf.unlink()
    played = wsl.play(wsl_become=False)
    assert (played.code, played.stats["changed"], set(played.deferred)) == (0, 0, {str(wsl.conf)})
    assert not wsl.conf.exists()


def test_systemd_that_is_not_installed_is_deferred(wsl: Distribution) -> None:
    shutil.rmtree(wsl.root / "usr/lib/systemd")
    shutil.rmtree(wsl.root / "run/systemd")
    wsl.write("etc/wsl.conf", "[boot]\ncommand = service docker start\n")
    played = wsl.play()
    assert (played.stats["changed"], set(played.deferred)) == (0, {"systemd"})
    assert "installed" in played.deferred["systemd"]


@as_root
def test_without_systemd_the_boot_command_starts_docker(wsl: Distribution) -> None:
    wsl.conf.unlink()
    shutil.rmtree(wsl.root / "run/systemd")
    played = wsl.play(wsl_systemd=False)
    assert (played.stats["changed"], played.deferred) == (1, {})
    assert wsl.conf.read_text() == "[boot]\ncommand = service docker start\n"
    assert wsl.play(wsl_systemd=False).stats["changed"] == 0


def test_too_little_memory_and_processors_are_told(wsl: Distribution) -> None:
    wsl.machine(1900, 1)
    played = wsl.play()
    (deferred,) = played.tasks[REPORT]["wsl_deferred"]
    assert "1900 MB and 1 processors" in deferred["reason"] and "4096 MB and 2" in deferred["reason"]
    assert r"%UserProfile%\.wslconfig" in deferred["finish"] and "memory=4096MB" in deferred["finish"]
    wsl.machine(3890, 2)  # what a kernel shows of memory=4GB
    assert wsl.play().deferred == {}


def test_what_docker_desktop_left_is_repaired(wsl: Distribution) -> None:
    auths = {"registry.example.com": {"auth": "c2VjcmV0"}}
    helpers = {"gcr.io": "desktop.exe", "ghcr.io": "own-that-is-missing"}
    path = wsl.configure_docker(
        credsStore="desktop.exe", auths=auths, credHelpers=helpers, currentContext="gone", psFormat="{{.ID}}"
    )
    before = path.read_text()
    path.chmod(0o640)
    tried = wsl.play("--check", "--diff")
    assert (tried.stats["changed"], path.read_text()) == (1, before)

    played = wsl.play()
    assert played.stats["changed"] == 1
    left = {"auths": auths, "credHelpers": {"ghcr.io": "own-that-is-missing"}, "psFormat": "{{.ID}}"}
    assert json.loads(path.read_text()) == left
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.read_text() for one in path.parent.glob("config.json.*")] == [before]
    assert "c2VjcmV0" not in json.dumps(played.tasks) + json.dumps(tried.tasks)
    assert wsl.play().stats["changed"] == 0


@pytest.mark.parametrize(
    "place",
    ["usr/bin", "mnt/c/Program Files/Docker/Docker/resources/bin", "win/c/Program Files/Docker/Docker/resources/bin"],
)
def test_a_helper_that_is_there_stays(wsl: Distribution, place: str) -> None:
    wsl.write("etc/wsl.conf", SYSTEMD_ON + "[automount]\nroot = /win/\n" * place.startswith("win"))
    wsl.configure_docker(credsStore="desktop.exe")
    wsl.write(f"{place}/docker-credential-desktop.exe").chmod(0o755)
    assert wsl.play().stats["changed"] == 0


def test_docker_desktop_that_serves_is_detected(wsl: Distribution) -> None:
    wsl.configure_docker(credsStore="desktop.exe")
    (wsl.root / "mnt/wsl/docker-desktop").mkdir(parents=True)
    played = wsl.play()
    assert (played.stats["changed"], played.tasks[EXAMINE]["docker_desktop"]) == (0, True)


def test_broken_settings_are_told_and_kept(wsl: Distribution) -> None:
    path = wsl.configure_docker()
    path.write_text('{\n  "auths": {,}\n}')
    played = wsl.play()
    assert (played.code, played.stats["changed"]) == (0, 0)
    assert "line 2, column 13" in played.deferred["Docker's settings"]
    assert path.read_text() == '{\n  "auths": {,}\n}'


def test_a_wrong_value_fails_at_once(wsl: Distribution) -> None:
    played = wsl.play(wsl_memory_mb="much", wsl_systemd="perhaps")
    assert played.code == 2
    said = " ".join(played.failure["argument_errors"])
    assert "wsl_memory_mb" in said and "wsl_systemd" in said and "int" in said


# ---- wsl.conf


@as_root
def test_systemd_is_merged_into_wsl_conf(tmp_path: Path) -> None:
    merged = {
        "": "[boot]\nsystemd = true\n",
        "[user]\ndefault=me": "[user]\ndefault=me\n\n[boot]\nsystemd = true\n",
        "[boot]\nsystemd=false # no\n": "[boot]\nsystemd = true # no\n",
        "[Boot]\r\nSystemd = false\r\n": "[Boot]\r\nSystemd = true\r\n",
        "[boot]\n\n\n[user]\ndefault=me\n": "[boot]\nsystemd = true\n\n\n[user]\ndefault=me\n",
        "[boot]\n#systemd=true\n": "[boot]\n#systemd=true\nsystemd = true\n",
        "[user]\nsystemd=true\n": "[user]\nsystemd=true\n\n[boot]\nsystemd = true\n",
        "# {{ x }} {% y %}\n": "# {{ x }} {% y %}\n\n[boot]\nsystemd = true\n",
    }
    assert configure(tmp_path, [(before, {}) for before in merged]) == [*merged.values()]


@pytest.mark.thorough
@as_root
def test_systemd_that_is_on_stays_as_it_is_written(tmp_path: Path) -> None:
    texts = ['[boot]\nsystemd="true"\n', "[boot]\nsystemd = TRUE # yes\n", "[ boot ]\n systemd=true"]
    cases = [(text, {"wsl_systemd": wanted}) for text in texts for wanted in (True, False)]
    assert configure(tmp_path, cases) == [text for text, _ in cases]


@pytest.mark.thorough
@as_root
def test_a_boot_command_of_the_users_is_kept(tmp_path: Path) -> None:
    merged = {
        "[boot]\ncommand = mine &\n": "[boot]\ncommand = service docker start; mine &\n",
        '[boot]\ncommand="mine"\n': "[boot]\ncommand = service docker start; mine\n",
        '[boot]\ncommand=echo "a #b"\n': '[boot]\ncommand = service docker start; echo "a #b"\n',
        "[boot]\ncommand = /etc/init.d/docker start\n": "[boot]\ncommand = /etc/init.d/docker start\n",
    }
    assert configure(tmp_path, [(before, {"wsl_systemd": False}) for before in merged]) == [*merged.values()]


@pytest.mark.thorough
@as_root
def test_docker_desktop_needs_no_boot_command(wsl: Distribution) -> None:
    wsl.write("etc/wsl.conf", "[boot]\ncommand = mine\n")
    (wsl.root / "mnt/wsl/docker-desktop").mkdir(parents=True)
    assert wsl.play(wsl_systemd=False).stats["changed"] == 0


# ---- Docker's settings


def test_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert read_config(path) == {}
    path.write_text("\n")
    assert read_config(path) == {}
    path.write_text('{"a": 1,\n}')
    with pytest.raises(ValueError, match="line 2, column 1"):
        read_config(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="no JSON object"):
        read_config(path)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="UTF-8"):
        read_config(path)


def test_helpers_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "docker-credential-pass").write_text("")
    (tmp_path / "docker-credential-pass").chmod(0o755)
    (tmp_path / "docker-credential-flat").write_text("")  # no program
    config = {"credsStore": "desktop", "credHelpers": {"a": "pass", "b": "flat", "c": "desktop"}, "auths": {}}
    assert missing_helpers(config, f"/nowhere:{tmp_path}") == ["desktop", "flat"]
    assert without_helpers(config, ["desktop", "flat"]) == {"credHelpers": {"a": "pass"}, "auths": {}}
    assert without_helpers({"credHelpers": {"a": "x"}, "auths": {}}, ["x"]) == {"auths": {}}
    assert config["credsStore"] == "desktop"
    assert missing_helpers({"credsStore": "", "credHelpers": None}, "") == []
    assert without_helpers({"credHelpers": {}}, ["x"]) == {"credHelpers": {}}


def test_contexts_of_the_real_docker_command_line(tmp_path: Path) -> None:
    def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
        return subprocess.run(["docker", "context", *arguments], env=environment, capture_output=True, text=True)

    if not shutil.which("docker"):
        pytest.skip("no docker command line")

    def stale() -> str | None:
        return stale_context(read_config(tmp_path / "config.json"), tmp_path)

    assert stale() is None
    (tmp_path / "there.sock").touch()
    hosts = {
        "here": f"unix://{tmp_path}/there.sock",
        "gone": f"unix://{tmp_path}/gone.sock",
        "far": "tcp://192.0.2.1:2376",
    }
    for name, host in hosts.items():
        assert docker("create", name, "--docker", f"host={host}").returncode == 0
    for name, expected in {"here": None, "gone": "gone", "far": None, "default": None}.items():
        assert docker("use", name).returncode == 0
        assert stale() == expected, name

    docker("use", "far")
    (meta,) = (one for one in tmp_path.glob("contexts/meta/*/meta.json") if "192.0.2.1" in one.read_text())
    meta.write_text(meta.read_text().replace("tcp://192.0.2.1:2376", "npipe:////./pipe/dockerDesktopLinuxEngine"))
    assert stale() == "far"
    docker("use", "here")
    shutil.rmtree(tmp_path / "contexts")
    assert stale() == "here"
    assert docker("inspect").returncode != 0
    config = read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(without_context(config)))
    assert json.loads(docker("inspect").stdout)[0]["Name"] == "default"
