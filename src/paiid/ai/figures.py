"""What is counted of the AI services, for metrics."""

from collections.abc import Iterator
from typing import Any

from paiid.core.figures import SLOW_S, Histogram, Tally


class AiFigures:
    """Answers, tokens and costs of this process."""

    def __init__(self) -> None:
        self.requests = Tally("source", "reason")
        self.tokens = Tally("kind")
        self.cost = Tally()
        self.withheld = Tally()
        self.seconds = Histogram("source", bounds=SLOW_S)

    def answered(self, source: str, reason: str, withheld: int, took_s: float) -> None:
        """One answer; `reason` is why the rules gave it, empty where they did not."""
        self.requests.add(source, reason)
        self.seconds.observe(took_s, source)
        if withheld:
            self.withheld.add(n=withheld)

    def spent(self, input_tokens: int, output_tokens: int, cost: int) -> None:
        """Tokens, and millionths of a dollar."""
        for kind, count in (("input", input_tokens), ("output", output_tokens)):
            if count:
                self.tokens.add(kind, n=count)
        if cost:
            self.cost.add(n=cost / 1_000_000)

    def exposed(self) -> Iterator[tuple[str, str, Any]]:
        """(name, help, figure) of each."""
        yield "paiid_ai_requests_total", "Answers by source, and why the rules gave them.", self.requests
        yield "paiid_ai_tokens_total", "Tokens that the model was sent and has written.", self.tokens
        yield "paiid_ai_cost_dollars_total", "What they cost, by listed prices.", self.cost
        yield "paiid_ai_withheld_sentences_total", "Sentences of the model that were left out.", self.withheld
        yield "paiid_ai_request_seconds", "From a question to its whole answer.", self.seconds
