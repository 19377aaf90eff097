"""The services' own programs: what is forwarded to whom, which S3 keys are refused, what is imported first."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from stack import CHECKOUT, wait_until

PROGRAMS = CHECKOUT / "roles" / "mlops" / "files" / "programs"


def load(name: str) -> ModuleType:
    """Import one of the programs."""
    spec = importlib.util.spec_from_file_location(name, PROGRAMS / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def service() -> Iterator[int]:
    """The port of a server on loopback that sends back what it gets, in capitals."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(answer, "127.0.0.1", port)).serve_forever()

    import threading

    port, loop = free_port(), asyncio.new_event_loop()
    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    yield port
    loop.call_soon_threadsafe(task.cancel)
    thread.join()


def ask(address: str, port: int, text: bytes) -> bytes:
    """Send a text, and return the answer; nothing where the connection is refused or closed."""
    try:
        with socket.create_connection((address, port), 5) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return b""


def test_forwarder_follows_the_file_and_asks_who_connects(service: int, tmp_path: Path) -> None:
    """Another address of loopback's stands for the gateway: 127.0.0.2, with clients from 127.0.0.0/8 or not."""
    file, health = tmp_path / "cluster.json", free_port()
    command = [sys.executable, "-I", str(PROGRAMS / "forward_to_services.py"), str(file), str(health), str(service)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: b"200 OK" in ask("127.0.0.1", health, b"GET / HTTP/1.1\r\n\r\n"), 10, "it answers")
            assert ask("127.0.0.2", service, b"a") == b""
            file.write_text(json.dumps({"forward": {"address": "127.0.0.2", "network": "127.0.0.0/8"}}))
            wait_until(lambda: ask("127.0.0.2", service, b"a") == b"A", 10, "it forwards")
            large = b"x" * 5_000_000
            assert ask("127.0.0.2", service, large) == large.upper()
            file.write_text(json.dumps({"forward": {"address": "127.0.0.3", "network": "192.168.49.0/24"}}))
            wait_until(lambda: ask("127.0.0.2", service, b"a") == b"", 10, "it has left the address of before")
            assert ask("127.0.0.3", service, b"a") == b""
            file.write_text("{broken")
            wait_until(
                lambda: b'"listening": []' in ask("127.0.0.1", health, b"GET / HTTP/1.1\r\n\r\n"),
                10,
                "it listens nowhere",
            )
        finally:
            process.terminate()
        assert process.wait(10) == 0


def test_forwarder_leads_containers_to_the_api_server(service: int, tmp_path: Path) -> None:
    program, file = load("forward_to_services"), tmp_path / "cluster.json"
    file.write_text(json.dumps({"api": {"name": "localhost", "host": "127.0.0.1", "port": service}}))
    (lead,) = program.read_leads(file, [5000], 9007)
    assert (lead.address, lead.port, lead.host, lead.onward) == ("127.0.0.1", 9007, "127.0.0.1", service)
    assert program.read_leads(file, [5000], 0) == []
    for broken in ('{"api": {}}', '{"api": {"name": "none.invalid", "host": "a", "port": 1}}', '{"api": null}', "[]"):
        file.write_text(broken)
        assert program.read_leads(file, [5000], 9007) == []


def test_only_containers_of_this_machine_are_led_to_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = load("forward_to_services")
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
    rows = ("eth0 00000A0A 00000000 1 0 0 0 00FFFFFF 0 0 0", "docker0 000011AC 00000000 1 0 0 0 0000FFFF 0 0 0")
    (tmp_path / "route").write_text("\n".join((head, *rows)) + "\n")
    monkeypatch.setattr(program, "ROUTES", tmp_path / "route")
    assert program.bridged_networks() == ["172.17.0.0/16"]
    lead = program.Lead("172.17.0.1", 9007, (), "192.168.49.2", 8443)
    assert [lead.takes(peer) for peer in ("172.17.0.9", "10.10.0.5", "127.0.0.1")] == [True, False, False]


NAMES = {
    b"/mlflow": "",
    b"/mlflow/": "",
    b"/mlflow/a/b": "",
    b"/mlflow/a/b/": "",
    b"/mlflow/a%5Cb": "a '\\'",
    b"/mlflow/a%255Cb": "",
    b"/mlflow/a//b": "'//'",
    b"/mlflow/a%2F%2Fb": "'//'",
    b"/mlflow//a": "a leading '/'",
    b"/mlflow/%2Fa": "a leading '/'",
    b"/mlflow/a/../b": "the part '..'",
    b"/mlflow/./a": "the part '.'",
    b"/mlflow/..a/.b": "",
    b"/mlflow/a?prefix=x//y": "",
    b"/?list-type=2": "",
    b"/": "",
}


@pytest.mark.parametrize("target", NAMES)
def test_keys_that_the_store_would_change_are_told(target: bytes) -> None:
    assert load("refuse_s3_names").find_problem(target) == NAMES[target]


@pytest.mark.parametrize(("env", "more"), [("prod_local", ["pods"]), ("dev", []), (None, [])])
def test_modules_that_only_pods_need_are_imported_for_them_alone(env: str | None, more: list[str]) -> None:
    service = {"preload": ["airflow"], "preload_for": {"prod_local": ["pods"]}}
    environment = {} if env is None else {"GAIAFLOW_ENV": env}
    python, _program, modules = load("run_service").preloading(service, "/env", environment)
    assert (python, modules.split(",")) == ("/env/bin/python", ["airflow", *more])
