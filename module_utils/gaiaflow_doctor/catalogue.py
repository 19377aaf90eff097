"""All checks, in the order in which they are shown and their troubles mended."""

from __future__ import annotations

from ansible.module_utils.gaiaflow_doctor import client, cluster, docker, leftovers, machine, minikube, names, tasks
from ansible.module_utils.gaiaflow_doctor.core import Check

CHECKS = (
    Check("kernel", "kernel", machine.look_for_kernel),
    Check("memory", "memory", machine.look_for_memory),
    Check("disk", "disk", machine.look_for_disk),
    Check("inotify", "inotify limits", machine.look_for_inotify),
    Check("clock", "clock", machine.look_for_clock),
    Check("owners", "owners of files", machine.look_for_owners),
    Check("ports", "ports", machine.look_for_ports),
    Check("docker_settings", "Docker's daemon.json", docker.look_for_settings),
    Check("docker_dns", "names in containers", names.look_for_dns),
    Check("docker_pid", "Docker's pid file", docker.look_for_pid_file),
    Check("docker_daemon", "Docker engine", docker.look_for_daemon),
    Check("docker_version", "Docker's version", docker.look_for_version),
    Check("docker_socket", "Docker's socket", docker.look_for_socket),
    Check("docker_group", "Docker's group", docker.look_for_group),
    Check("docker_config", "Docker's config.json", client.look_for_config),
    Check("docker_helpers", "credential helpers", client.look_for_helpers),
    Check("docker_context", "Docker context", client.look_for_context),
    Check("docker_proxy", "proxies", client.look_for_proxy),
    Check("docker_leftovers", "containers left over", leftovers.look_for_containers),
    Check("minikube", "Minikube profile", minikube.look_for_minikube),
    Check("cluster", "Kubernetes", cluster.look_for_cluster, cluster.CLUSTER_S),
    Check("tasks", "Airflow's tasks", tasks.look_for_tasks, tasks.TASKS_S),
    Check("supervisors", "supervisors left over", leftovers.look_for_supervisors),
    Check("environments", "environments left over", leftovers.look_for_environments),
    Check("runs", "runs left over", leftovers.look_for_runs),
)
