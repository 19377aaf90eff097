"""One function makes every task; the environment decides how it runs."""

from __future__ import annotations

import datetime
import functools
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import runner
from .resources import read_resources

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

ENVIRONMENTS = ("dev", "dev_docker", "prod_local", "prod")
RETURN_VALUE = "return_value"
# The function's argument that gets the DAG run's params.
PARAMS = "params"
# Airflow's own is five minutes.
RETRY_DELAY = datetime.timedelta(seconds=10)


def task_factory(
    task_id: str,
    func_path: str,
    func_kwargs: dict[str, Any] | None = None,
    image: str | None = None,
    env: str = "dev",
    xcom_push: bool = True,
    xcom_pull_tasks: dict[str, dict[str, str]] | None = None,
    secrets: list[str] | None = None,
    env_vars: dict[str, str] | None = None,
    retries: int = 2,
    params: dict[str, Any] | None = None,
    resources: str | dict[str, Any] | None = None,
    **operator_args: Any,
) -> BaseOperator:
    """Make a task that calls one function of the project.

    Nothing is rendered by Jinja: `{{ ds }}` in an argument or in `env_vars` reaches the function as these characters.
    What a function may take and give, see `runner`. A task that returned None, or was skipped, gives None.

    Args:
        task_id: unique in its DAG or task group.
        func_path: `module.path:function`. In `dev` it must exist when the DAG is parsed; it isn't imported for that.
        func_kwargs: the function's arguments.
        image: the image to run, required everywhere but in `dev`.
        env: `dev` calls the function in Airflow's own Python. `dev_docker` starts a container of the image on this
            machine's Docker engine. `prod_local` and `prod` start a pod: in the cluster that `gaiaflow-setup cluster`
            has connected, and in the one that `prod.yaml` names, by default the cluster that Airflow runs in.
        xcom_push: push what the function returns to XCom.
        xcom_pull_tasks: arguments that other tasks computed: `{argument: {"task": "a_group.a_task", "key": "a_key"}}`;
            the key may be left out. The other task must be upstream of this one.
        secrets: names of Kubernetes secrets whose entries become environment variables; ignored in `dev` and
            `dev_docker`, which have no cluster.
        env_vars: more environment variables; ignored in `dev`.
        retries: how often to try again after a failure, 10 seconds later unless `retry_delay` is given.
        params: hand the DAG run's params to the function, as its argument `params`; a name that they don't have gets
            the value given here. None: the function gets no such argument.
        resources: `small`, `medium` (the default) or `large`, or `{"requests": {"cpu", "memory"}, "limits": {...},
            "gpu": 1}`; see `resources`. Ignored in `dev`.
        operator_args: anything else that every Airflow operator takes, such as `trigger_rule` or `pool`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that isn't allowed.
    """
    func_kwargs, pulls = func_kwargs or {}, xcom_pull_tasks or {}
    _check_task(task_id, env, retries)
    _check_function(func_path, env)
    _check_arguments(func_path, func_kwargs, pulls)
    _check_params(func_path, params, func_kwargs, pulls)
    _check_pod(env, image, secrets, env_vars)
    amounts = read_resources(resources)
    common = {"task_id": task_id, "retries": retries, "do_xcom_push": xcom_push, **operator_args}
    if env == "dev":
        return _retry_soon(_python_operator(func_path, func_kwargs, pulls, params, common), operator_args)

    operator_class: Any
    # Only here: the Kubernetes provider is slow to import, and a workstation may not have it.
    if env == "dev_docker":
        from .docker_operator import FunctionDockerOperator as operator_class
    else:
        from .pod_operator import FunctionPodOperator as operator_class
    operator = operator_class(
        func_path=func_path,
        func_kwargs=func_kwargs,
        xcom_pull_tasks=pulls,
        run_params=params,
        image=image,
        env=env,
        env_vars=env_vars or {},
        env_secrets=secrets or [],
        amounts=amounts,
        **common,
    )
    return _retry_soon(operator, operator_args)


def _python_operator(
    func_path: str,
    func_kwargs: dict[str, Any],
    pulls: dict[str, dict[str, str]],
    params: dict[str, Any] | None,
    common: dict[str, Any],
) -> BaseOperator:
    from airflow.providers.standard.operators.python import PythonOperator

    # The arguments stay inside this function, as Airflow would render op_kwargs with Jinja.
    def call_function(**context: Any) -> Any:
        result = runner.call(func_path, collect_arguments(func_path, func_kwargs, pulls, context, params))
        return runner.pack(result, f"the result of {func_path}") if common["do_xcom_push"] else None

    return PythonOperator(python_callable=call_function, **common)


