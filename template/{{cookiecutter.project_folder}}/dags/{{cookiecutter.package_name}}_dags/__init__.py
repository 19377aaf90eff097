"""What all DAGs of this project share: the environment their tasks run in, and the image they run from."""

import os

# dev: the tasks run in Airflow's own Python; prod_local: in pods on this machine; prod: in pods in Airflow's cluster.
ENV = os.environ.get("GAIAFLOW_ENV", "dev")
IMAGE = os.environ.get("GAIAFLOW_IMAGE", "{{ cookiecutter.package_name }}:0.1.0")
