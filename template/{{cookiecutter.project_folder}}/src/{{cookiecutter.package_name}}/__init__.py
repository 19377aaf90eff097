"""Everything this project's tasks run. Kept empty, so that importing one module costs no other."""

__version__ = "0.1.0"
