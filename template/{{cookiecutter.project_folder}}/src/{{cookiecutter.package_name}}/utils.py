"""What several modules need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import ActiveRun

# The MLflow experiment and the registered model have the package's name.
PROJECT = "{{ cookiecutter.package_name }}"


def data_dir() -> Path:
    """Return the folder for data files: `data/` in GAIAFLOW_PROJECT_DIR, or else in the project this file is part of.

    Raises:
        FileNotFoundError: there is no such folder, as in an image; set GAIAFLOW_PROJECT_DIR.
    """
    project = os.environ.get("GAIAFLOW_PROJECT_DIR") or Path(__file__).parents[2]
    folder = Path(project) / "data"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; set GAIAFLOW_PROJECT_DIR to the folder that holds data/")
    return folder


def start_run(name: str) -> ActiveRun:
    """Start an MLflow run in this project's experiment, on the server that MLFLOW_TRACKING_URI names.

    Args:
        name: the run's name.

    Raises:
        RuntimeError: MLFLOW_TRACKING_URI isn't set.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise RuntimeError("MLFLOW_TRACKING_URI is not set; it must be MLflow's address, as http://127.0.0.1:5000")
    import mlflow

    mlflow.set_experiment(PROJECT)
    return mlflow.start_run(run_name=name)
