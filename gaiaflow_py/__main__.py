"""`python -m gaiaflow_py` is `gaiaflow-setup`."""

from gaiaflow_py.cli import main

main()
