"""Kubernetes for this project: takes the options of `gaiaflow-setup cluster`, such as --start, --stop and --restart."""

import sys
from pathlib import Path

try:
    from gaiaflow_py.manager import MinikubeManager
except ImportError:
    sys.exit(
        "minikube_manager.py needs gaiaflow-setup. Run it with the Python that has it: the one in the .venv of the "
        "gaiaflow-setup checkout (CHECKOUT/.venv/bin/python minikube_manager.py --start, with PYTHONPATH=CHECKOUT), "
        "or the one where it was installed with pip."
    )

if __name__ == "__main__":
    MinikubeManager.main(project=Path(__file__).resolve().parent)
