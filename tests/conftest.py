"""What all tests share: an interrupt is one, even where a shell started them in the background, which ignores it."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
