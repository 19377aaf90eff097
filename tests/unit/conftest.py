"""The fixtures that tests of several parts use."""

from cli_content import content as content
from doctor_machine import machine as machine
