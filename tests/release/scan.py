"""What BuildKit's scanner does: a bill of materials by syft, as an in-toto statement (BuildKit's SBOM protocol)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

source, destination = os.environ["BUILDKIT_SCAN_SOURCE"], Path(os.environ["BUILDKIT_SCAN_DESTINATION"])
command = ["syft", "scan", f"dir:{source}", "--output", "spdx-json"]
found = subprocess.run(command, stdout=subprocess.PIPE, check=True)
statement = {
    "_type": "https://in-toto.io/Statement/v0.1",
    "predicateType": "https://spdx.dev/Document",
    "predicate": json.loads(found.stdout),
}
(destination / f"{Path(source).name}.spdx.json").write_text(json.dumps(statement))
