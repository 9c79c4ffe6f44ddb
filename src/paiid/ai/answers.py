"""An answer while it grows, and as its caller gets it: text, figures, where it comes from, what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from paiid.ai.conversation import Spent
from paiid.ai.facts import Fact
from paiid.ai.guard import Passed

Source = Literal["anthropic", "rules"]
Reason = Literal["no_key", "budget", "busy", "resting", "draining", "nothing_left"]
"""Why the rules answered: there is no key, the day's budget is spent, too many ask the model, it failed again and again just now, this
process ends, no sentence passed the guard. Beside these, why the model failed (`model.Why`)."""
Tell = Callable[[dict[str, Any]], None]

LEFT_OUT = "Sentences with figures or claims of the model's own were left out."
_MOST_FIGURES = 400


def nobody(event: dict[str, Any]) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Growing:
    """Takes sentences as they come and tells them: first the figures that are new, then the text."""

    tell: Tell = nobody
    parts: list[str] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    _anew: bool = False

    def take(self, sentence: Passed) -> None:
        """One more."""
        fresh = [fact for fact in sentence.facts if fact.id not in self.facts]
        if fresh:
            self.facts.update({fact.id: fact for fact in fresh[: _MOST_FIGURES - len(self.facts)]})
            self.tell({"type": "figures", "figures": [fact.told() for fact in fresh]})
        self.parts.append(sentence.text)
        event: dict[str, Any] = {"type": "text", "text": sentence.text}
        if self._anew:
            event["replaces"], self._anew = True, False
        self.tell(event)

    def begin_anew(self) -> None:
        """What was said so far does not count."""
        self._anew = bool(self.parts)
        self.parts.clear()
        self.facts.clear()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts).strip()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    id: str
    source: Source
    model: str | None
    text: str
    facts: Sequence[Fact]
    withheld: int
    spent: Spent
    budget: dict[str, Any]
    reason: str | None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        view: dict[str, Any] = {"id": self.id, "source": self.source}
        if self.model is not None:
            view["model"] = self.model
        view |= {
            "text": self.text,
            "figures": [fact.told() for fact in self.facts],
            "withheld": self.withheld,
            "usage": {
                "input_tokens": self.spent.input_tokens,
                "output_tokens": self.spent.output_tokens,
                "usd": self.spent.cost / 1_000_000,
            },
            "budget": self.budget,
        }
        if self.reason is not None:
            view["reason"] = self.reason
        return view
