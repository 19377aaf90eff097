"""What all DAGs of this project share: the environment their tasks run in, and the image they run from."""

from __future__ import annotations

import os
import re
from pathlib import Path

PROJECT, PACKAGE = "{{ cookiecutter.package_name | replace('_', '-') }}", "{{ cookiecutter.package_name }}"


def find_image() -> str | None:
    """Find the image's name: from the package's own version where the code lies beside the DAGs.

    Where it doesn't, as in a folder of many projects' DAGs, whoever put the DAGs there wrote the whole name, with its
    registry, into `image.txt` beside this file. None where nothing tells.
    """
    here = Path(__file__).resolve().parent
    source, written = here.parents[1] / "src" / PACKAGE / "__init__.py", here / "image.txt"
    if source.is_file():
        text = source.read_text("utf-8")
        version = re.search(r"^__version__\b[^=\n]*=\s*[\"']([^\"'\n]+)[\"']", text, re.MULTILINE)
        return f"{PROJECT}/{PACKAGE}:{version[1].replace('+', '-')}" if version else None
    return written.read_text().strip() if written.is_file() else None


# dev: the tasks run in Airflow's own Python; dev_docker: in containers on this machine; prod_local: in pods on this
# machine; prod: in pods in a company's cluster.
ENV = os.environ.get("GAIAFLOW_ENV", "dev")
IMAGE = os.environ.get("GAIAFLOW_IMAGE") or find_image()
