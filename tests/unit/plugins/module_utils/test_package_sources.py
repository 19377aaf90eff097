"""Where packages come from: each setting of pip's, in each of its places, and what uv is told of it."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[4]
PROGRAM = ROOT / "plugins" / "module_utils" / "package_sources.py"
BOTH = {
    "UV_INDEX": "https://mine.example/simple https://other.example/simple",
    "UV_INDEX_STRATEGY": "unsafe-best-match",
}
MINE, OTHER = "https://mine.example/simple", "https://other.example/simple"

# Where pip's configuration may be, by the directory of the test.
PLACES = {
    "user": "home/.config/pip/pip.conf",
    "legacy": "home/.pip/pip.conf",
    "xdg": "xdg config/pip/pip.conf",
    "shared": "xdg/pip/pip.conf",
    "system": "etc/pip.conf",
    "venv": "venv/pip.conf",
    "own": "own.conf",
}


@pytest.fixture(scope="module")
def sources() -> ModuleType:
    import ansible_collections.gaiaflow.setup.plugins.module_utils.package_sources as module

    return module


class Machine:
    """A user's home and environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"HOME": str(root / "home"), "XDG_CONFIG_DIRS": str(root / "xdg"), "UV_SYSTEM_CERTS": "true"}

    def write(self, place: str, text: str) -> None:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        variables = {"xdg config": "XDG_CONFIG_HOME", "venv": "VIRTUAL_ENV"}
        top = place.split("/")[0]
        if top in variables:
            self.environ[variables[top]] = str(self.root / top)
        if place == PLACES["own"]:
            self.environ["PIP_CONFIG_FILE"] = str(path)