def _retry_soon(operator: BaseOperator, operator_args: dict[str, Any]) -> BaseOperator:
    """Have a failed task tried again soon, unless the task, its group or its DAG says when."""
    groups = [operator.task_group, operator.dag] if operator.has_dag() else []
    if not any("retry_delay" in given for given in [operator_args, *(group.default_args for group in groups if group)]):
        operator.retry_delay = RETRY_DELAY
    return operator


def collect_arguments(
    func_path: str,
    func_kwargs: dict[str, Any],
    pulls: dict[str, dict[str, str]],
    context: Mapping[str, Any],
    params: dict[str, Any] | None = None,
) -> str:
    """Pull what other tasks computed and join it with the fixed arguments, at run time.

    Returns:
        The arguments as `runner.call` takes them: as JSON in every environment, so that all give the same results.

    Raises:
        ValueError: a value is pulled from a task that isn't upstream, so that it might not be there yet.
    """
    pulled = {}
    for argument, source in pulls.items():
        upstream = context["task"].get_flat_relative_ids(upstream=True)
        if source["task"] not in upstream:
            raise ValueError(
                f"xcom_pull_tasks[{argument!r}] names the task {source['task']!r}, which is not upstream of "
                f"{context['task'].task_id!r}; allowed are {sorted(upstream)}"
            )
        pulled[argument] = _pull(context, source["task"], source.get("key", RETURN_VALUE))
    if params is not None:
        pulled[PARAMS] = {**params, **context["params"]}
    return runner.encode_arguments(func_path, {**func_kwargs, **pulled})


def _pull(context: Mapping[str, Any], task_id: str, key: str) -> Any:
    """Pull a value: within a mapped group that of this task's own group; of a mapped task elsewhere the list of all."""
    instance, task = context["ti"], context["task"]
    source = task.dag.get_task(task_id)
    group = source.get_closest_mapped_task_group()
    if group is not None and group is task.get_closest_mapped_task_group():
        return runner.unpack(instance.xcom_pull(task_ids=task_id, key=key, map_indexes=instance.map_index))
    if not source.get_needs_expansion():
        return runner.unpack(instance.xcom_pull(task_ids=task_id, key=key))
    from airflow.sdk.execution_time.xcom import XCom

    # `xcom_pull` gives the only one of a list in the list's place.
    values = XCom.get_all(run_id=instance.run_id, key=key, task_id=task_id, dag_id=instance.dag_id)
    return [runner.unpack(value) for value in values or ()]


def _check_task(task_id: str, env: str, retries: int) -> None:
    if not isinstance(task_id, str) or not re.fullmatch(r"[\w.-]{1,250}", task_id):
        raise ValueError(
            f"task_id {task_id!r} is not allowed; use 1 to 250 letters, digits, underscores, dashes and dots"
        )
    if env not in ENVIRONMENTS:
        raise ValueError(f"env {env!r} is not allowed; use one of {', '.join(ENVIRONMENTS)}")
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ValueError(f"retries {retries!r} is not allowed; use an int, 0 or more")


def _check_arguments(func_path: str, func_kwargs: Any, pulls: Any) -> None:
    if not isinstance(func_kwargs, dict):
        raise TypeError(f"func_kwargs {func_kwargs!r} is a {type(func_kwargs).__name__}; use a dict of arguments")
    if not isinstance(pulls, dict):
        raise TypeError(f"xcom_pull_tasks {pulls!r} is a {type(pulls).__name__}; use a dict of sources")
    for name in (*func_kwargs, *pulls):
        if not isinstance(name, str):
            raise TypeError(f"the argument name {name!r} is a {type(name).__name__}; use a str")
    if twice := sorted(func_kwargs.keys() & pulls.keys()):
        raise ValueError(f"the arguments {twice} are in both func_kwargs and xcom_pull_tasks; use one of them")
    for argument, source in pulls.items():
        _check_source(argument, source)
    runner.encode_arguments(func_path, func_kwargs)


