"""Every test here needs the kernel world, and every one must leave this machine as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from kernel_footprint import footprint

from natsim.kernel import available


@pytest.fixture(scope="session")
def problem() -> str | None:
    return available()


@pytest.fixture(autouse=True)
def _untouched(problem: str | None) -> Iterator[None]:
    """Skip where the kernel world cannot be built; else look at the machine before and after."""
    if problem:
        if os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
            pytest.fail(f"PUNCHKIT_REQUIRE_ALL=1, but: {problem}")
        pytest.skip(problem)
    before = footprint()
    yield
    assert footprint() == before
