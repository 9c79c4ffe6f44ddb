"""What an answer of Tradier's means: a yes, a definite no with our code for its reason, or unknown (contract E11).

A 200 proves nothing by itself (section 6.3), a 401 may say that there is no such order (section 6.7), and a text may be all
there is (section 4). A read that fails is told by the same errors, although nothing hangs on which.
"""

import re
from collections.abc import Mapping

from paiid.brokers import BrokerError, BrokerRejected, OutcomeUnknown
from paiid.brokers.tradier.reasons import code_of
from paiid.wires.tradier.lists import absent
from paiid.wires.tradier.wire import Answer
from paiid.wires.values import fields_of, flag_of, message_of, text_of, word_of

__all__ = ["judge_canceled", "judge_changed", "judge_placed", "judge_preview", "judge_read", "no_such_order"]

_REFUSED = frozenset({400, 401, 403, 429})
"""With these, nothing was placed (contract E11)."""
_ID = re.compile(r"[1-9][0-9]{0,18}\Z", re.ASCII)
_OTHERS_ACCOUNT = re.compile(r"unauthorized account", re.IGNORECASE)
_OWN_FAILURE = re.compile(
    r"unexpected server error|internal server error|communicating with the backend|datastore error|omsinternalerror",
    re.IGNORECASE,
)
"""Words by which the provider says that it failed itself, under whatever status: they refuse nothing."""
_DEFAULT_WORDS: Mapping[int, str] = {
    400: "The broker cannot take this.",
    401: "The broker does not accept the token.",
    403: "The broker refuses this.",
    404: "The broker knows nothing there.",
    429: "The broker was asked too often within a minute.",
}


def no_such_order(answer: Answer) -> bool:
    """Whether an answer under the path of an order says that the account has none with this id: a 401 with the text
    `Unauthorized Account: …`, for the id of somebody else's order too (section 6.7)."""
    return answer.status == 401 and any(_OTHERS_ACCOUNT.search(one) for one in answer.words)


def judge_read(answer: Answer) -> object:
    """The parsed body of a read. Raises BrokerRejected for a definite no (`invalid_credentials`, `unknown_account`,
    `rate_limited`, `endpoint_not_found`, …), OutcomeUnknown for what is neither."""
    if answer.ok:
        if not _has_errors(answer.data):
            return answer.data
        raise _refusal(answer, "malformed_request")
    if answer.status == 404:
        raise BrokerRejected("endpoint_not_found", _words(answer))
    raise _no(answer, "malformed_request")


def judge_placed(answer: Answer) -> str:
    """The id of the order that was placed: a 200 without `errors`, with `status` ok and a whole number as `id`.

    Raises BrokerRejected where nothing was placed, OutcomeUnknown for everything else.
    """
    return _accepted(answer, "invalid_order")


def judge_changed(answer: Answer, order_id: str) -> None:
    """Whether a change was taken. Raises BrokerRejected (`not_found`, `not_replaceable`, …), OutcomeUnknown."""
    _judge_existing(answer, order_id, "not_replaceable")


def judge_canceled(answer: Answer, order_id: str) -> None:
    """Whether the request to cancel was taken. Raises BrokerRejected (`not_found`, `not_cancelable`, …),
    OutcomeUnknown."""
    _judge_existing(answer, order_id, "not_cancelable")


def judge_preview(answer: Answer) -> Mapping[str, object]:
    """The order that a preview describes (section 6.4). Raises BrokerRejected with the reason, OutcomeUnknown."""
    if not answer.ok:
        raise _no(answer, "invalid_order")
    order = _order_without_errors(answer, "invalid_order")
    if word_of(order.get("status")) != "ok":
        raise OutcomeUnknown("the broker's preview could not be read")
    return order


def _judge_existing(answer: Answer, order_id: str, otherwise: str) -> None:
    if no_such_order(answer):
        raise BrokerRejected("not_found", "There is no such order in this account.")
    told = _accepted(answer, otherwise)
    if told != order_id:
        raise OutcomeUnknown("the broker answered for another order")


def _accepted(answer: Answer, otherwise: str) -> str:
    if not 200 <= answer.status < 300:
        raise _no(answer, otherwise)
    if not answer.readable:
        raise OutcomeUnknown(f"the broker answered {answer.status} with something unreadable")
    order = _order_without_errors(answer, otherwise)
    order_id = _id_of(order)
    if word_of(order.get("status")) != "ok" or order_id is None or flag_of(order.get("result")) is False:
        raise OutcomeUnknown(f"the broker answered {answer.status}, but not that it took the order")
    return order_id


def _order_without_errors(answer: Answer, otherwise: str) -> Mapping[str, object]:
    """The `order` of a 2xx. Raises for errors beside it and in it: a no only where there is no order at all."""
    told = fields_of(answer.data).get("order")
    order = fields_of(told)
    if _has_errors(answer.data):
        if told and not absent(told):
            raise OutcomeUnknown("the broker told of errors and of an order at once")
        raise _refusal(answer, otherwise)
    if absent(order.get("errors")) and flag_of(order.get("result")) is not False:
        return order
    # The form of 2013: the refusal stands where the order should.
    if _id_of(order) is not None or word_of(order.get("status")) == "ok":
        raise OutcomeUnknown("the broker's answer contradicts itself")
    raise _refusal(answer, otherwise)


def _id_of(order: Mapping[str, object]) -> str | None:
    told = text_of(order.get("id"))
    return told if told is not None and _ID.match(told) else None


def _has_errors(data: object) -> bool:
    return not absent(fields_of(data).get("errors"))


def _refusal(answer: Answer, otherwise: str) -> BrokerError:
    """A 200 with errors; without a single reason it says nothing that can be believed."""
    if not answer.words:
        return OutcomeUnknown("the broker told of errors, but of none that can be read")
    return _by_words(answer.words, otherwise, answer.status)


def _no(answer: Answer, otherwise: str) -> BrokerError:
    """What an answer that is no 2xx means."""
    words = _words(answer)
    if 200 <= answer.status < 300:
        return OutcomeUnknown(f"the broker answered {answer.status} with something unreadable")
    if answer.status not in _REFUSED:
        return OutcomeUnknown(f"the broker answered {answer.status}{': ' + words if words else ''}")
    if answer.status == 429:
        return BrokerRejected("rate_limited", words)
    if answer.status == 401:
        others = any(_OTHERS_ACCOUNT.search(one) for one in answer.words)
        return BrokerRejected("unknown_account" if others else "invalid_credentials", words)
    return _by_words(answer.words or (words,), otherwise, answer.status)


def _by_words(words: tuple[str, ...], otherwise: str, status: int) -> BrokerError:
    shown = message_of(" ".join(words))
    if any(_OWN_FAILURE.search(one) for one in words):
        return OutcomeUnknown(f"the broker answered {status} about itself: {shown}")
    code = code_of(words) or ("forbidden" if status == 403 else otherwise)
    return BrokerRejected(code, shown)


def _words(answer: Answer) -> str:
    return message_of(" ".join(answer.words)) or _DEFAULT_WORDS.get(answer.status, "")
