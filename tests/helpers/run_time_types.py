"""How types and array shapes are checked while the tests run."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""A whole number may stand for a float, as static type checkers have it."""
