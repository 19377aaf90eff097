"""Ask the model over HTTP, where MLflow's own server serves it: on this machine, or in the cluster."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .utils import PROJECT

if TYPE_CHECKING:
    import pandas as pd

ANSWER_S = 30


def model_url() -> str:
    """Return where the model is served: MODEL_URL, or what the stack on this machine has noted.

    Raises:
        RuntimeError: it isn't served.
    """
    if url := os.environ.get("MODEL_URL"):
        return url.rstrip("/")
    record = Path(os.environ.get("GAIAFLOW_INSTANCE_DIRECTORY", "/nowhere")) / "instance.json"
    urls = json.loads(record.read_text())["urls"] if record.is_file() else {}
    served: str = urls.get("models-" + re.sub(r"[^a-z0-9]+", "-", PROJECT.lower()).strip("-"), "")
    if not served:
        raise RuntimeError(
            f"the model {PROJECT!r} isn't served here: run `gaiaflow-setup models serve {PROJECT}`, or set MODEL_URL"
        )
    return served


def ask(table: pd.DataFrame, url: str | None = None) -> list[Any]:
    """Return the model's prediction for each row.

    Args:
        table: the features, a column each.
        url: where the model is served; as `model_url` says when None.

    Raises:
        ValueError: the model refuses the table, with the reason.
        RuntimeError: it isn't served.
    """
    rows = json.loads(table.to_json(orient="split", index=False))
    body = json.dumps({"dataframe_split": rows}).encode()
    request = urllib.request.Request(f"{url or model_url()}/invocations", body, {"Content-Type": "application/json"})
    # No proxy stands before this machine or the cluster's own network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_S) as answer:
            predictions: list[Any] = json.load(answer)["predictions"]
            return predictions
    except urllib.error.HTTPError as error:
        raise ValueError(f"the model answers {error.code}: {error.read().decode(errors='replace')}") from error
