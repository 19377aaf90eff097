"""Bundles: what is packed, what is refused, and that nothing is left of one that was not finished."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from cli_content import Content, copy_launcher, wait_for
from role_play import Played, interpreter, interrupt, play

CHECKOUT = Path(__file__).parents[2]
HERE = {
    "platform": {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine],
    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
}
UNREACHABLE = "http://127.0.0.1:9"
MINIKUBE = b"#!/bin/sh\necho minikube\n"

SERVICE = "mlops_service_airflow:\n  environments: {airflow: {with_project: true}}\n"
PROJECT = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["markupsafe>=2"]\n'
ELSEWHERE = "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:" + "0" * 64 + "\n"


def locked(*names: str) -> str:
    """What the command line's real lock file says of some packages."""
    text = (CHECKOUT / "requirements" / "cli.txt").read_text()
    return "".join(found[0] for name in names if (found := re.search(rf"^{name}==.*\n(?: .*\n)*", text, re.MULTILINE)))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def versions(served: Path) -> dict[str, Any]:
    """Two programs, of which one can't be had."""
    digest = hashlib.sha256(MINIKUBE).hexdigest()
    return {
        "minikube_version": "1.2.3",
        "minikube_mirror": served.as_uri(),
        "minikube_url": "{{ bundle_result.urls.minikube | default(minikube_mirror ~ '/minikube-{arch}') }}",
        "minikube_sha256": {"amd64": digest, "arm64": digest},
        "kubectl_version": "4.5.6",
        "kubectl_url": f"{UNREACHABLE}/kubectl",
        "kubectl_sha256": {"amd64": digest, "arm64": digest},
        "bundle_pip": yaml.safe_load((CHECKOUT / "inventory/group_vars/all/versions.yml").read_text())["bundle_pip"],
    }


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """A checkout that needs three packages and two programs."""
    content = Content(tmp_path_factory.mktemp("packer"))
    roles, template = content.root / "roles", content.root / "template"
    content.checkouts_own("bundle", "bundle")
    write(content.root / "requirements" / "cli.txt", locked("click", "uv"))
    write(roles / "mlops" / "files" / "locks" / "base.txt", locked("click"))
    write(roles / "mlops" / "files" / "locks" / "airflow.txt", locked("markupsafe") + ELSEWHERE)
    shutil.rmtree(roles / "mlops" / "vars")
    write(roles / "mlops" / "vars" / "main" / "services" / "airflow.yml", SERVICE)
    write(roles / "docker" / "vars" / "main.yml", 'docker_packages: [docker-ce]\ndocker_more_packages: "{{ x }}"\n')
    write(template / "cookiecutter.json", '{"folder": "demo"}')
    write(template / "{{cookiecutter.folder}}" / "pyproject.toml", PROJECT)
    for architecture in ("amd64", "arm64"):
        (content.user / f"minikube-{architecture}").write_bytes(MINIKUBE)
    write(content.root / "inventory" / "group_vars" / "all" / "versions.yml", json.dumps(versions(content.user)))
    return content


