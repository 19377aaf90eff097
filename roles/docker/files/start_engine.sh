#!/bin/sh
# Starts dockerd on a host where no init does, in place of the one that runs, and returns when it answers.
set -eu

pid_file=/run/docker.pid
if [ -s "$pid_file" ] && kill "$(cat "$pid_file")" 2>/dev/null; then
    while [ -e "$pid_file" ]; do sleep 0.2; done
fi
# As in gaiaflow_docker.py: a host that is a container itself.
[ -w /proc/sys/net ] || export DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1
setsid dockerd >>/var/log/docker.log 2>&1 </dev/null &
for _ in $(seq 100); do
    docker version >/dev/null 2>&1 && exit 0
    sleep 0.2
done
tail -n 20 /var/log/docker.log >&2
exit 1
