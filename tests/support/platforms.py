"""What only some operating systems can do."""

import sys

import pytest

only_where_deaths_are_signalled = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process that its parent died"
)
