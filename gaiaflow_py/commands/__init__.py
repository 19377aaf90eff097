"""The commands, one module each, imported when used. Each holds a `command`."""
