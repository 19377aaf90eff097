"""The thin wrapper of gaiaflow-setup: commands become playbooks, run through ansible-runner."""

__version__ = "0.1.0"