def _check_source(argument: str, source: Any) -> None:
    allowed = 'use {"task": "group.task"}, with "key" if it isn\'t "return_value"'
    if not isinstance(source, dict):
        raise TypeError(f"xcom_pull_tasks[{argument!r}] is {source!r}; {allowed}")
    if "task" not in source:
        raise ValueError(f'xcom_pull_tasks[{argument!r}] is {source!r}, without "task"; {allowed}')
    if unknown := sorted(map(str, source.keys() - {"task", "key"})):
        raise ValueError(f"xcom_pull_tasks[{argument!r}] has the unknown keys {unknown}; {allowed}")
    for key, value in source.items():
        if not isinstance(value, str) or not value:
            raise TypeError(f"xcom_pull_tasks[{argument!r}][{key!r}] is {value!r}, not a str; {allowed}")


def _check_params(func_path: str, params: Any, *others: dict[str, Any]) -> None:
    if params is None:
        return
    if not isinstance(params, dict):
        raise TypeError(f"params {params!r} is a {type(params).__name__}; use a dict of defaults, which may be empty")
    if any(PARAMS in arguments for arguments in others):
        raise ValueError("the argument 'params' is given twice: by params, and in func_kwargs or xcom_pull_tasks")
    runner.encode_arguments(func_path, {PARAMS: params})


def _check_pod(env: str, image: Any, secrets: Any, env_vars: Any) -> None:
    if image is not None and not isinstance(image, str):
        raise TypeError(f"image {image!r} is a {type(image).__name__}; use a str such as 'my_project:0.1.0'")
    if env != "dev" and not image:
        raise ValueError(f"image {image!r} is not allowed with env {env!r}; name the image to run, 'my_project:0.1.0'")
    if secrets is not None and not (isinstance(secrets, list) and all(isinstance(name, str) for name in secrets)):
        raise TypeError(f"secrets {secrets!r} is not allowed; use a list of names of Kubernetes secrets")
    if env_vars is not None and not isinstance(env_vars, dict):
        raise TypeError(f"env_vars is a {type(env_vars).__name__}; use a dict of str to str")
    # Without the values, which may be secret.
    if wrong := [
        name for name, value in (env_vars or {}).items() if not isinstance(name, str) or not isinstance(value, str)
    ]:
        raise TypeError(f"env_vars has entries that aren't of the type str, {wrong}; use a dict of str to str")
    if wrong := [name for name in env_vars or {} if not re.fullmatch(r"[!-<>-~]+", name)]:
        raise ValueError(f"env_vars has the names {wrong}; a name takes printable ASCII characters other than '='")


def _check_function(func_path: str, env: str) -> None:
    """Refuse a function that isn't there. Where tasks run in pods, only the image can tell."""
    if not isinstance(func_path, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", func_path):
        raise ValueError(f"func_path {func_path!r} is not allowed; use 'module.path:function'")
    if env != "dev":
        return
    module, _, function = func_path.partition(":")
    try:
        source = _find_source(module)
    except (ModuleNotFoundError, ValueError):
        raise ValueError(
            f"func_path {func_path!r}: there is no module {module!r} in Airflow's Python; "
            "use 'module.path:function' with a module that is installed there"
        ) from None
    if source is None:
        return
    names = _top_level_names(source, os.stat(source).st_mtime_ns)
    if function not in names and not {"*", "__getattr__"} & names:
        raise ValueError(f"func_path {func_path!r}: {source} has no {function!r}; it has {sorted(names)}")


# Airflow reads each DAG file in a process of its own, so what is remembered here lasts for one reading.
@functools.lru_cache(maxsize=256)
def _find_source(module: str) -> str | None:
    """Find a module's file without importing anything, not even its parents; None if it isn't Python source."""
    from importlib.util import find_spec
    from pkgutil import get_importer

    name, *rest = module.split(".")
    specs = [find_spec(name)]
    for part in rest:
        name = f"{name}.{part}"
        folders = [folder for spec in specs if spec for folder in spec.submodule_search_locations or ()]
        specs = [finder.find_spec(name) for finder in map(get_importer, folders) if finder]
    # What has no origin is a mere folder.
    origins = [spec.origin for spec in specs if spec and spec.origin]
    if not origins:
        raise ModuleNotFoundError(module)
    return origins[0] if origins[0].endswith(".py") else None


@functools.lru_cache(maxsize=256)
def _top_level_names(source: str, mtime_ns: int) -> frozenset[str]:
    """Names that a module defines when it is imported; the modification time makes a changed file be read again."""
    import ast
    import tokenize

    with tokenize.open(source) as file:
        return frozenset(_stored_names(ast.parse(file.read(), source)))


def _stored_names(node: Any) -> Iterator[str]:
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield child.name
            continue
        if isinstance(child, ast.alias):
            yield child.asname or child.name.partition(".")[0]
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        yield from _stored_names(child)
