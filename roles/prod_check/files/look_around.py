"""Runs in a pod: tells whether MLflow and S3 are in reach. Names variables, and no value of one."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

SECONDS = 5
MESSAGE = Path("/dev/termination-log")

# The first of them that is set counts, as for the clients.
MLFLOW = ("GAIAFLOW_CHECK_MLFLOW", "MLFLOW_TRACKING_URI")
S3 = ("GAIAFLOW_CHECK_S3", "MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
NAMES = {"GAIAFLOW_CHECK_MLFLOW": "check.mlflow", "GAIAFLOW_CHECK_S3": "check.s3"}


def look(variables: Sequence[str], path: str, refusals: Sequence[int]) -> dict[str, str]:
    """Return the state of what a variable names, and what is said of it.

    Args:
        variables: The variables that may hold its address.
        path: What is asked for there.
        refusals: HTTP statuses by which it says that it isn't for us.
    """
    variable = next((name for name in variables if os.environ.get(name)), "")
    if not variable:
        return {"state": "unnamed", "said": " or ".join(variables[1:])}
    name, address = NAMES.get(variable, variable), os.environ[variable]
    if not address.startswith(("http://", "https://")):
        return {"state": "wrong", "said": f"{name} is no address of HTTP"}
    try:
        with urllib.request.urlopen(address.rstrip("/") + path, timeout=SECONDS) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        return {"state": "wrong", "said": f"{name}: {getattr(why, 'strerror', None) or type(why).__name__}"}
    if status >= 500 or status in refusals:
        return {"state": "wrong", "said": f"{name} answers {status}"}
    return {"state": "ok", "said": f"{name} answers"}


if __name__ == "__main__":
    # S3 refuses who doesn't sign, and so is there; MLflow refuses names that it doesn't know.
    told = {"mlflow": look(MLFLOW, "/health", (403, 404)), "s3": look(S3, "/", ())}
    MESSAGE.write_text(json.dumps(told))
