"""The stack's web pages, as a user opens them in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from playwright.sync_api import Error, Page, sync_playwright
from stack import Stack, wait_until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PAGE_MS = 60_000
INSTALL_S = 600
PLAYWRIGHT = (sys.executable, "-m", "playwright")
APT_INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends", "--no-upgrade")


class NoBrowser(Exception):
    """No browser is there, and none can be installed; the message says why."""


def find_browser() -> str | None:
    """Return the path of a browser that is there: the system's, or one that Playwright has downloaded."""
    if playwright_problem():
        return None
    if found := next(filter(None, map(shutil.which, PROGRAMS)), None):
        return found
    with sync_playwright() as playwright:
        downloaded = playwright.chromium.executable_path
    return downloaded if os.access(downloaded, os.X_OK) else None


def playwright_problem() -> str:
    """Return why Playwright, which drives the browser, does not run on this machine; nothing if it does."""
    done = subprocess.run([*PLAYWRIGHT, "--version"], capture_output=True, text=True)
    # Before the colon is the path of its own Node.js.
    return "" if done.returncode == 0 else f"Playwright does not run: {complaint(done.stderr).rpartition('/node: ')[2]}"


def complaint(text: str) -> str:
    """Return the line of a program's output that says what is wrong; otherwise the first one."""
    lines = text.strip().splitlines() or ["it says nothing"]
    return next((line for line in lines if re.match(r"E: |.*\berror\b", line, re.IGNORECASE)), lines[0])


def install_browser() -> None:
    """Install a browser: root the distribution's and the library that Playwright needs, another user Playwright's."""
    commands: list[tuple[str, ...]] = [(*PLAYWRIGHT, "install", "chromium")]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands = [("apt-get", "update"), (*APT_INSTALL, "chromium", "libatomic1")]
    elif os.geteuid() == 0 and shutil.which("dnf"):
        commands = [("dnf", "install", "--assumeyes", "chromium", "libatomic")]
    elif problem := playwright_problem():
        raise NoBrowser(problem)
    for command in commands:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            raise NoBrowser(f"`{' '.join(command)}` took more than {INSTALL_S} s") from None
        if done.returncode:
            raise NoBrowser(f"`{' '.join(command)}` failed: {complaint(done.stderr or done.stdout)}")


def provide_browser() -> str:
    """Return the path of a browser; install one where there is none.

    Raises:
        NoBrowser: There is none, and none can be installed.
    """
    program = find_browser()
    if program is None:
        install_browser()
        program = find_browser()
    if program is None:
        raise NoBrowser(playwright_problem() or "it was installed and isn't on the PATH")
    return program


@pytest.fixture(scope="session")
def browser() -> Iterator[Future[str]]:
    """The path of a browser, in a moment: one is installed while other things are done."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(provide_browser)


@pytest.fixture
def page(browser: Future[str]) -> Iterator[Page]:
    """A page of a browser; what needs it is skipped where none can be had."""
    with contextlib.ExitStack() as stack:
        try:
            program = browser.result()
            playwright = stack.enter_context(sync_playwright())
            opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        except (NoBrowser, Error) as error:
            pytest.skip(f"no browser (Chromium or Chrome) on this machine: {complaint(str(error))}")
        stack.callback(opened.close)
        page = opened.new_page()
        page.set_default_timeout(PAGE_MS)
        yield page


def open_airflow(page: Page, stack: Stack, package: str) -> None:
    """Signs in, and opens the page of the example DAG."""
    page.goto(stack.url("airflow"))
    page.fill("input[name=username]", stack.credentials["airflow"]["user"])
    page.fill("input[name=password]", stack.credentials["airflow"]["password"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    page.goto(stack.url("airflow", f"/dags/{package}_example"))
    page.wait_for_selector(f"text={package}_example")


def open_mlflow(page: Page, stack: Stack, package: str) -> None:
    """Find the model among the registered ones."""
    page.goto(stack.url("mlflow", "/#/models"))
    page.wait_for_selector(f"text={package}")


def open_minio(page: Page, stack: Stack) -> None:
    """Signs in, and sees the buckets."""
    page.goto(stack.url("minio"))
    page.fill("input[name=username]", stack.credentials["minio"]["access_key"])
    page.fill("input[name=password]", stack.credentials["minio"]["secret_key"])
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Buckets")


def open_jupyter(page: Page, stack: Stack) -> None:
    """Open JupyterLab with its token, and see the project."""
    page.goto(stack.url("jupyter", f"/lab?reset&token={stack.credentials['jupyter']['token']}"))
    page.wait_for_selector(".jp-DirListing-itemText >> text=notebooks")


def run_notebook(page: Page, stack: Stack, notebook: str) -> None:
    """Run all cells of a notebook in JupyterLab, and have it saved; AssertionError when one of them fails."""
    path, token = stack.project / "notebooks" / notebook, stack.credentials["jupyter"]["token"]
    page.goto(stack.url("jupyter", f"/lab/tree/notebooks/{notebook}?reset&token={token}"))
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
    page.wait_for_selector("text=/ipykernel.* Idle/")
    page.click(".lm-MenuBar-itemLabel >> text=Run")
    page.click(".lm-Menu-itemLabel >> text='Run All Cells'")

    def all_ran() -> bool:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        try:
            content = json.loads(path.read_text())
        except ValueError:  # it is being written
            return False
        cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
        assert not errors, errors
        return all(cell["execution_count"] for cell in cells)

    wait_until(all_ran, PAGE_MS / 1000, f"{notebook} has run")
