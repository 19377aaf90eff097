"""`gaiaflow-setup open`."""

from __future__ import annotations

import os
import shutil

import click

from gaiaflow_py import options as opts


def _open(url: str) -> bool:
    """Return whether a browser with a window of its own took the URL: one inside the terminal isn't wanted."""
    import subprocess
    import webbrowser

    if wslview := shutil.which("wslview"):
        return subprocess.run([wslview, url], check=False).returncode == 0
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return False
    return webbrowser.open(url)


@opts.command("open", "open airflow", "open mlflow --instance second")
@click.argument("service")
@opts.instance_option
@opts.json_option
def command(service: str, instance: str | None, as_json: bool) -> None:
    """Open a service in the browser, and print its URL.

    SERVICE is one of those that `gaiaflow-setup status` shows with a URL, like airflow; minio is S3's console.
    """
    from gaiaflow_py import report
    from gaiaflow_py.instance import load

    url = load(instance or "default").url(service)
    opened = _open(url)
    if as_json:
        report.document({"service": service, "url": url, "opened": opened})
        return
    print(url)
    if not opened:
        report.message("No browser was found on this machine: open the URL yourself.")
