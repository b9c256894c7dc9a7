"""The command line: each command is a frozen dataclass whose fields are its options and whose `run` calls and prints.

Imports everything below it, but only when a command runs, so that `mapping --help` loads no torch.
"""
