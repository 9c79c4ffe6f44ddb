"""As much of PromQL as a test needs that looks at dashboards and alert rules: which metrics and labels an expression names."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?(?:ms|[smhdwy])?(?:e[+-]?\d+)?)|(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^><=(){}\[\],:]))""",
    re.VERBOSE,
)
_AGGREGATES = frozenset({"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"})
_FUNCTIONS = frozenset(
    {"rate", "increase", "histogram_quantile", "min_over_time", "max_over_time", "changes", "time", "vector", "clamp_max"}
)  # fmt: skip
_OPERATORS = frozenset({"and", "or", "unless", "bool"})
_MATCHING = frozenset({"on", "ignoring", "group_left", "group_right"})
_COUNTS_UP = frozenset({"rate", "increase"})


class NotUnderstood(ValueError):
    """An expression that is wrong, or more than is known here."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric as it is named in an expression: its matchers as (label, sign, value), the function right around it."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    within: str = ""
    ranged: bool = False


@dataclass(slots=True)
class Named:
    """What an expression names. `grouped`: the labels of each aggregate or match, with the metrics that are in it."""

    selectors: list[Selector] = field(default_factory=list)
    grouped: list[tuple[tuple[str, ...], list[str]]] = field(default_factory=list)


def tokens(expression: str) -> list[str]:
    """Raises NotUnderstood."""
    found, at = [], 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotUnderstood(f"{text[at : at + 20]!r} in {expression!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


def named(expression: str) -> Named:
    """Everything that it names. Raises NotUnderstood for brackets that do not close, words that are no function, a rate of no range,
    a range without a rate."""
    words = tokens(expression)
    _balanced(words, expression)
    found = Named()
    _read(words, found, "")
    for one in found.selectors:
        if (one.within in _COUNTS_UP) and not one.ranged:
            raise NotUnderstood(f"{one.within} of {one.metric} without a range")
        if one.ranged and not one.within:
            raise NotUnderstood(f"a range of {one.metric} outside of a function")
    return found


def _balanced(words: list[str], expression: str) -> None:
    stack: list[str] = []
    pairs = {")": "(", "}": "{", "]": "["}
    for word in words:
        if word in pairs.values():
            stack.append(word)
        elif word in pairs and (not stack or stack.pop() != pairs[word]):
            raise NotUnderstood(f"brackets in {expression!r}")
    if stack:
        raise NotUnderstood(f"brackets in {expression!r}")


def _end(words: list[str], at: int) -> int:
    """The place behind the bracket that closes the one at `at`."""
    depth = 0
    for place in range(at, len(words)):
        depth += (words[place] in "({[") - (words[place] in ")}]")
        if depth == 0:
            return place + 1
    raise NotUnderstood(" ".join(words))


def _labels(words: list[str]) -> tuple[str, ...]:
    labels = tuple(word for word in words if word != ",")
    if not all(re.fullmatch(r"[a-z_]+", label) for label in labels):
        raise NotUnderstood(f"labels {labels}")
    return labels


def _read(words: list[str], found: Named, within: str) -> None:
    at = 0
    while at < len(words):
        word = words[at]
        if word == "(":
            end = _end(words, at)
            _read(words[at + 1 : end - 1], found, within)
            at = end
        elif word == "[":
            # Of a subquery; that of a selector is read with it.
            at = _end(words, at)
        elif not re.match(r"[A-Za-z_:]", word) or word in _OPERATORS:
            at += 1
        elif word in _MATCHING:
            end = _end(words, at + 1)
            found.grouped.append((_labels(words[at + 2 : end - 1]), []))
            at = end
        elif word in _AGGREGATES:
            at = _aggregate(words, at, found)
        elif at + 1 < len(words) and words[at + 1] == "(":
            if word not in _FUNCTIONS:
                raise NotUnderstood(f"{word} is no function known here")
            end = _end(words, at + 1)
            _read(words[at + 2 : end - 1], found, word)
            at = end
        else:
            at = _selector(words, at, found, within)


def _aggregate(words: list[str], at: int, found: Named) -> int:
    labels: tuple[str, ...] = ()
    at += 1
    if words[at] in ("by", "without"):
        end = _end(words, at + 1)
        labels, at = _labels(words[at + 2 : end - 1]), end
    end = _end(words, at)
    before = len(found.selectors)
    _read(words[at + 1 : end - 1], found, "")
    found.grouped.append((labels, [one.metric for one in found.selectors[before:]]))
    if end < len(words) and words[end] in ("by", "without"):
        raise NotUnderstood("labels of an aggregate stand before it here")
    return end


def _selector(words: list[str], at: int, found: Named, within: str) -> int:
    metric, at = words[at], at + 1
    matchers: list[tuple[str, str, str]] = []
    ranged = False
    if at < len(words) and words[at] == "{":
        end = _end(words, at)
        inner = words[at + 1 : end - 1]
        while inner:
            label, sign, value, *inner = inner
            if sign not in ("=", "!=", "=~", "!~") or not value.startswith('"'):
                raise NotUnderstood(f"matchers of {metric}")
            matchers.append((label, sign, value[1:-1]))
            if inner and inner.pop(0) != ",":
                raise NotUnderstood(f"matchers of {metric}")
        at = end
    if at < len(words) and words[at] == "[":
        at, ranged = _end(words, at), True
    found.selectors.append(Selector(metric, tuple(matchers), within, ranged))
    return at
