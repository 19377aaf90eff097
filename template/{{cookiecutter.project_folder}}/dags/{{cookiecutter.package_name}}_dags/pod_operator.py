"""Runs one function of the project in a pod. Imported only for `prod_local` and `prod`."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment

import urllib3
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from kubernetes.client import Configuration, CoreV1Api
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from . import pod_states, runner
from .cluster import NO_CLUSTER, Cluster, NoCluster, read_cluster, read_prod
from .container_log import ContainerLog, split_lines
from .results import ResultLines, read_outcome
from .task_factory import collect_arguments

# This package is PROJECT_dags; the image holds PROJECT.
RUNNER_MODULE = f"{__package__.removesuffix('_dags')}.runner"
TERMINATION_MESSAGE = "/dev/termination-log"

# Seconds between two looks at a pod that starts, and at one that runs.
START_INTERVAL, RUN_INTERVAL = 0.25, 1.0
# For how long the cluster may not answer: before there is a pod, and while one runs.
FIRST_PATIENCE, PATIENCE = 10.0, 300.0
# The same for the deletion of a pod whose task has ended: an API server is back by then that was only started anew.
DELETION_PATIENCE = 60.0
# How often, a second apart, a cluster that has started must refuse what an account may not do: while it starts, it
# refuses everybody, until it has read what each may.
REFUSALS = 2
# The same for the end of a log: the node that has it may be gone, and what it ended with is known without it.
LOG_PATIENCE = 60.0
# A pod that is deleted is gone when its node says so. One whose node hasn't for so long has lost it.
NODE_PATIENCE = 60.0
# Connecting, and the answer. A log may be silent for long.
TIMEOUT, LOG_TIMEOUT = (5, 20), (5, 300)
# What keeps a pod from starting is told after so long: much of it goes away at once.
TOLD_AFTER = 2.0
# A task that is to be deferred waits here so long before: many end sooner, and handing them over takes seconds.
WAIT_BEFORE_DEFERRAL = 10.0
STACK_LABEL, CALL_LABEL = "gaiaflow/stack", "gaiaflow/call"


class PodGone(AirflowException):  # type: ignore[misc]
    """The pod was deleted."""


class NoAnswer(AirflowException):  # type: ignore[misc]
    """The cluster didn't answer for too long."""


class LongTask(Exception):
    """The task takes long enough to be deferred."""