@pytest.fixture
def machine(sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(sources, "PIP_OF_SYSTEM", tmp_path / "etc/pip.conf")
    monkeypatch.setattr(sources, "UV_OF_SYSTEM", tmp_path / "etc/uv.toml")
    return Machine(tmp_path)


SETTINGS = [
    ("index-url", MINE, {"UV_DEFAULT_INDEX": MINE}),
    ("index_url", MINE, {"UV_DEFAULT_INDEX": MINE}),
    ("extra-index-url", MINE, {"UV_INDEX": MINE, "UV_INDEX_STRATEGY": "unsafe-best-match"}),
    ("extra-index-url", f"\n  {MINE}\n  {OTHER}", BOTH),
    ("find-links", f"\n  /srv/wheels\n  {MINE}", {"UV_FIND_LINKS": f"/srv/wheels,{MINE}"}),
    ("trusted-host", "a.example\n  b.example:8443", {"UV_INSECURE_HOST": "a.example b.example:8443"}),
    ("cert", "/etc/company.pem", {"SSL_CERT_FILE": "/etc/company.pem"}),
    ("client-cert", "/etc/me.pem", {"SSL_CLIENT_CERT": "/etc/me.pem"}),
    ("timeout", "60", {"UV_HTTP_TIMEOUT": "60"}),
    ("default-timeout", "61", {"UV_HTTP_TIMEOUT": "61"}),
    ("retries", "9", {"UV_HTTP_RETRIES": "9"}),
    ("proxy", "http://proxy.example:3128", {"HTTP_PROXY": "http://proxy.example:3128", "HTTPS_PROXY": "http://proxy.example:3128"}),
    ("keyring-provider", "import", {"UV_KEYRING_PROVIDER": "subprocess"}),
    ("keyring-provider", "subprocess", {"UV_KEYRING_PROVIDER": "subprocess"}),
    ("keyring-provider", "disabled", {}),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value", "told"), SETTINGS)
@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize("place", PLACES)
def test_a_setting_of_a_configuration_is_handed_over(
    sources: ModuleType, machine: Machine, place: str, section: str, setting: str, value: str, told: dict[str, str]
) -> None:
    machine.write(PLACES[place], f"[{section}]\n{setting} = {value}\n")
    assert sources.uv_settings(machine.environ) == told


@pytest.mark.parametrize(("setting", "value", "told"), SETTINGS)
def test_a_variable_of_pips_is_handed_over(
    sources: ModuleType, machine: Machine, setting: str, value: str, told: dict[str, str]
) -> None:
    machine.environ[f"PIP_{setting.upper().replace('-', '_')}"] = value
    assert sources.uv_settings(machine.environ) == told


@pytest.mark.parametrize(
    ("files", "environ", "index"),
    [
        pytest.param({"shared": MINE, "user": OTHER}, {}, OTHER, id="the user's counts more than the shared one"),
        pytest.param({"legacy": MINE, "user": OTHER}, {}, OTHER, id="the new place counts more than the legacy one"),
        pytest.param({"user": MINE, "venv": OTHER}, {}, OTHER, id="a virtual environment's counts more"),
        pytest.param({"user": MINE, "own": OTHER}, {}, OTHER, id="PIP_CONFIG_FILE counts more"),
        pytest.param(
            {"user": MINE, "shared": OTHER}, {"PIP_CONFIG_FILE": "/dev/null"}, "", id="/dev/null: none counts"
        ),
        pytest.param({"user": MINE}, {"PIP_INDEX_URL": OTHER}, OTHER, id="a variable counts more"),
        pytest.param({"user": MINE}, {"PIP_CONFIG_FILE": "/no/such/file"}, MINE, id="a named file that isn't there"),
        pytest.param({"user": MINE}, {"UV_DEFAULT_INDEX": OTHER}, None, id="uv was told by a variable"),
        pytest.param({"user": MINE}, {"UV_INDEX_URL": OTHER}, None, id="uv was told by its old variable"),
    ],
)
def test_the_place_that_counts_most_counts(
    sources: ModuleType, machine: Machine, files: dict[str, str], environ: dict[str, str], index: str | None
) -> None:
    for place, url in files.items():
        machine.write(PLACES[place], f"[global]\nindex-url = {url}\n")
    machine.environ |= environ
    assert sources.uv_settings(machine.environ).get("UV_DEFAULT_INDEX") == (index or None)
    assert sources.default_index(machine.environ) == (OTHER if index is None else index)


def test_the_section_install_counts_more_than_global_in_any_place(sources: ModuleType, machine: Machine) -> None:
    machine.write(PLACES["shared"], f"[install]\nindex-url = {MINE}\n")
    machine.write(PLACES["user"], f"[global]\nindex-url = {OTHER}\n")
    assert sources.uv_settings(machine.environ)["UV_DEFAULT_INDEX"] == MINE


@pytest.mark.parametrize(
    ("place", "text", "kept"),
    [
        ("home/.config/uv/uv.toml", f'index-url = "{OTHER}"', {"UV_INDEX", "UV_FIND_LINKS"}),
        ("home/.config/uv/uv.toml", f'[pip]\nindex-url = "{OTHER}"', {"UV_INDEX", "UV_FIND_LINKS"}),
        ("home/.config/uv/uv.toml", f'[[index]]\nurl = "{OTHER}"\ndefault = true', {"UV_INDEX", "UV_FIND_LINKS"}),
        ("home/.config/uv/uv.toml", f'[[index]]\nurl = "{OTHER}"', {"UV_DEFAULT_INDEX", "UV_FIND_LINKS"}),
        ("home/.config/uv/uv.toml", f'extra-index-url = ["{OTHER}"]', {"UV_DEFAULT_INDEX", "UV_FIND_LINKS"}),
        ("xdg/uv/uv.toml", 'find-links = ["/srv"]', {"UV_DEFAULT_INDEX", "UV_INDEX"}),
        ("home/.config/uv/uv.toml", "nonsense", {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"}),
    ],
)
def test_what_uvs_own_configuration_says_counts_more(
    sources: ModuleType, machine: Machine, place: str, text: str, kept: set[str]
) -> None:
    pip = f"[global]\nindex-url = {MINE}\nextra-index-url = {MINE}\nfind-links = /srv/wheels\n"
    machine.write(PLACES["user"], pip)
    machine.write(place, text)
    assert set(sources.uv_settings(machine.environ)) - {"UV_INDEX_STRATEGY"} == kept


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"REQUESTS_CA_BUNDLE": str(PROGRAM)}, str(PROGRAM)),
        ({"CURL_CA_BUNDLE": str(PROGRAM)}, str(PROGRAM)),
        ({"REQUESTS_CA_BUNDLE": "/no/such/file"}, None),
        ({"PIP_CERT": "/mine.pem", "REQUESTS_CA_BUNDLE": str(PROGRAM)}, "/mine.pem"),
        ({"SSL_CERT_FILE": "/theirs.pem", "PIP_CERT": "/mine.pem"}, None),
    ],
)
def test_certificates_that_pip_trusts_are_handed_over(
    sources: ModuleType, machine: Machine, environ: dict[str, str], told: str | None
) -> None:
    assert sources.uv_settings(machine.environ | environ).get("SSL_CERT_FILE") == told


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_no_index_is_an_option_of_uvs(sources: ModuleType, machine: Machine, value: str) -> None:
    machine.write(PLACES["user"], f"[global]\nno-index = {value}\n")
    assert sources.uv_arguments(machine.environ) == ["--no-index"]


