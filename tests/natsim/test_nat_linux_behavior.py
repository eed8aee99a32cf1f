"""The knobs of a Linux router: names for values, and good words for bad ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natsim import LinuxBehavior, Masquerade, WanInput, two_nats
from natsim.kernel.nftables import KernelCannot, check, nat_rules, nat_sysctls
from natsim.nat.linux import LinuxTimeouts


def test_values_have_names() -> None:
    named = LinuxBehavior(masquerade="fully_random", wan_input="reject", port_mapping="upnp")
    assert named == LinuxBehavior(Masquerade.FULLY_RANDOM, WanInput.REJECT, port_mapping=("upnp",))
    assert hash(named) == hash(replace(named))


@pytest.mark.parametrize(
    ("behavior", "shown"),
    [
        (LinuxBehavior(), "LinuxBehavior()"),
        (LinuxBehavior("none"), "LinuxBehavior(masquerade=Masquerade.NONE)"),
        (LinuxBehavior(block_udp=True, port_mapping=("pcp",)), "LinuxBehavior(block_udp=True, port_mapping=('pcp',))"),
        (LinuxBehavior(timeouts=LinuxTimeouts(udp=60)), "LinuxBehavior(timeouts=LinuxTimeouts(udp=60))"),
    ],
)
def test_a_behavior_prints_as_the_call_that_makes_it(behavior: LinuxBehavior, shown: str) -> None:
    assert repr(behavior) == shown
    assert eval(shown) == behavior


@pytest.mark.parametrize(
    ("knobs", "error", "words"),
    [
        ({"masqurade": "plain"}, TypeError, "did you mean masquerade"),
        ({"masquerade": "full-random"}, ValueError, "did you mean fully-random"),
        ({"wan_input": "rejct"}, ValueError, "wan_input cannot be 'rejct'; did you mean reject"),
        ({"wan_input": Masquerade.NONE}, ValueError, "wan_input cannot be"),
        ({"port_mapping": ("upmp",)}, ValueError, "did you mean upnp"),
        ({"block_udp": "no"}, ValueError, "block_udp is True or False"),
        ({"timeouts": 30}, ValueError, "timeouts are a LinuxTimeouts"),
    ],
)
def test_a_misspelt_knob_gets_the_nearest_one(knobs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        LinuxBehavior(**knobs)


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "30", True])
def test_a_timeout_is_a_whole_number_of_seconds_as_a_sysctl_is(seconds: Any) -> None:
    with pytest.raises(ValueError, match="udp is a whole number"):
        LinuxTimeouts(udp=seconds)
    with pytest.raises(TypeError, match="did you mean udp"):
        LinuxTimeouts(upd=30)


# -- As nft and sysctl say it ----------------------------------------------------------------------------------------


def test_each_timeout_has_its_sysctl() -> None:
    sysctls = nat_sysctls(LinuxBehavior(timeouts=LinuxTimeouts(udp_stream=7)))
    assert sysctls["netfilter/nf_conntrack_udp_timeout"] == "30"
    assert sysctls["netfilter/nf_conntrack_udp_timeout_stream"] == "7"
    assert sysctls["netfilter/nf_conntrack_tcp_timeout_syn_sent"] == "120"
    assert len(sysctls) == 13


@pytest.mark.parametrize("masquerade", Masquerade)
def test_what_is_invalid_is_never_forwarded(masquerade: Masquerade) -> None:
    forward = nat_rules(LinuxBehavior(masquerade)).partition("chain forward")[2]
    assert forward.index("ct state invalid drop") < forward.index("accept\n    iifname")


def test_the_kernel_world_has_no_port_mapping_server_and_says_so() -> None:
    net = two_nats(LinuxBehavior(port_mapping=("nat-pmp", "pcp")), "linux")
    with pytest.raises(KernelCannot) as caught:
        check(net)
    for part in ("nat-pmp or pcp", "nat_a", "Leave port_mapping out", 'world="sim"'):
        assert part in str(caught.value)
    check(two_nats(LinuxBehavior(timeouts=LinuxTimeouts(udp=1)), "linux"))
