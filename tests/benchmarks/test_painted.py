"""`python -m benchmarks painted`: what it counts."""

from benchmarks.painted import Found, describe_painted


def test_means_are_given_for_all_and_for_each_kind() -> None:
    found = [
        Found("a", 10.0, at_surface=True, half=0.8, ruled=0.6, outside_ml=1.0),
        Found("b", 5.0, at_surface=False, half=0.4, ruled=0.0, outside_ml=0.0),
    ]
    text = describe_painted(found, "a model")
    assert "| all | 2 | 0.600 | 0.300 | 1 | 0.50 |" in text
    assert "| at the surface | 1 | 0.800 | 0.600 | 0 | 1.00 |" in text
    assert "| deep | 1 | 0.400 | 0.000 | 1 | 0.00 |" in text
    assert text.endswith("| b | 5.0 | no | 0.40 | 0.00 |\n| a | 10.0 | yes | 0.80 | 0.60 |\n")
