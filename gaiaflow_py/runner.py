"""Runs a playbook through ansible-runner, in a private directory that is removed afterwards."""

from __future__ import annotations

import fcntl
import json
import locale
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from gaiaflow_py import environment, extravars, progress, runlog
from gaiaflow_py.errors import InputError, InstallationError
from gaiaflow_py.events import KILLED, Collector, Event, RunResult
from gaiaflow_py.lock import held, run_lock
from gaiaflow_py.paths import content_root, home, remove_tree
from gaiaflow_py.request import Request

if TYPE_CHECKING:
    from gaiaflow_py.processes import AnsibleProcesses

POLL_S = 0.2
"""How often the display is refreshed and a signal looked for."""

PATIENCE_S = 20.0
"""How long an interrupted run may take to end by itself."""

GENTLE_S = 5.0
"""How long it may take until it is asked once more, less gently."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PREFIX = "gaiaflow-run-"
STALE_S = 60.0
"""How old a private directory without an owner must be to be removed."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(request: Request) -> RunResult:
    """Run a playbook to its end.

    Args:
        request: What to run, and how.

    Returns:
        How it ended, whatever that is.

    Raises:
        InputError: The inventory or a file of variables doesn't exist.
        BusyError: Another run works on the same instance.
        InstallationError: Ansible can't be run here.
    """
    _check(request)
    with held(request.held, request.command, _say, remove=request.leaves_nothing), runlog.opened(request) as log:
        result = _Run(request, log).execute()
    result.log = Path(log.name)
    if request.strict:
        result.refuse_deferred()
    if request.leaves_nothing:
        _leave_nothing(result)
    return result


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _check(request: Request) -> None:
    inventory = request.options.inventory
    if inventory is not None and "," not in inventory and not Path(inventory).exists():
        raise InputError(f"The inventory '{inventory}' doesn't exist.")
    for path in request.options.var_files:
        if not path.is_file():
            raise InputError(f"The file of variables '{path}' doesn't exist.")
    if not _playbook(request).is_file():
        raise InstallationError(f"The playbook '{_playbook(request)}' is missing: this installation is incomplete.")


def _playbook(request: Request) -> Path:
    return content_root() / "playbooks" / f"{request.playbook}.yml"


def _leave_nothing(result: RunResult) -> None:
    """Remove the log of a successful uninstall, and the user's directories if they are empty now."""
    if result.status == "ok" and result.log:
        result.log.unlink()
        result.log = None
    for directory in (home() / "instances", home() / "logs", home()):
        try:
            directory.rmdir()
        except OSError:
            continue