class FunctionPodOperator(KubernetesPodOperator):  # type: ignore[misc]
    """A pod that calls one function.

    The function and its arguments reach the pod in its environment, written when the task runs: not on its command
    line, which anyone who lists processes can read, and not through fields that Airflow renders with Jinja. The result
    comes back in the pod's termination message, or at the end of its log: see `runner`.

    Args:
        func_path: `module.path:function`.
        func_kwargs: the function's arguments.
        xcom_pull_tasks: arguments that other tasks computed.
        run_params: defaults of the DAG run's params; None if the function doesn't get them.
        env: `prod_local` or `prod`.
        env_vars: more environment variables, taken literally.
        env_secrets: names of Kubernetes secrets whose entries become environment variables.
        amounts: requests and limits.
        operator_args: what KubernetesPodOperator takes.
    """

    template_fields = ()
    env_vars: list[k8s.V1EnvVar]
    given_image: str
    # With its name and namespace known, even where the cluster hasn't answered yet.
    pod: Any

    def __init__(
        self,
        *,
        func_path: str,
        func_kwargs: dict[str, Any],
        xcom_pull_tasks: dict[str, dict[str, str]],
        run_params: dict[str, Any] | None,
        env: str,
        env_vars: dict[str, str],
        env_secrets: list[str],
        amounts: dict[str, dict[str, str]],
        **operator_args: Any,
    ) -> None:
        if env == "prod":
            # Wrong settings are the DAG's import error, not each task's.
            read_prod()
        super().__init__(
            cmds=["python", "-m", RUNNER_MODULE],
            container_resources=k8s.V1ResourceRequirements(**amounts),
            image_pull_policy="IfNotPresent",
            # What ends before the runner writes anything is told by the end of its log.
            termination_message_policy="FallbackToLogsOnError",
            # The specification holds the arguments and the environment, which may hold what no log should.
            log_pod_spec_on_failure=False,
            # A company's Airflow waits for hundreds of pods at once; on one machine, a slot more costs nothing.
            deferrable=os.environ.get("GAIAFLOW_DEFERRABLE", str(env == "prod")).lower() in ("1", "true", "yes"),
            **operator_args,
        )
        self.func_path = func_path
        self.func_kwargs = func_kwargs
        self.xcom_pull_tasks = xcom_pull_tasks
        self.run_params = run_params
        self.env = env
        self.given_env_vars = env_vars
        self.env_secrets = env_secrets
        self.amounts = amounts
        self.given_image = self.image
        self.log_seen = ""

    def execute(self, context: Any) -> Any:
        """Make the pod, or find that of an earlier try; wait for its end, and return the function's result."""
        arguments = collect_arguments(self.func_path, self.func_kwargs, self.xcom_pull_tasks, context, self.run_params)
        self._connect()
        request = self._build_pod(arguments, context)
        self.pod = self._find_earlier_pod(request, context) or self._create(request)
        return self._see_through(context, WAIT_BEFORE_DEFERRAL)

    def resume(self, context: Any, event: dict[str, Any], name: str, namespace: str, log_seen: str) -> Any:
        """Go on after a deferral, as `execute` would have: what the trigger saw, is looked at anew."""
        self.log_seen = log_seen
        self._connect()
        self.pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name=name, namespace=namespace))
        deadline = self._deadline(context)
        # A pod that had ended before has only waited for a slot of its task's.
        has_ended = event.get("status") in ("success", "failed")
        if deadline and time.time() >= deadline and not has_ended:
            self.on_kill()
            raise AirflowTaskTimeout(f"the task ran for longer than its execution_timeout; its pod {name} was deleted")
        return self._see_through(context, RUN_INTERVAL * 5)

    def on_kill(self) -> None:
        """Delete the pod. Airflow calls this from a signal handler, and lets `execute` go on afterwards."""
        self._killed = True
        if self.pod:
            self._delete(self.pod, patience=0)

    def _connect(self) -> None:
        # It logs the answers, and with them the pod's environment, when everything is logged.
        logging.getLogger("kubernetes.client.rest").setLevel(logging.INFO)
        try:
            self.cluster = read_cluster(self.env)
        except NoCluster as error:
            raise AirflowFailException(str(error)) from None

    @functools.cached_property
    def hook(self) -> KubernetesHook:
        """What connects with the cluster."""
        configuration = Configuration()
        # The proxy that leads to the internet knows nothing of a cluster on this machine.
        hosts = [host for host in (configuration.no_proxy, *self.cluster.no_proxy) if host]
        configuration.no_proxy = ",".join(hosts) or None
        # `_ask` tries again, and knows for how long.
        configuration.retries = 0
        # Without a connection's name, Airflow isn't asked for one.
        return KubernetesHook(
            conn_id=self.cluster.connection,
            kubernetes_conn_id=None,
            client_configuration=configuration if self.cluster.kubeconfig else None,
            config_file=self.cluster.kubeconfig,
            in_cluster=None if self.cluster.kubeconfig or self.cluster.connection else True,
        )

    @functools.cached_property
    def client(self) -> CoreV1Api:
        """The cluster's API."""
        try:
            return self.hook.core_v1_client
        except ConfigException as error:
            advice = NO_CLUSTER if self.env == "prod_local" else "name Airflow's connection to one in prod.yaml"
            raise AirflowFailException(f"there is no cluster to run the pod in ({error}): {advice}") from None

    def _build_pod(self, arguments: str, context: Any) -> k8s.V1Pod:
        cluster = self.cluster
        self.image = cluster.images.get(self.given_image, self.given_image)
        self.namespace = cluster.namespace or None
        sources = [*cluster.env_secrets, *self.env_secrets]
        call = {runner.FUNC_PATH: self.func_path, runner.FUNC_KWARGS: arguments}
        self.labels = {STACK_LABEL: cluster.stack, CALL_LABEL: self._digest(call, sources)}
        call[runner.OUTCOME_FILE] = TERMINATION_MESSAGE
        if self.do_xcom_push:
            call[runner.RESULT_MARKER] = f"gaiaflow-result-{secrets.token_hex(8)}"
        # Kubernetes reads $(NAME) as a reference and $$ as a dollar sign.
        self.env_vars = [
            k8s.V1EnvVar(name=name, value=value.replace("$", "$$"))
            for name, value in {**self.given_env_vars, **call}.items()
        ]
        self.env_from = [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name)) for name in sources]
        self._place(cluster)
        pushes, self.do_xcom_push = self.do_xcom_push, False
        try:
            # A result needs no second container, and this no look at the cluster.
            return self.build_pod_request_obj(context, dry_run=True)
        finally:
            self.do_xcom_push = pushes

    def _place(self, cluster: Cluster) -> None:
        self.service_account_name = cluster.service_account
        self.image_pull_secrets = [k8s.V1LocalObjectReference(name=name) for name in cluster.image_pull_secrets]
        self.node_selector = cluster.node_selector
        self.tolerations = cluster.tolerations
        # A task has no business with the cluster's API, unless it is given an account for that.
        self.automount_service_account_token = None if cluster.service_account else False
        self.host_aliases = [
            k8s.V1HostAlias(ip=address, hostnames=[name]) for name, address in cluster.host_aliases.items()
        ] or None

    def _digest(self, call: dict[str, str], sources: list[str]) -> str:
        """Tell calls apart: a pod of other code, arguments or environment isn't that of this task any more."""
        parts = [self.image, call, self.given_env_vars, sources, self.amounts, self.do_xcom_push]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]

    def _find_earlier_pod(self, request: k8s.V1Pod, context: Any) -> k8s.V1Pod | None:
        """Return the pod that an earlier try has left behind and that does, or has done, the same; delete others."""
        if context["ti"].try_number <= 1:
            return None
        labels = {**self._get_ti_pod_labels(context, include_try_number=False), STACK_LABEL: self.cluster.stack}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        namespace = request.metadata.namespace
        pods = self._ask(
            lambda: self.client.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=TIMEOUT),
            FIRST_PATIENCE,
        ).items
        found = None
        for pod in pods:
            same = pod.metadata.labels.get(CALL_LABEL) == self.labels[CALL_LABEL]
            if found or not same or pod.metadata.deletion_timestamp or pod.status.phase in ("Failed", "Unknown"):
                self._delete(pod)
            else:
                found = pod
        if found:
            self.log.info("Going on with pod %s of an earlier try", found.metadata.name)
        return found

    def _create(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        self._check_killed()
        self.log.info("Making pod %s in namespace %s, of image %s", name, namespace, self.image)
        # Known from now on, as the cluster may make it and not be heard.
        self.pod = pod
        body = self.client.api_client.sanitize_for_serialization(pod)
        try:
            return self._ask(
                lambda: self.client.create_namespaced_pod(namespace, body, _request_timeout=TIMEOUT), FIRST_PATIENCE
            )
        except ApiException as error:
            if error.status == 409:
                return pod
            self.pod = None
            text = f"the cluster refuses the pod ({error.status} {error.reason}): {_message(error)}"
            if error.status in (400, 403, 404, 422) and "quota" not in text:
                raise AirflowFailException(text) from None
            raise AirflowException(text) from None

    def _see_through(self, context: Any, wait: float) -> Any:
        """Wait for the pod's end, and return the function's result; no pod is left that no later try goes on with."""
        name = self.pod.metadata.name
        try:
            pod = self._await_end(wait)
            result = self._read_result(pod)
        except NoAnswer as error:
            raise AirflowException(f"{error}. Pod {name} may go on; the next try looks for it") from None
        except PodGone:
            raise AirflowException(f"pod {name} was deleted while the task ran") from None
        except LongTask:
            self._defer(context)
        except BaseException:
            self._delete(self.pod)
            raise
        self._delete(pod)
        return result

    def _await_end(self, wait: float) -> k8s.V1Pod:
        """Return the pod once its container has ended; pass on what it writes meanwhile.

        Raises:
            LongTask: it hasn't ended within `wait` seconds, and the task can be deferred.
        """
        began = time.monotonic()
        pod = self._read_pod()
        self.result_lines = ResultLines(_marker(pod))
        self.container_log = ContainerLog(self._open_log, self.result_lines, self.log, self.log_seen)
        start = PodStart(self.given_image, self.env == "prod", self.cluster.start_seconds)
        while not pod_states.find_end(pod):
            self._check_killed()
            if _is_lost(pod):
                raise PodGone
            if pod_states.is_running(pod):
                if not self.container_log.followed:
                    self.container_log.follow()
                if self.deferrable and time.monotonic() - began > wait and self._triggerer_finds_cluster():
                    raise LongTask
                # Returns earlier where the log ends, which the container's state tells some moments later.
                self.container_log.pass_on(RUN_INTERVAL - START_INTERVAL)
            else:
                start.check(pod)
                self._log_events(start)
            time.sleep(START_INTERVAL)
            pod = self._read_pod()
        try:
            self._ask(self.container_log.finish, LOG_PATIENCE)
        except (ApiException, NoAnswer) as error:
            reason = _message(error) if isinstance(error, ApiException) else error
            self.log.warning("The end of the container's log can't be read: %s", reason)
        return pod

    def _check_killed(self) -> None:
        if self._killed:
            raise AirflowException("the task was told to end, and its pod with it") from None

    def _read_pod(self) -> k8s.V1Pod:
        name, namespace = self.pod.metadata.name, self.pod.metadata.namespace
        try:
            return self._ask(lambda: self.client.read_namespaced_pod(name, namespace, _request_timeout=TIMEOUT))
        except ApiException as error:
            if error.status != 404:
                raise AirflowException(f"the cluster doesn't show pod {name}: {_message(error)}") from None
            self._check_killed()
            raise PodGone from None

    def _open_log(self, follow: bool, seconds: int | None, **options: Any) -> Iterable[bytes]:
        pod = self.pod.metadata
        log: Iterable[bytes] = self.client.read_namespaced_pod_log(
            pod.name,
            pod.namespace,
            container=pod_states.CONTAINER,
            follow=follow,
            since_seconds=seconds,
            timestamps=True,
            _preload_content=False,
            _request_timeout=LOG_TIMEOUT if follow else TIMEOUT,
            **options,
        ).stream()
        return log

    def _log_events(self, start: PodStart) -> None:
        """Pass on what the cluster says of a pod that takes long to start.

        Raises:
            AirflowFailException: a volume of it is missing.
        """
        if not start.asks_for_events():
            return
        pod = self.pod.metadata
        selector = f"involvedObject.name={pod.name}"
        events = self._ask(
            lambda: self.client.list_namespaced_event(pod.namespace, field_selector=selector, _request_timeout=TIMEOUT)
        ).items
        for event in events:
            if event.type == "Warning" and (text := f"{event.reason}: {event.message}") not in start.events:
                start.events.add(text)
                self.log.warning("%s", text)
            if event.reason == "FailedMount" and pod_states.MISSING.search(event.message or ""):
                # What was told may be over. The kubelet tries again, and counts.
                if (event.count or 1) > start.mounts.setdefault(event.metadata.name, event.count or 1):
                    raise AirflowFailException(f"a volume of the pod is missing: {event.message}")

    def _read_result(self, pod: k8s.V1Pod) -> Any:
        end = pod_states.find_end(pod)
        assert end
        outcome = read_outcome(end.message)
        if end.exit_code != 0 or not outcome or "error" in outcome:
            self._check_killed()
            error = outcome.get("error") if outcome else None
            if outcome and not error:
                error = "The function had returned; what ended Python with an error came after that."
            limit = (pod_states.find_specification(pod).resources.limits or {}).get("memory")
            text = pod_states.describe_failure(end, error, limit)
            raise AirflowException(f"{self.func_path} failed in pod {pod.metadata.name}: {text}")
        if not self.do_xcom_push:
            return None
        return outcome["result"] if "result" in outcome else self._read_long_result(outcome)

    def _read_long_result(self, outcome: dict[str, Any]) -> Any:
        """Return a result that the container printed: while it was followed, or else read at the end of its log."""
        if not self.result_lines.complete(outcome):
            # What else is still running in the container may have written a few lines later.
            log = self._ask(lambda: list(self._open_log(False, None, tail_lines=outcome["lines"] + 1000)))
            for line in split_lines(log):
                self.result_lines.takes(line.partition(" ")[2])
        try:
            return self.result_lines.join(outcome)
        except ValueError as error:
            raise AirflowException(f"the result of {self.func_path} was lost: {error}") from None

    def _delete(self, pod: k8s.V1Pod, patience: float = DELETION_PATIENCE) -> None:
        """Delete a pod; where that fails, say so: the task's own outcome counts more."""
        name, namespace = pod.metadata.name, pod.metadata.namespace
        try:
            self._ask(
                lambda: self.client.delete_namespaced_pod(
                    name, namespace, body=k8s.V1DeleteOptions(), _request_timeout=TIMEOUT
                ),
                patience,
            )
        except ApiException as error:
            if error.status != 404:
                self.log.warning("Pod %s is left behind: %s", name, _message(error))
        except NoAnswer as error:
            self.log.warning("Pod %s is left behind: %s", name, error)

    def _ask(self, request: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Ask the cluster, again and again while it doesn't answer.

        Raises:
            NoAnswer: it didn't for so many seconds.
            ApiException: it answered, but not with what was asked for.
        """
        deadline = time.monotonic() + patience
        silent = refused = False
        forbidden = 0
        while True:
            asked = time.monotonic()
            try:
                return request()
            except (urllib3.exceptions.HTTPError, ApiException) as error:
                # What has answered for long, and then broke off, was there until now.
                if time.monotonic() - asked > sum(TIMEOUT):
                    deadline = time.monotonic() + patience
                if isinstance(error, ApiException) and error.status == 401 and not refused:
                    # The account's token may have been written anew.
                    refused = True
                    self._forget_client()
                elif isinstance(error, ApiException) and error.status == 403 and forbidden < REFUSALS:
                    forbidden += self._is_ready()
                elif isinstance(error, ApiException) and not _may_pass(error):
                    raise
                else:
                    # What answers next may be one that starts.
                    forbidden = 0
                reason = _message(error) if isinstance(error, ApiException) else str(error)
            if time.monotonic() > deadline:
                silence = f"has not answered for {patience:.0f} s" if patience else "doesn't answer"
                raise NoAnswer(f"the cluster {silence}: {reason}{self._advice}")
            self._check_killed()
            if not silent:
                self.log.warning("The cluster doesn't answer; asking it again: %s", reason)
                silent = True
            time.sleep(1)

    def _is_ready(self) -> bool:
        """Tell whether the API server says that it has started: every account may ask it that."""
        try:
            self.client.api_client.call_api(
                "/readyz", "GET", auth_settings=["BearerToken"], response_type="str", _request_timeout=TIMEOUT
            )
        except (urllib3.exceptions.HTTPError, ApiException):
            return False
        return True

    def _forget_client(self) -> None:
        for name in ("client", "hook"):
            self.__dict__.pop(name, None)

    @property
    def _advice(self) -> str:
        return ". Is it running? gaiaflow-setup cluster --start" if self.env == "prod_local" else ""

    def _defer(self, context: Any) -> None:
        self.container_log.stop()
        pod, deadline = self.pod.metadata, self._deadline(context)
        extras = {"kube_config_path": self.cluster.kubeconfig} if self.cluster.kubeconfig else {}
        self.log.info("Pod %s goes on; the task takes no slot while it does", pod.name)
        self.defer(
            trigger=KubernetesPodTrigger(
                pod_name=pod.name,
                pod_namespace=pod.namespace,
                trigger_start_time=datetime.datetime.now(datetime.UTC),
                base_container_name=pod_states.CONTAINER,
                kubernetes_conn_id=self.cluster.connection,
                # The place of the file, not what it holds: this is kept in Airflow's database.
                connection_extras=None if self.cluster.connection else extras,
                in_cluster=None if self.cluster.kubeconfig or self.cluster.connection else True,
                poll_interval=RUN_INTERVAL,
                get_logs=False,
                log_events_on_startup=False,
                trigger_kwargs={"_execution_deadline": deadline} if deadline else None,
            ),
            method_name="resume",
            kwargs={"name": pod.name, "namespace": pod.namespace, "log_seen": self.container_log.seen},
        )

    def _deadline(self, context: Any) -> float | None:
        """Return when `execution_timeout` is over: Airflow itself begins to count anew after a deferral."""
        if not self.execution_timeout or not context["ti"].start_date:
            return None
        deadline: datetime.datetime = context["ti"].start_date + self.execution_timeout
        return deadline.timestamp()

    def _triggerer_finds_cluster(self) -> bool:
        """Tell whether Airflow's triggerer reaches the cluster: it goes by the proxy that the environment names."""
        if not self.cluster.kubeconfig:
            return True
        server = urlsplit(self.client.api_client.configuration.host)
        return bool(server.scheme not in getproxies_environment() or proxy_bypass_environment(server.netloc))


class PodStart:
    """What keeps one pod from starting, and for how long it has.

    Args:
        image: as the DAG names it.
        waits_for_nodes: the cluster may get nodes that fit.
        seconds: how long a pod may take.
    """

    def __init__(self, image: str, waits_for_nodes: bool, seconds: float) -> None:
        self.image = image
        self.waits_for_nodes = waits_for_nodes
        self.seconds = seconds
        self.began = self.since = time.monotonic()
        self.looked = self.began
        self.problem, self.told = "", False
        self.events: set[str] = set()
        self.mounts: dict[str, int] = {}

    def check(self, pod: k8s.V1Pod) -> None:
        """Raise the problem that keeps the pod from starting, if it isn't one that goes away by itself.

        Raises:
            AirflowFailException: a retry can't help.
            AirflowException: one may.
        """
        now = time.monotonic()
        problem = pod_states.find_problem(pod, self.image, self.waits_for_nodes)
        text = problem.text if problem else ""
        if bool(text) != bool(self.problem):
            self.since, self.told = now, False
        self.problem = text
        if problem and now - self.since >= problem.patience:
            raise (AirflowFailException if problem.lasting else AirflowException)(text)
        if problem and now - self.since >= TOLD_AFTER and not self.told:
            self.told = True
            logging.getLogger(__name__).warning("%s", text)
        if now - self.began > self.seconds:
            raise AirflowException(f"the pod has not started within {self.seconds} s: {text or 'its image takes long'}")

    def asks_for_events(self) -> bool:
        """Tell, every 5 seconds, whether it is time to look at the pod's events."""
        if self.problem or time.monotonic() - self.looked < 5:
            return False
        self.looked = time.monotonic()
        return True


def _marker(pod: k8s.V1Pod) -> str:
    """Return what the lines of a pod's result begin with: an earlier try may have chosen it."""
    for variable in pod_states.find_specification(pod).env or ():
        if variable.name == runner.RESULT_MARKER:
            return variable.value or ""
    return ""


def _may_pass(error: ApiException) -> bool:
    """Tell whether the same request may be answered otherwise soon."""
    # Pods that are made at the same time may collide where their namespace's quota is counted.
    collided = error.status == 409 and "object has been modified" in _message(error)
    return collided or error.status in (None, 0, 429, 500, 502, 503, 504)


def _is_lost(pod: k8s.V1Pod) -> bool:
    """Tell whether a pod is deleted, and its node has long not said that it ended it."""
    # That time includes what the pod has been given to end by itself.
    ends: datetime.datetime | None = pod.metadata.deletion_timestamp
    return ends is not None and (datetime.datetime.now(datetime.UTC) - ends).total_seconds() > NODE_PATIENCE


def _message(error: ApiException) -> str:
    """Return what the cluster says, without what was asked for."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or "no reason given")
