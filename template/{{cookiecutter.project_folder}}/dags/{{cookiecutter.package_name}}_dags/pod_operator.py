"""Runs one function of the project in a pod. Imported only for `prod_local` and `prod`."""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

from . import runner
from .task_factory import collect_arguments

# This package is PROJECT_dags; the image holds PROJECT.
RUNNER_MODULE = f"{__package__.removesuffix('_dags')}.runner"
# Where the provider's sidecar looks for the result.
XCOM_FILE = "/airflow/xcom/return.json"


class FunctionPodOperator(KubernetesPodOperator):  # type: ignore[misc]
    """A pod that calls one function.

    The function and its arguments reach the pod in its environment, written when the task runs: not on its command
    line, which anyone who lists processes can read, and not through fields that Airflow renders with Jinja.

    Args:
        func_path: `module.path:function`.
        func_kwargs: the function's arguments.
        xcom_pull_tasks: arguments that other tasks computed.
        env: `prod_local` or `prod`.
        env_vars: more environment variables, taken literally.
        env_secrets: names of Kubernetes secrets whose entries become environment variables.
        operator_args: what KubernetesPodOperator takes.
    """

    template_fields = ()
    env_vars: list[k8s.V1EnvVar]

    def __init__(
        self,
        *,
        func_path: str,
        func_kwargs: dict[str, Any],
        xcom_pull_tasks: dict[str, dict[str, str]],
        env: str,
        env_vars: dict[str, str],
        env_secrets: list[str],
        **operator_args: Any,
    ) -> None:
        super().__init__(
            cmds=["python", "-m", RUNNER_MODULE],
            # Kubernetes reads $(NAME) as a reference and $$ as a dollar sign.
            env_vars=[k8s.V1EnvVar(name=name, value=value.replace("$", "$$")) for name, value in env_vars.items()],
            env_from=[k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name)) for name in env_secrets],
            in_cluster=env == "prod",
            config_file=os.environ.get("GAIAFLOW_KUBECONFIG") if env == "prod_local" else None,
            namespace=os.environ.get("GAIAFLOW_NAMESPACE", "default"),
            image_pull_policy="IfNotPresent",
            on_finish_action="delete_pod",
            # The specification holds the arguments and the environment, which may hold what no log should.
            log_pod_spec_on_failure=False,
            **operator_args,
        )
        self.func_path = func_path
        self.func_kwargs = func_kwargs
        self.xcom_pull_tasks = xcom_pull_tasks

    def execute(self, context: Any) -> Any:
        """Pull the arguments, put the call into the pod's environment, and run the pod."""
        arguments = collect_arguments(self.func_path, self.func_kwargs, self.xcom_pull_tasks, context)
        call = {runner.FUNC_PATH: self.func_path, runner.FUNC_KWARGS: arguments}
        if self.do_xcom_push:
            call[runner.RESULT_FILE] = XCOM_FILE
        self.env_vars = [*self.env_vars, *(k8s.V1EnvVar(name=name, value=value) for name, value in call.items())]
        return super().execute(context)