class _Run:
    """One run of ansible-playbook.

    Args:
        request: What to run, and how.
        log: Where its output goes.
    """

    def __init__(self, request: Request, log: TextIO) -> None:
        self._request = request
        self._log = log
        self._collector = Collector()
        self._progress = progress.Silent()
        self._signum = 0
        self._deadline = 0.0
        self._asked_again = False
        self._processes: AnsibleProcesses | None = None
        self._private = Path()
        self._output = sys.stderr if request.options.json else sys.stdout

    def execute(self) -> RunResult:
        """Run it to the end."""
        with ExitStack() as stack:
            self._private = stack.enter_context(_private_directory())
            options = self._request.options
            wanted = options.progress and not options.verbosity
            steps, keep = self._private / "progress", not self._request.is_question
            self._progress = progress.for_run(
                self._collector.phases, steps, wanted=wanted, json=options.json, keep=keep
            )
            stack.callback(self._progress.stop)
            stack.enter_context(_signals(self._on_signal))
            returncode = self._call_runner()
            self._end_processes()
            # Before the display is stopped: it shows how the last phase has ended.
            return self._collector.interrupt(self._signum) if self._signum else self._collector.finish(returncode)

    def _call_runner(self) -> int:
        from ansible_runner.exceptions import AnsibleRunnerException
        from ansible_runner.runner import Runner
        from ansible_runner.runner_config import RunnerConfig

        given = dict(os.environ)
        settings = {"pexpect_timeout": POLL_S, "suppress_output_file": True, "suppress_ansible_output": True}
        _write(self._private / "env" / "settings", json.dumps(settings))
        _write(self._private / "env" / "extravars", extravars.document(self._request))
        if self._request.options.become_password is not None:
            _write(self._private / "env" / "become", self._request.options.become_password)
        # For the services, that see what the user's shell has: what isn't UTF-8 is there as os.fsencode takes it back.
        _write(self._private / "user_environment", json.dumps(given))
        _write(self._private / "args", shlex.join(self._command()))
        variables = self._environment(given)
        try:
            config = RunnerConfig(
                private_data_dir=str(self._private),
                host_cwd=str(content_root()),
                project_dir=str(content_root()),
                ident="run",
                envvars=variables,
            )
            config.prepare()
            config.env = variables | {name: config.env[name] for name in environment.OF_RUNNER}
            config.cwd = str(content_root())
            runner = Runner(config, event_handler=self._on_event, cancel_callback=self._on_poll)
            runner.run()
        except (AnsibleRunnerException, OSError) as error:
            raise InstallationError(f"ansible-runner failed: {error}", f"Log: {self._log.name}") from error
        return KILLED if runner.rc is None else int(runner.rc)

    def _command(self) -> list[str]:
        options = self._request.options
        locks = [str(run_lock(instance)) for instance in self._request.held]
        isolated = [sys.executable, "-I", str(Path(__file__).with_name("isolated.py"))]
        child = [*isolated, "gaiaflow_py.child", str(self._private), str(os.getpid()), *locks, "--"]
        inventories = content_root() / "inventory"
        arguments = ["-i", str(inventories / "local.yml")]
        if options.inventory is not None:
            # The first one brings the defaults, which the user's own may change.
            arguments = ["-i", str(inventories / "defaults.yml"), "-i", options.inventory]
        if options.become_password is not None:
            arguments += ["--become-password-file", str(self._private / "env" / "become")]
        for path in (*options.var_files, self._private / "env" / "extravars"):
            arguments += ["-e", f"@{path}"]
        if options.limit is not None:
            arguments += ["--limit", options.limit]
        arguments += ["--check"] * options.check + ["--diff"] * options.diff
        arguments += [f"-{'v' * options.verbosity}"] if options.verbosity else []
        return [*child, *arguments, str(_playbook(self._request))]

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        ansible = self._private / "ansible"
        variables = environment.for_ansible(given, ansible) | {
            "ANSIBLE_CONFIG": str(content_root() / "ansible.cfg"),
            "GAIAFLOW_HOME": str(home()),
            "GAIAFLOW_PROGRESS_FILE": str(self._private / "progress"),
            "GAIAFLOW_USER_ENVIRONMENT": str(self._private / "user_environment"),
        }
        if self._request.is_local:
            variables["ANSIBLE_REMOTE_TMP"] = str(ansible / "remote_tmp")
            variables["ANSIBLE_ASYNC_DIR"] = str(ansible / "async")
        return variables | _usable_locale()

    def _on_event(self, event: Event) -> bool:
        self._collector.handle(event)
        text = event.get("stdout")
        if text:
            self._log.write(COLOUR.sub("", text) + "\n")
            if self._request.options.verbosity:
                print(text, file=self._output, flush=True)
        self._progress.show()
        return False  # ansible-runner needs to keep nothing

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self._deadline = 0.0 if self._signum else time.monotonic() + PATIENCE_S
        self._signum = self._signum or signum

    def _on_poll(self) -> bool:
        """Show how far the run is, a few times a second; ansible-runner kills it when this returns True."""
        if not self._signum:
            if not self._request.options.json:
                import rich.table  # noqa: F401 (while Ansible is starting: the report will want it)
            self._progress.show()
            return False
        if self._processes is None:
            self._processes = self._ansible_processes()
            if self._processes is None:
                return True
            self._collector.phases.interrupt()
            self._progress.stop()
            self._progress = progress.Silent()
            _say("Ending the run (once more to kill it)...")
            self._processes.interrupt()
        return self._is_out_of_patience(self._processes)

    def _ansible_processes(self) -> AnsibleProcesses | None:
        from gaiaflow_py.processes import AnsibleProcesses

        try:
            return AnsibleProcesses(int((self._private / "pid").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def _end_processes(self) -> None:
        """Wait for the tasks of an interrupted run: they may outlive ansible-playbook."""
        if self._processes is not None:
            while not self._processes.wait(POLL_S):
                if self._is_out_of_patience(self._processes):
                    return

    def _is_out_of_patience(self, processes: AnsibleProcesses) -> bool:
        """Ask once more after a while, and kill at the end."""
        left = self._deadline - time.monotonic()
        if left < 0:
            processes.send(signal.SIGKILL)
        elif left < PATIENCE_S - GENTLE_S and not self._asked_again:
            self._asked_again = True
            processes.send(signal.SIGTERM)
        return left < 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _usable_locale() -> dict[str, str]:
    """Ansible refuses to start in a locale that isn't there, as after `ssh` from elsewhere, or isn't UTF-8."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        encoding = locale.nl_langinfo(locale.CODESET).replace("-", "").lower()
    except locale.Error:
        return {"LC_ALL": "C.UTF-8"}
    finally:  # a notebook goes on in its own
        locale.setlocale(locale.LC_ALL, before)
    return {} if encoding == "utf8" else {"LC_ALL": "C.UTF-8"}


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals that end a run; only the main thread may. Without SIGCHLD, Ansible's end isn't noticed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


@contextmanager
def _private_directory() -> Iterator[Path]:
    _sweep()
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise InstallationError(f"Can't make a temporary directory: {error}", "TMPDIR says where they go.") from error
    with (path / "owner").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            remove_tree(path)


def _sweep() -> None:
    """Remove what a wrapper left that was killed before it had started Ansible."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            state = path.lstat()
            if state.st_uid != os.getuid() or time.time() - state.st_mtime < STALE_S:
                continue
            with (path / "owner").open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
