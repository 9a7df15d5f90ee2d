"""Expressions of PromQL. The values of labels are regular expressions."""

DASHBOARD_WINDOW = "$__rate_interval"
"""Grafana chooses it."""
FAULT_CODES = "INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN|DATA_LOSS"
"""What a service answers when the fault is not its caller's."""


def series(metric: str, **labels: str) -> str:
    chosen = ", ".join(f"{name}=~'{value}'" for name, value in labels.items())
    return f"{metric}{{{chosen}}}" if chosen else metric


def by(labels: str, expression: str, aggregation: str = "sum") -> str:
    return f"{aggregation} by ({labels}) ({expression})"


def rate(metric: str, labels: str, window: str = DASHBOARD_WINDOW, **where: str) -> str:
    """How much a counter grows a second."""
    return by(labels, f"rate({series(metric, **where)}[{window}])")


def calls(histogram: str, labels: str, window: str = DASHBOARD_WINDOW, **where: str) -> str:
    """How many a histogram observes a second."""
    return rate(f"{histogram}_count", labels, window, **where)


def quantile(part: float, histogram: str, labels: str, window: str = DASHBOARD_WINDOW, **where: str) -> str:
    """What so large a part of that which a histogram observes is not above."""
    return f"histogram_quantile({part}, {rate(f'{histogram}_bucket', f'le, {labels}', window, **where)})"


def or_zero(part: str, whole: str) -> str:
    """The part, which is 0 where there is none of it in a whole."""
    return f"{part} or 0 * {whole}"


def ratio(part: str, whole: str) -> str:
    return f"({or_zero(part, whole)}) / {whole}"
