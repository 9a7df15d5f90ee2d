"""When a failed call is made again: with what pause, and whether there is still credit for it."""

import random

from services.chassis.contract import Retry

TOKENS = 100.0
TOKEN_RATIO = 0.1


class RetryBudget:
    """Keeps retries from melting a service that is down (gRFC A6, `retryThrottling`).

    Every failure that a retry might mend costs a token, every success earns a tenth of one.
    There is no retry while half of the tokens are gone: in an outage some fifty retries are
    made, whatever the number of calls.
    """

    def __init__(self) -> None:
        self._tokens = TOKENS

    def succeeded(self) -> None:
        """A call has succeeded."""
        self._tokens = min(TOKENS, self._tokens + TOKEN_RATIO)

    def failed(self) -> bool:
        """A call has failed in a way that may pass; tells whether it may be made again."""
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > TOKENS / 2


def backoff(retry: Retry, attempt: int) -> float:
    """How many seconds to wait after an attempt, the first of which is 1.

    A random part of a time that doubles ("full jitter"): callers that failed together come back apart.
    """
    return random.random() * min(retry.max_backoff, retry.initial_backoff * 2.0 ** (attempt - 1))
