"""What tokens of a model cost, as its maker lists it: an estimate, for the budget of a user."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """Cents for a million tokens in, and out."""

    input: int
    output: int

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """In millionths of a dollar, rounded up."""
        return -(-(input_tokens * self.input + output_tokens * self.output) // 100)


_LISTED: tuple[tuple[str, Price], ...] = (
    ("claude-haiku-5", Price(50, 250)),
    ("claude-haiku", Price(100, 500)),
    ("claude-sonnet-5", Price(200, 1000)),
    ("claude-sonnet", Price(300, 1500)),
    ("claude-opus-5-5", Price(400, 2000)),
    ("claude-opus", Price(500, 2500)),
    ("claude-fable", Price(1000, 5000)),
    ("claude-mythos", Price(1000, 5000)),
)
"""By the beginning of the model's name; the first that fits."""
UNKNOWN = Price(1500, 7500)
"""A model that is not listed is taken for a dear one: a budget may end early, never late."""


def price_of(model: str) -> Price:
    """What this model costs."""
    return next((price for prefix, price in _LISTED if model.startswith(prefix)), UNKNOWN)