@pytest.fixture(scope="module")
def packed(packer: Content) -> Path:
    """A bundle for this machine."""
    file = packer.user / "packed" / "gaia flow.tar"
    file.parent.mkdir()
    done = packer.run("bundle", "create", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "minikube 1.2.3" in done.stdout
    assert f"Missing: kubectl 4.5.6: {UNREACHABLE}/kubectl can't be had" in done.stderr
    assert list(file.parent.iterdir()) == [file]
    return file


# ---- Packing


def test_a_bundle_holds_what_the_locks_and_the_project_need(packer: Content, packed: Path) -> None:
    shown = packer.json("bundle", "show", str(packed))
    assert {name: shown[name] for name in HERE} == HERE
    assert [one["component"] for one in shown["missing"]] == ["kubectl 4.5.6"]
    assert shown["packages"] == {"launcher": ["python3", "python3-venv"], "docker_packages": ["docker-ce"]}
    wheels = [name.removeprefix("wheels/").split("-")[0] for name in shown["files"] if name.startswith("wheels/")]
    assert wheels == ["click", "markupsafe", "uv"]
    with tarfile.open(packed) as tar:
        members = tar.getmembers()
        assert members[0].name == "manifest.json"
        for member in members[1:]:
            content = tar.extractfile(member)
            assert content
            assert hashlib.sha256(content.read()).hexdigest() == shown["files"][member.name]["sha256"]
        assert tar.getmember("programs/minikube").mode == 0o755
        launcher = tar.extractfile("launcher.txt")
        assert launcher
        assert [line.split("-")[0] for line in launcher.read().decode().splitlines()] == ["wheels/click", "wheels/uv"]


@pytest.mark.thorough
def test_the_same_contents_make_the_same_bundle(packer: Content, packed: Path, tmp_path: Path) -> None:
    assert packer.run("bundle", "create", str(tmp_path / "again")).returncode == 0
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()
    written = (tmp_path / "again").stat()
    assert packer.run("bundle", "create", str(tmp_path / "again")).returncode == 0
    assert (tmp_path / "again").stat() == written


@pytest.mark.thorough
def test_a_bundle_for_other_machines_holds_their_wheels(packer: Content, tmp_path: Path) -> None:
    file = str(tmp_path / "other")
    write(tmp_path / "project" / "pyproject.toml", PROJECT.replace("markupsafe>=2", "iniconfig"))
    options = ["--platform", "linux/arm64", "--python", "3.13", "--project", str(tmp_path / "project")]
    made = packer.json("bundle", "create", file, *options, "--cluster")
    reasons = {one["component"]: one["reason"] for one in made["missing"]}
    assert reasons["the cluster"] == "it is packed for this machine's platform only, and not for linux/arm64"
    names = " ".join(made["files"])
    assert re.search(r"markupsafe-\S+-cp313-cp313-\S*manylinux\S*_aarch64\.whl", names)
    assert "wheels/iniconfig-" in names
    assert "x86_64" not in names


def test_what_cannot_be_had_is_an_error_when_all_is_asked_for(packer: Content, tmp_path: Path) -> None:
    done = packer.run("bundle", "create", str(tmp_path / "strict"), "--strict")
    assert done.returncode == 1
    assert "kubectl 4.5.6" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-e", '{"minikube_sha256": {"amd64": "00", "arm64": "00"}}'], ["minikube 1.2.3", "its sha256 is"]),
        (["-e", "bundle_pip=click==0.0.1"], ["pip can't be had", "click"]),
        (["--project", "{directory}"], ["dependencies", "markupsafe", "1.0"]),
    ],
)
def test_what_is_wrong_makes_no_bundle(packer: Content, tmp_path: Path, options: list[str], named: list[str]) -> None:
    project = tmp_path / "project"
    write(project / "pyproject.toml", '[project]\nname = "demo"\nversion = "1"\ndependencies = ["markupsafe<1.0"]\n')
    given = [option.replace("{directory}", str(project)) for option in options]
    done = packer.run("bundle", "create", str(tmp_path / "wrong.tar"), *given)
    assert done.returncode == 1
    assert all(word in done.stderr for word in named), done.stderr
    assert list(tmp_path.iterdir()) == [project]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "x", "--platform", "windows/amd64"], ["windows/amd64", "linux/arm64"]),
        (["create", "x", "--python", "3.9"], ["3.9", "3.11"]),
        (["create", "nowhere/x"], ["nowhere/x", "No such file or directory"]),
        (["show", "nowhere"], ["nowhere", "does not exist"]),
        (["show", "/etc/passwd"], ["/etc/passwd", "is not a bundle"]),
    ],
)
def test_wrong_input_is_refused(packer: Content, arguments: list[str], named: list[str]) -> None:
    done = packer.run("bundle", *arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in named), done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bundle_leaves_nothing(packer: Content, tmp_path: Path, signum: int) -> None:
    with packer.started("bundle", "create", str(tmp_path / "never")) as process:
        wait_for(lambda: list(tmp_path.glob(".never.*/pip-0.log")))
        process.send_signal(signum)
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert "no bundle was made" in process.stderr.read()
    assert not list(tmp_path.iterdir())


def test_an_interrupt_loses_no_program_that_just_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import wheels

    start = subprocess.Popen.__init__

    def start_and_interrupt(process: subprocess.Popen[str], *given: Any, **named: Any) -> None:
        start(process, *given, **named)
        signal.raise_signal(signal.SIGINT)

    programs = wheels.Programs(tmp_path)
    monkeypatch.setattr(subprocess.Popen, "__init__", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt), programs:
        programs.start(["sleep", "60"])
    assert [one.returncode for one in programs.running] == [-signal.SIGKILL]


