"""What a caller may ask the AI services."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from paiid.ai.limits import ID, MESSAGES, QUESTION, SYMBOL, TEXT_BYTES
from paiid.core.json import StrictModel
from paiid.domain.instruments import parse_any_symbol

Kind = Literal["position", "order", "chain", "portfolio", "risk", "halt"]
Account = Annotated[
    Annotated[str, Field(min_length=1, max_length=ID, pattern=r"^[A-Za-z0-9._:-]+$")] | None,
    Field(description="An account's id; default: yours."),
]


class MessageBody(StrictModel):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class ChatBody(StrictModel):
    """The conversation so far; the last message is the user's. What stands under `assistant` is taken for the caller's words too."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=MESSAGES)]
    account: Account = None

    @field_validator("messages")
    @classmethod
    def _fits(cls, messages: list[MessageBody]) -> list[MessageBody]:
        if sum(len(one.content.encode()) for one in messages) > TEXT_BYTES:
            raise PydanticCustomError("too_much_text", f"all texts together may have {TEXT_BYTES} bytes")
        if messages[-1].role != "user":
            raise PydanticCustomError("last_message", "the last message must be the user's")
        return messages


class ExplainBody(StrictModel):
    """What is to be explained: a position or a chain by `symbol`, an order by `order`."""

    kind: Kind
    symbol: Annotated[
        Annotated[str, Field(max_length=SYMBOL)] | None, Field(description="A ticker, or an OCC symbol.")
    ] = None
    order: Annotated[
        Annotated[str, Field(min_length=1, max_length=ID, pattern=r"^[A-Za-z0-9._:-]+$")] | None,
        Field(description="The order's id."),
    ] = None
    expiration: Annotated[
        Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None,
        Field(description="Of a chain, such as 2026-12-18; default: the nearest."),
    ] = None
    account: Account = None
    question: Annotated[
        Annotated[str, Field(min_length=1, max_length=QUESTION)] | None,
        Field(description="What of it is not clear."),
    ] = None

    @field_validator("symbol")
    @classmethod
    def _is_symbol(cls, symbol: str | None) -> str | None:
        if symbol is None:
            return None
        try:
            return parse_any_symbol(symbol)
        except ValueError as error:
            raise PydanticCustomError("symbol", str(error).replace("{", "(").replace("}", ")")) from None

    @model_validator(mode="after")
    def _fits(self) -> "ExplainBody":
        needed = {"position": "symbol", "chain": "symbol", "order": "order"}.get(self.kind)
        named = {"symbol": self.symbol, "order": self.order, "expiration": self.expiration}
        if needed is not None and named[needed] is None:
            raise PydanticCustomError("missing", "is required", {"at": needed})
        allowed = (needed, "expiration") if self.kind == "chain" else (needed,)
        for name, value in named.items():
            if value is not None and name not in allowed:
                raise PydanticCustomError(
                    "not_of_this_kind", "does not belong to this kind; leave it out", {"at": name}
                )
        return self


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to go on with: (role, text) of each message."""

    messages: tuple[tuple[str, str], ...]
    account: str | None
    action = "ai.chat"

    @property
    def question(self) -> str:
        """What was said last."""
        return self.messages[-1][1]


@dataclass(frozen=True, slots=True)
class Explain:
    """Something to explain."""

    kind: Kind
    symbol: str | None
    order: str | None
    expiration: str | None
    account: str | None
    question: str | None
    action = "ai.explain"


Asked = Chat | Explain
