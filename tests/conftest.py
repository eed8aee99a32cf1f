"""Fixtures for every test."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def kernel() -> None:
    """Skip where the kernel world cannot be built; under PUNCHKIT_REQUIRE_ALL=1, fail instead."""
    from natsim.kernel import available

    problem = available()
    if problem and os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
        pytest.fail(f"PUNCHKIT_REQUIRE_ALL=1, but: {problem}")
    if problem:
        pytest.skip(problem)
