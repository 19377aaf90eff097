"""The example's model, served by MLflow's own server and asked over HTTP, without a stack."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from {{ cookiecutter.package_name }} import dataloader, preprocess, serving, train


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A trained model, its test rows and where it is served."""
    import mlflow.sklearn

    table = dataloader.read_table()
    rows = preprocess.split({"csv": None})
    model = train.fit(table.iloc[rows["train"]])
    testing = table.iloc[rows["test"]].drop(columns=dataloader.TARGET)
    folder = tmp_path_factory.mktemp("served") / "model"
    mlflow.sklearn.save_model(model, folder, **train.how_to_keep(model, testing))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "mlflow.pyfunc.scoring_server.app:app"]
    process = subprocess.Popen(command, env={**os.environ, "__pyfunc_model_path__": str(folder)})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(process, url)
        yield model, testing, url
    finally:
        process.terminate()
        process.wait()


def wait_until_healthy(process, url, seconds=120):
    """Return when the server answers; AssertionError where it ends, or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer within {seconds} s")


def test_served_model_predicts_as_the_model_does(served) -> None:
    model, testing, url = served
    assert serving.ask(testing, url) == model.predict(testing).tolist()


def test_wrong_table_is_refused_with_the_reason(served) -> None:
    _, testing, url = served
    with pytest.raises(ValueError, match="alcohol"):
        serving.ask(testing.drop(columns="alcohol"), url)


def test_model_that_is_not_served_says_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("MODEL_URL", raising=False)
    monkeypatch.setenv("GAIAFLOW_INSTANCE_DIRECTORY", str(tmp_path))
    with pytest.raises(RuntimeError, match="models serve"):
        serving.model_url()


def test_stack_tells_where_the_model_is(monkeypatch, tmp_path) -> None:
    name = "models-" + serving.PROJECT.replace("_", "-")
    (tmp_path / "instance.json").write_text(json.dumps({"urls": {name: "http://127.0.0.1:5001"}}))
    monkeypatch.delenv("MODEL_URL", raising=False)
    monkeypatch.setenv("GAIAFLOW_INSTANCE_DIRECTORY", str(tmp_path))
    assert serving.model_url() == "http://127.0.0.1:5001"
