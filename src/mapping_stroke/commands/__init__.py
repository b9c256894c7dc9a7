"""One file per command: a frozen dataclass whose fields are its options and whose `run` parses, calls and prints."""
