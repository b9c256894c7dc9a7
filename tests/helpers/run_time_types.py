"""How types and array shapes are checked at run time (`make test TYPES=1`): by beartype, with jaxtyping for arrays."""

from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError

checked = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError))
"""A whole number may stand for a float, as static type checkers have it."""
