"""A child that runs one row at full size, and prints by how many bytes it grew and how many a body may have."""

from __future__ import annotations

import re
import sys

from arshai_kit import openai_compatible
from tests.badinput.hungry import peak
from tests.faults.proving import ran_alone
from tests.faults.rows import MUCH, Answers, Fails, Row
from tests.faults.server import hello
from tests.faults.table import named
from tests.faults.ways import WAYS

USUAL = openai_compatible("toy-1", base_url="http://127.0.0.1/v1", api_key="sk-1").max_body


def main(name: str, way: str) -> None:
    """Run the row of this *name* (its group before it) this *way*, after an ordinary one."""
    (asked,) = [each for each in WAYS if each.name == way]
    row, came = named()[name], ran_alone(Row("usual", (hello,), Answers()), asked, **MUCH)
    if came.error is not None:
        raise came.error
    before = peak()
    came = ran_alone(row, asked, **{**MUCH, **row.options, "max_body": USUAL})
    print(peak() - before, USUAL)
    expected = row.expects(asked)
    assert isinstance(expected, Fails)
    assert type(came.error) is expected.error
    assert re.search(expected.says, str(came.error))


if __name__ == "__main__":
    main(*sys.argv[1:])
