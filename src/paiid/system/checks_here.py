"""Checks of this process itself, and of what it has been told: no question to anybody."""

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from paiid.core.settings import Settings
from paiid.system.checks import Down, Probe, Told

_LATE_S = 0.25
_STANDS_S = 1.0
_SHOWN = 5


class TellsLag(Protocol):
    """What measures how late the event loop is."""

    @property
    def worst_s(self) -> float:
        """The worst of the last 10 s."""
        ...


class TellsAnswers(Protocol):
    """The AI services, as far as health asks: no request to the model."""

    @property
    def configured(self) -> bool:
        """Whether a model may be asked."""
        ...

    @property
    def last_problem(self) -> str | None:
        """Why the last request failed, in words for anybody; None where it did not."""
        ...


def event_loop_probe(find: Callable[[], object]) -> Probe:
    """Whether what is due is run in time. `find` gives a TellsLag, or None. Raises Down."""

    async def probe() -> Told:
        lag = cast(TellsLag | None, find())
        if lag is None:
            return Told("not measured", "unconfigured")
        worst_s = lag.worst_s
        if worst_s > _STANDS_S:
            raise Down(f"it stood still for {worst_s:.1f} s in the last seconds")
        if worst_s > _LATE_S:
            return Told(f"it was late by {worst_s:.2f} s in the last seconds")
        return Told("it turns")

    return probe


def background_probe(failing: Callable[[], Mapping[str, str]]) -> Probe:
    """Whether all background work goes on."""

    async def probe() -> Told:
        names = sorted(failing())
        figures = {"background_failing": float(len(names))}
        if not names:
            return Told("all of it goes on", figures=figures)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return Told(
            f"broken just now, and begun again: {', '.join(names[:_SHOWN])}{more}",
            "degraded",
            figures=figures,
        )

    return probe


def ai_probe(settings: Settings, find: Callable[[], object]) -> Probe:
    """Whether the model answered when it was last asked; without a key it is not configured, and rules answer. Raises Down."""

    async def probe() -> Told:
        service = cast(TellsAnswers | None, find())
        configured = settings.asks_anthropic if service is None else service.configured
        if not configured:
            return Told("not configured: rules answer", "unconfigured")
        problem = None if service is None else service.last_problem
        if problem is not None:
            raise Down(f"rules answer: {problem}")
        return Told("configured")

    return probe