@pytest.mark.thorough
def test_what_a_killed_bundle_left_is_removed_by_the_next(packer: Content, tmp_path: Path) -> None:
    file = tmp_path / "later.tar"
    with packer.started("bundle", "create", str(file)) as process:
        wait_for(lambda: list(tmp_path.glob(".later.tar.*/pip-0.log")))
        running = psutil.Process(process.pid).children(recursive=True)
        for one in running:
            one.kill()
        process.kill()
        process.wait()
        psutil.wait_procs(running, timeout=60)
    assert [path.name.startswith(".later.tar.") for path in tmp_path.iterdir()] == [True]
    with packer.started("bundle", "create", str(file)) as process:
        # One that is at work is left alone.
        wait_for(lambda: list(tmp_path.glob(".later.tar.*/pip-0.log")))
        assert packer.run("bundle", "create", str(file)).returncode == 0
        assert process.wait(timeout=60) == 0
    # By now the killed run's programs have ended, too.
    assert packer.run("bundle", "create", str(file)).returncode == 0
    assert list(tmp_path.iterdir()) == [file]


def test_packages_for_any_patch_release_are_packed() -> None:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import wheels

    lock = "".join(
        f"{name}==1 ; {marker} \\\n    --hash=sha256:aa\n"
        for name, marker in {
            "old": "python_full_version < '3.12.4'",
            "new": "python_full_version >= '3.12.4'",
            "no": "python_version < '3.12'",
            "arm": "platform_machine == 'aarch64'",
            "elsewhere": "sys_platform == 'darwin'",
        }.items()
    )
    found = wheels.pins(lock, wheels.Target("linux/amd64", "3.12", "2.28"))
    assert [pin.line for pin in found] == ["old==1 --hash=sha256:aa", "new==1 --hash=sha256:aa"]


# ---- Unpacking


def unpacked(directory: Path, file: Path, *options: str, **variables: Any) -> Played:
    given = {"bundle_file": str(file), "bundle_directory": str(directory / "bundles"), **variables}
    return play(directory, "bundle", given, *options)


def rest(directory: Path) -> list[str]:
    """What stands beside the bundles."""
    return sorted(path.name for path in (directory / "bundles").glob(".*") if path.name != ".lock")


def test_a_bundle_is_unpacked_once(packer: Content, packed: Path, tmp_path: Path) -> None:
    planned = unpacked(tmp_path, packed, "--check")
    assert (planned.code, planned.stats["changed"]) == (0, 1)
    assert not (tmp_path / "bundles").exists()
    first = unpacked(tmp_path, packed)
    directory = tmp_path / "bundles" / packer.json("bundle", "show", str(packed))["digest"]
    (told,) = (task for name, task in first.tasks.items() if name.endswith("Unpack the bundle"))
    assert told["wheels"] == str(directory / "wheels")
    assert told["urls"] == {"minikube": (directory / "programs" / "minikube").as_uri()}
    assert os.access(directory / "programs" / "minikube", os.X_OK)
    written = directory.stat().st_mtime_ns
    second = unpacked(tmp_path, packed)
    assert (second.code, second.stats["changed"]) == (0, 0)
    assert directory.stat().st_mtime_ns == written


def test_a_host_that_has_not_the_bundle_is_sent_it_once(packed: Path, tmp_path: Path) -> None:
    planned = unpacked(tmp_path, packed, "--check", "--diff", bundle_on_host=False)
    assert (planned.code, planned.stats["changed"]) == (0, 1)
    assert not (tmp_path / "bundles").exists()
    first = unpacked(tmp_path, packed, bundle_on_host=False)
    assert (first.code, first.tasks["gaiaflow.setup.bundle : Copy the bundle"]["changed"]) == (0, True)
    told = first.tasks["gaiaflow.setup.bundle : Unpack the bundle"]
    assert os.access(Path(told["directory"], "programs", "minikube"), os.X_OK)
    assert rest(tmp_path) == []
    for options in ((), ("--check", "--diff")):
        second = unpacked(tmp_path, packed, *options, bundle_on_host=False)
        assert (second.code, second.stats["changed"]) == (0, 0)
        assert "gaiaflow.setup.bundle : Copy the bundle" not in second.tasks
        assert (
            second.tasks["gaiaflow.setup.bundle : Check whether the bundle is on the host and fits it"]["urls"]
            == told["urls"]
        )


