#!/bin/sh
# Add the names to the node's /etc/hosts that Minikube has put there: the engine writes the file anew at each start of
# the node. The kubelet runs this first, as kube-proxy gets a copy; without the API server's name in it, no pod finds a
# name, and no service is reached.
set -eu
if grep -q control-plane.minikube.internal /etc/hosts; then
    exit
fi
node=$(getent ahostsv4 "$(hostname)" | awk 'NR == 1 { print $1 }')
gateway=$(ip route show default | awk 'NR == 1 { print $3 }')
printf '%s\t%s\n' "$node" control-plane.minikube.internal "$gateway" host.minikube.internal >>/etc/hosts
