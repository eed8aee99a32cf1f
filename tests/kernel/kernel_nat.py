"""What the tests of the kernel's NAT have in common."""

from __future__ import annotations

import platform

import pytest

#: What is said here of conntrack was seen on this kernel.  Others may differ in small ways, which is no bug of ours.
SEEN_ON = "6.18"
as_seen = pytest.mark.xfail(
    not platform.release().startswith(f"{SEEN_ON}."),
    reason=f"this is Linux {platform.release()}, and conntrack was watched on {SEEN_ON}",
    strict=False,
)