def test_what_an_interrupted_run_carried_is_used_or_removed(packed: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write(bundles / ".0123456789abcdef.carried", "another bundle's")
    write(bundles / ".0123456789abcdef.partial" / "wheels" / "one.whl", "half of it")
    write(bundles / ".carrying" / "ansible-tmp-1" / ".source.tar", "half of it")
    look = unpacked(tmp_path, packed, "--check", bundle_on_host=False).tasks
    carried = Path(look["gaiaflow.setup.bundle : Check whether the bundle is on the host and fits it"]["carried"])
    shutil.copy(packed, carried)
    carried.chmod(0o600)
    played = unpacked(tmp_path, packed, bundle_on_host=False)
    assert (played.code, played.tasks["gaiaflow.setup.bundle : Copy the bundle"]["changed"]) == (0, False)
    assert rest(tmp_path) == []


@pytest.mark.thorough
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("on_host", [True, False])
def test_an_interrupted_run_is_completed_by_the_next(
    packed: Path, tmp_path: Path, signum: signal.Signals, on_host: bool
) -> None:
    bundles = tmp_path / "bundles"
    variables = {"bundle_file": str(packed), "bundle_directory": str(bundles), "bundle_on_host": on_host}
    begun = (".*.partial",) if on_host else (".carrying/*", ".*.carried")
    interrupt(tmp_path, "bundle", variables, lambda: any(list(bundles.glob(one)) for one in begun), signum)
    played = unpacked(tmp_path, packed, bundle_on_host=on_host)
    assert played.code == 0
    assert os.access(next(bundles.glob("*/programs/minikube")), os.X_OK)
    assert rest(tmp_path) == []


def test_a_bundle_that_is_damaged_on_its_way_is_not_kept(packed: Path, tmp_path: Path) -> None:
    played = unpacked(tmp_path, damaged(packed, tmp_path / "bad.tar", "changed"), bundle_on_host=False)
    assert played.code == 2 and "is damaged" in played.failure["msg"]
    assert rest(tmp_path) == []


def damaged(packed: Path, path: Path, how: str) -> Path:
    content = bytearray(packed.read_bytes())
    if how == "changed":
        content[len(content) // 2] ^= 1
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "no end":
        with tarfile.open(packed) as tar:
            last = tar.getmembers()[-1]
        del content[last.offset :]
    else:
        content[:] = b"no bundle at all"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("changed", r"wheels/uv-\S+ is damaged: its sha256 is"),
        ("cut", "cut short or damaged"),
        ("no end", "cut short: 1 files are missing"),
        ("strange", "is not a bundle"),
    ],
)
def test_a_damaged_bundle_is_refused_by_name(packed: Path, tmp_path: Path, how: str, said: str) -> None:
    file = damaged(packed, tmp_path / "bad.tar", how)
    done = unpacked(tmp_path, file)
    assert done.code == 2
    assert str(file) in done.failure["msg"]
    assert re.search(said, done.failure["msg"])
    assert "Nothing was installed" in done.failure["hint"]
    assert not [path for path in tmp_path.glob("bundles/*") if path.name != ".lock"]


