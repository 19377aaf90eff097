"""Train a classifier, and let MLflow keep what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dataloader import TARGET, read_table
from .utils import start_run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline


def fit(table: pd.DataFrame, regularisation: float = 1.0, max_iterations: int = 1000) -> Pipeline:
    """Fit a logistic regression on scaled features.

    Args:
        table: features and target of the training rows.
        regularisation: the inverse strength C: smaller keeps the weights smaller.
        max_iterations: when to stop at the latest.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=regularisation, max_iter=max_iterations)
    return make_pipeline(StandardScaler(), classifier).fit(table.drop(columns=TARGET), table[TARGET])


def evaluate(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    """Measure `accuracy` and `f1_macro` (both 0 to 1) on the test rows."""
    from sklearn.metrics import accuracy_score, f1_score

    predicted = model.predict(table.drop(columns=TARGET))
    return {
        "accuracy": float(accuracy_score(table[TARGET], predicted)),
        "f1_macro": float(f1_score(table[TARGET], predicted, average="macro")),
    }


def plot_confusion(model: Pipeline, table: pd.DataFrame) -> Figure:
    """Draw which classes the model takes for which, on the test rows."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    # A Figure of its own, not pyplot's, needs no display and is freed by itself.
    figure = Figure(figsize=(5, 4), layout="tight")
    ConfusionMatrixDisplay.from_estimator(model, table.drop(columns=TARGET), table[TARGET], ax=figure.subplots())
    return figure


def train(dataset: dict[str, Any], rows: dict[str, list[int]], parameters: dict[str, Any]) -> dict[str, Any]:
    """Train, measure, and log parameters, metrics, a plot and the model to MLflow.

    Args:
        dataset: what `load_data` returned.
        rows: what `split` returned.
        parameters: for `fit`.

    Returns:
        The MLflow `run_id`, the logged model's `model_uri` and the `metrics`.
    """
    import mlflow

    table = read_table(dataset["csv"])
    training, testing = table.iloc[rows["train"]], table.iloc[rows["test"]]
    with start_run("train") as run:
        model = fit(training, **parameters)
        metrics = evaluate(model, testing)
        mlflow.log_params({**parameters, "rows": dataset["rows"], "features": len(dataset["features"])})
        mlflow.log_metrics(metrics)
        mlflow.log_figure(plot_confusion(model, testing), "confusion_matrix.png")
        logged = log_model(model, training.drop(columns=TARGET))
        return {"run_id": run.info.run_id, "model_uri": logged.model_uri, "metrics": metrics}


def log_model(model: Pipeline, features: pd.DataFrame) -> Any:
    """Log a model, and return what MLflow says of it."""
    import mlflow.sklearn

    return mlflow.sklearn.log_model(model, name="model", **how_to_keep(model, features))


def how_to_keep(model: Pipeline, features: pd.DataFrame) -> dict[str, Any]:
    """Return what MLflow is to keep of a model: its signature, an example and what it needs to run."""
    from importlib.metadata import version

    from mlflow.models import infer_signature

    needs = ("mlflow-skinny", "cloudpickle", "pandas", "scikit-learn")
    return {
        "signature": infer_signature(features, model.predict(features)),
        "input_example": features.head(2),
        # Takes any estimator; MLflow's default format, skops, refuses those it doesn't know.
        "serialization_format": "cloudpickle",
        # Named here, as MLflow would start another Python to find out, and add all of mlflow. mlflow-skinny has the
        # server, and keeps the environment and the image of the served model small.
        "pip_requirements": [f"{name}=={version(name)}" for name in needs],
    }
