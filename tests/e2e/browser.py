"""The stack's web pages, as a user opens them in a browser."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator

from playwright.sync_api import Page, sync_playwright
from stack import Stack, wait_until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PAGE_MS = 60_000


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """A page of Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "Chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PAGE_MS)
        yield page
        browser.close()


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
    """Finds the model among the registered ones."""
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
    """Opens JupyterLab with its token, and sees the project."""
    page.goto(stack.url("jupyter", f"/lab?reset&token={stack.credentials['jupyter']['token']}"))
    page.wait_for_selector(".jp-DirListing-itemText >> text=notebooks")


def run_notebook(page: Page, stack: Stack, notebook: str) -> None:
    """Runs all cells of a notebook in JupyterLab, and has it saved; AssertionError when one of them fails."""
    path, token = stack.project / "notebooks" / notebook, stack.credentials["jupyter"]["token"]
    page.goto(stack.url("jupyter", f"/lab/tree/notebooks/{notebook}?reset&token={token}"))
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
    page.wait_for_selector("text=/ipykernel.* Idle/")
    page.click(".lm-MenuBar-itemLabel >> text=Run")
    page.click(".lm-Menu-itemLabel >> text='Run All Cells'")

    def all_ran() -> bool:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
        assert not errors, errors
        return all(cell["execution_count"] for cell in cells)

    wait_until(all_ran, PAGE_MS / 1000, f"{notebook} has run")
