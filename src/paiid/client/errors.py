"""What can go wrong for a client, by what it means for him.

ClientError
  ApiError            the service said no, and why
    SignedOut         no session any more: sign in again
  Unreachable         no answer within the patience given; an order's key is kept, `recover` it
  StillUnknown        the service answers, but an outcome is still being looked up
  KeyFileError        the file of keys is in use, or damaged
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ClientError(Exception):
    """Anything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of a request that was wrong."""

    field: str
    code: str
    message: str


class ApiError(ClientError):
    """A refusal: `status` (HTTP), `code` (the end of the problem's type, such as `validation`), `detail` in words."""

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)


class SignedOut(ApiError):
    """401, and refreshing did not help."""


class Unreachable(ClientError):
    """No answer in time."""


class StillUnknown(ClientError):
    """An outcome is still being looked up by the service; `key` asks again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the outcome of {key} is not known yet; recover it later")
        self.key = key


class KeyFileError(ClientError):
    """The file of keys cannot be used."""
