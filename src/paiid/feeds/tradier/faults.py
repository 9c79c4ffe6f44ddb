"""Why a connection of the market stream is of no use, and how soon another may be tried."""

from typing import Literal

Pause = Literal["now", "moment", "quick", "grown", "crowded", "slow"]
"""`now`: it was our own wish. `crowded`: another session may hold our only place; `moment`: it was ours. `slow`: somebody has to do
something first."""


class StreamFault(Exception):
    """The text is safe to show."""

    def __init__(self, words: str, pause: Pause = "grown") -> None:
        super().__init__(words)
        self.pause = pause


def fault_of_words(told: str) -> StreamFault | None:
    """What an error in the stream's or a session's own words means; None where it is not about the session. In our words: theirs may hold
    anything, and only one of them is confirmed (tradier.md, sections 9.1 and 9.2)."""
    words = told.lower()
    if "too many sessions" in words:
        return StreamFault("Tradier has no place for another market session of this user", "crowded")
    return StreamFault("Tradier does not take the session") if "session" in words else None


def fault_of_status(what: str, status: int) -> StreamFault:
    """What a status means for the connection; 400 and 404 are those of a Tradier without a stream, as the sandbox is (section 10)."""
    pauses: dict[int, Pause] = {400: "slow", 401: "slow", 403: "slow", 404: "slow", 429: "crowded"}
    return StreamFault(f"{what} answered {status}", pauses.get(status, "grown"))