@pytest.mark.parametrize("text", ["no section\n", "[global]\nindex-url\n\n[global]\n", "[global\n"])
def test_a_broken_configuration_is_named(sources: ModuleType, machine: Machine, text: str) -> None:
    machine.write(PLACES["user"], text)
    with pytest.raises(sources.Unreadable, match=r"pip\.conf can't be read"):
        sources.uv_settings(machine.environ)


def test_the_shell_gets_values_as_they_are(machine: Machine) -> None:
    odd = "https://me:pa'ss$(touch x)\\ word`@mine.example/simple"
    machine.write(PLACES["user"], f"[global]\nindex-url = {odd}\n")
    done = subprocess.run(
        ["sh", "-c", f'eval "$({shlex.quote(sys.executable)} -I "$0")"; printf %s "$UV_DEFAULT_INDEX"', str(PROGRAM)],
        env={**machine.environ, "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == odd


# ---- A real index


@functools.cache  # with the time of its making in it
def wheel() -> bytes:
    """A package that nobody else has."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("gaiaflow_test_only.py", "")
        archive.writestr(
            "gaiaflow_test_only-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: gaiaflow-test-only\nVersion: 1\n"
        )
        archive.writestr(
            "gaiaflow_test_only-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("gaiaflow_test_only-1.dist-info/RECORD", "")
    return content.getvalue()  # fmt: skip


class Index(BaseHTTPRequestHandler):
    """A package index of that one package; it may want a password."""

    password = ""

    def do_GET(self) -> None:
        name, wanted = (
            "gaiaflow_test_only-1-py3-none-any.whl",
            base64.b64encode(f"me:{self.password}".encode()).decode(),
        )
        if self.password and self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_error(401)
        elif self.path.endswith(".whl"):
            self.answer(wheel(), "application/octet-stream")
        elif "gaiaflow-test-only" in self.path:
            digest = hashlib.sha256(wheel()).hexdigest()
            self.answer(f'<a href="/files/{name}#sha256={digest}">{name}</a>'.encode(), "text/html")
        else:
            self.send_error(404)

    def answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Index,), {})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("setting", ["index-url", "extra-index-url", "find-links", "netrc", "password"])
def test_uv_really_installs_from_there(
    machine: Machine, index: ThreadingHTTPServer, setting: str, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{index.server_port}/simple/"
    if setting in ("netrc", "password"):
        index.RequestHandlerClass.password = "secret"  # type: ignore[attr-defined]
        (machine.root / "home").mkdir()
        (machine.root / "home/.netrc").write_text("machine 127.0.0.1 login me password secret\n" * (setting == "netrc"))
        url = url.replace("//", "//me:secret@") if setting == "password" else url
        setting = "index-url"
    if setting == "find-links":
        (tmp_path / "wheels").mkdir()
        (tmp_path / "wheels/gaiaflow_test_only-1-py3-none-any.whl").write_bytes(wheel())
        url = str(tmp_path / "wheels")
    # An index that isn't there would be asked for nothing that has been found.
    nowhere = "" if setting == "index-url" else "no-index = true\n" if setting == "find-links" else ""
    machine.write(PLACES["user"], f"[global]\n{setting} = {url}\n{nowhere}")
    program = shutil.which("uv", path=str(ROOT / ".venv/bin"))
    script = f'settings=$({shlex.quote(sys.executable)} -I "$0") && eval "$settings" && exec "$@" $uv_arguments'
    target = tmp_path / "target"
    install = [str(program), "pip", "install", "--quiet", "--no-cache", "--target", str(target), "gaiaflow-test-only"]
    done = subprocess.run(
        ["sh", "-c", script, str(PROGRAM), *install],
        env={**machine.environ, "PATH": os.environ["PATH"]}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (target / "gaiaflow_test_only.py").exists()
