"""A package for an image to hold."""

__version__ = "0.1.0"
