"""Following a command: what it says and when, and what it is given."""

import sys

from benchmarks.commands import follow_command


def test_every_line_is_kept_with_its_time() -> None:
    says = "import time; print('first', flush=True); time.sleep(0.05); print('second')"
    cost, lines = follow_command([sys.executable, "-c", says])
    assert [line.text for line in lines] == ["first\n", "second\n"]
    assert lines[0].seconds + 0.04 < lines[1].seconds <= cost.seconds


def test_a_command_gets_variables_beside_those_of_this_process() -> None:
    asks = "import os; print(os.environ['GIVEN'], 'PATH' in os.environ)"
    _, lines = follow_command([sys.executable, "-c", asks], {"GIVEN": "it"})
    assert lines[-1].text.split() == ["it", "True"]
