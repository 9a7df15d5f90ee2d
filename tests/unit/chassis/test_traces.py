"""Which headers name a trace."""

import pytest

from services.chassis.traces import TRACEPARENT, is_sampled, span_id, trace_id, unsampled

TRACE, SPAN = f"{1:032x}", f"{2:016x}"


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-ff"])
def test_a_header_as_the_standard_writes_it_names_a_trace(header: str) -> None:
    assert TRACEPARENT.fullmatch(header)
    assert (trace_id(header), span_id(header)) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-00",
        f"00-{0:032x}-{SPAN}-00",
        f"00-{TRACE}-{0:016x}-00",
        f"00-{TRACE.upper()[:-1]}A-{SPAN}-00",
        f"00-{TRACE[1:]}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-00-more",
        f"00-{TRACE}-{SPAN}-00\n",
    ],
)
def test_any_other_header_names_none(header: str) -> None:
    assert not TRACEPARENT.fullmatch(header)


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_last_bit_of_the_flags_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:  # noqa: FBT001
    assert is_sampled(f"00-{TRACE}-{SPAN}-{flags}") is sampled


def test_a_new_trace_that_nobody_collects_has_a_name_of_its_own() -> None:
    traces = {unsampled() for _ in range(1000)}

    assert len({trace_id(each) for each in traces}) == 1000
    assert all(TRACEPARENT.fullmatch(each) and not is_sampled(each) for each in traces)
