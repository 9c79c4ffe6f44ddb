"""Every limit of the AI services by name; docs/limits.md tells them to users, and a test meets each from both sides (A9)."""

from dataclasses import dataclass

MESSAGES = 20
"""Messages of one conversation, as the caller sends it each time."""
TEXT_BYTES = 8 * 1024
"""Bytes of all their texts together, in UTF-8."""
QUESTION = 2000
"""Characters of the question that goes with an explanation."""
ID = 64
"""Characters of the id of an account or an order."""
SYMBOL = 24
"""Characters of a symbol."""
REQUESTS = (20, 10)
"""Requests of a user a minute for ever, and at once."""
AT_ONCE_A_USER = 2
"""Requests of one user under way, in this process."""
AT_ONCE = 8
"""Requests under way in a process that ask the model; more are answered by the rules."""
ROUNDS = 6
"""Times that one answer asks the model; in all but the last it may ask for data."""
CALLS_A_ROUND = 8
"""Tools that it may use at a time."""
FACTS = 400
"""Figures that one answer may have been given."""
READ_BYTES = 12 * 1024
"""Bytes of what one tool hands over."""
ITEMS = 50
"""Positions, orders, fills or contracts of one tool's answer."""
OUTPUT_TOKENS = 1500
"""Tokens that the model may write in one round."""
MOST_TOKENS = 1_000_000
"""Tokens that an exchange may be said to have used, in or out; no model takes more, and a bigger count is no count."""
SENTENCE = 2000
"""Characters of a sentence; a longer one is left out."""
TOLD_BYTES = 2 * 1024 * 1024
"""Bytes of one answer of the model's interface as it comes; what is longer is not read."""
BLOCK_CHARS = 64 * 1024
"""Characters of one block of it: what it says, thinks, or asks a tool for."""
RESERVED_S = 120.0
"""How long a reservation counts if nobody settles it: longer than an answer may take."""


@dataclass(frozen=True, slots=True)
class AiTimings:
    """How long things take; tests make them short."""

    connect_s: float = 3.0
    """Until the model's interface takes the connection."""
    silence_s: float = 20.0
    """Between two pieces of what it says."""
    answer_s: float = 60.0
    """For the whole answer."""
    resting_s: float = 30.0
    """How long a model that failed again and again is left alone."""
    failures: int = 3
    """So many failures in a row are again and again."""