@pytest.mark.parametrize(("key", "value"), [("platform", "linux/riscv64"), ("python", "3.9"), ("format", 99)])
def test_a_bundle_for_other_machines_is_refused(packed: Path, tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "other.tar"
    with tarfile.open(packed) as old, tarfile.open(file, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content
            if member.name == "manifest.json":
                text = json.dumps(json.load(content) | {key: value}).encode()
                member.size = len(text)
                (tmp_path / "manifest").write_bytes(text)
                content = (tmp_path / "manifest").open("rb")
            new.addfile(member, content)
    for on_host in (True, False):
        done = unpacked(tmp_path, file, bundle_on_host=on_host)
        assert done.code == 2
        assert str(value) in done.failure["msg"]
        assert not (tmp_path / "bundles").exists()


def test_a_strange_member_is_refused(packed: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(packed, tmp_path / "strange.tar"))
    with tarfile.open(file, "a") as tar:
        tar.add(__file__, "../outside")
    done = unpacked(tmp_path, file)
    assert "'../outside', which its manifest doesn't name" in done.failure["msg"]
    assert not (tmp_path / "outside").exists()


# ---- Installing


def test_environments_are_made_from_the_wheels_alone(
    packer: Content, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.gaiaflow.setup.plugins.module_utils import environments
    from ansible_collections.gaiaflow.setup.plugins.module_utils.pyproject import Declared

    for name in ("UV_CACHE_DIR", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", UNREACHABLE)
    # By tar itself: Debian 12's Python 3.11.2 knows no filters yet, and later ones ask for one.
    (tmp_path / "bundle").mkdir()
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path / "bundle"], check=True)
    lock = packer.root / "roles" / "mlops" / "files" / "locks" / "airflow.txt"
    root, uv = tmp_path / "home" / "environments", str(Path(sys.executable).with_name("uv"))
    needs = Declared(requirements=["markupsafe>=2"])
    wanted = environments.describe(root, lock, "", needs)
    root.parent.mkdir()
    environments.ensure(root, [wanted], uv, str(tmp_path / "cache"), str(tmp_path / "bundle" / "wheels"))
    assert wanted.complete
    assert wanted == environments.describe(root, lock, "", needs)
    subprocess.run([wanted.directory / "bin" / "python", "-c", "import markupsafe"], check=True)
    other = environments.describe(root, write(tmp_path / "other.txt", locked("pyyaml")), "", Declared())
    with pytest.raises(environments.EnvironmentFailedError, match="pyyaml"):
        environments.ensure(root, [other], uv, str(tmp_path / "cache"), str(tmp_path / "bundle" / "wheels"))


@pytest.fixture
def bare(packer: Content, tmp_path: Path) -> Path:
    """A checkout that was never used, with a command line that tells what it was given."""
    root = tmp_path / "a check out"
    shutil.copytree(packer.root / "requirements", root / "requirements")
    copy_launcher(root)
    write(root / "gaiaflow_py" / "__init__.py", "")
    write(root / "gaiaflow_py" / "__main__.py", "import sys, click; print(click.__name__, sys.argv[1:])\n")
    return root


def launch(bare: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    clean |= {"PIP_INDEX_URL": UNREACHABLE, "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    command = [str(bare / "gaiaflow-setup"), *arguments]
    return subprocess.run(
        command, env=clean | environment, cwd=bare.parent, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("how", ["option", "option with =", "variable"])
def test_the_launcher_installs_from_a_bundle(bare: Path, packed: Path, how: str) -> None:
    shutil.copy(packed, bare.parent / "a bundle.tar")
    given = {"option": ["--bundle", "a bundle.tar"], "option with =": ["--bundle=a bundle.tar"]}.get(how, [])
    done = launch(bare, *given, **({} if given else {"GAIAFLOW_BUNDLE": "a bundle.tar"}))
    assert (done.returncode, done.stdout) == (0, f"click {given}\n"), done.stderr


def test_the_launcher_refuses_what_is_no_bundle(bare: Path, packed: Path) -> None:
    for file in ("/etc/passwd", "/nowhere"):
        done = launch(bare, "--bundle", file)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{file} is not a bundle of gaiaflow-setup" in done.stderr
    cut = damaged(packed, bare.parent / "cut.tar", "cut")
    done = launch(bare, "--bundle", str(cut))
    assert done.returncode == 1
    assert f"Unpacking {cut} failed" in done.stderr
    assert launch(bare, "--bundle", str(packed)).returncode == 0


def test_the_bundle_is_handed_over_with_its_whole_path(packer: Content, packed: Path) -> None:
    told = "ansible.builtin.copy:\n  content: '{{ bundle_file }} {{ conda_enabled }}'\n  dest: '{{ home }}/told'"
    packer.playbook("workstation", f"- {told.replace(chr(10), chr(10) + '  ')}")
    shutil.copy(packed, packer.user / "mine.tar")
    home = ["-e", f"home={packer.user}"]
    done = packer.run("workstation", "--bundle", "mine.tar", "--conda", *home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (packer.user / "told").read_text() == f"{packer.user / 'mine.tar'} True"
    done = packer.run("workstation", "--bundle", "none.tar", *home)
    assert done.returncode == 2
    assert "none.tar" in done.stderr


def test_programs_come_from_the_bundle(packed: Path, tmp_path: Path) -> None:
    """The real versions.yml: what the bundle has replaces the address, and what it hasn't stays."""
    variables = yaml.safe_load((CHECKOUT / "inventory/group_vars/all/versions.yml").read_text())
    given = {"bundle_file": str(packed), "bundle_directory": str(tmp_path / "bundles")}
    roles = [{"role": "gaiaflow.setup.bundle", "vars": given}]
    ask = {"ansible.builtin.debug": {"msg": "{{ minikube_url }} {{ kubectl_url }}"}}
    content = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "roles": roles, "post_tasks": [ask]}]
    write(tmp_path / "playbook.yml", json.dumps(content))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    options = ["-c", "local", "-e", f"ansible_python_interpreter={interpreter()}"]
    environment = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    done = subprocess.run(
        [program, *options, "-i", "localhost,", str(tmp_path / "playbook.yml")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert re.search(rf"file://{tmp_path}/bundles/\w+/programs/minikube https://\S+/kubectl", done.stdout), done.stdout


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_is_named_and_nothing_is_left(packer: Content, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", tmp_path], check=True)
    try:
        done = packer.run("bundle", "create", str(tmp_path / "big.tar"))
        assert done.returncode == 1
        assert f"The disk of {tmp_path} is full" in done.stderr
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)
