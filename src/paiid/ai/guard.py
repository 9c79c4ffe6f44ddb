"""Lets the words of a model through, and none of its numbers: placeholders become our figures, sentences with others are left out.

A sentence passes only if it is made of plain letters and plain punctuation, and of words that are no numbers (docs/adr/0031).
"""

import re
import unicodedata
from dataclasses import dataclass

from paiid.ai.facts import Fact, FactBook
from paiid.ai.limits import SENTENCE
from paiid.ai.number_words import is_number_word, is_roman, spells_number, stands_alone
from paiid.domain.occ import find_contract

_PLACE = re.compile(r"\{\{ ?(f[0-9]{1,4}) ?\}\}")
_HERE = "\x00"
"""Stands where a figure will be."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?'\"()[]-—&*_`#|/\n\t" + _HERE)
_MARKUP = str.maketrans("", "", '*_`#|[]"')
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_OCC = re.compile(r"[A-Z]{1,6}[1-9]?[0-9]{6}[CP][0-9]{8}")
_LINK = re.compile(r"://|\]\(|www\.|&[A-Za-z]+;", re.IGNORECASE)
_MAY_STAND_BEFORE = frozenset(" \t\n(['\"*_`|:")
_MAY_STAND_AFTER = frozenset(" \t\n)]'\"*_`|:;,.!?")
_TURNED = re.compile(rf"(?:[-/]|\b(?:minus|negative|times|plus)\b)[\s*_`]*{_HERE}", re.IGNORECASE)
_BULLET = re.compile(r"\s*[-*] +")
_SCALED = re.compile(rf"{_HERE}[\s*_`]*(?:/|\((?!{_HERE})|negative\b)", re.IGNORECASE)
"""Also what would look like a label beside ours."""
_AMOUNT = re.compile(r"\b([A-Z]{1,5})\s+(?:dollars?|bucks?|cents?|percent|usd|points?)\b", re.IGNORECASE)
_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b")
_ARTICLE = re.compile(r"\b(?:a|an)\s+(?:dollar|buck|cent|percent|point)s?\b", re.IGNORECASE)
_LETTER_AS_DIGIT = re.compile(r"\bI\s*(?:dollar|buck|cent|percent|share|contract|usd|each|,|\.|;|!|\?|\Z)")
_LOOKS_LIKE_DIGITS = re.compile(r"(?!Ill\Z)[lIoO]{2,}\Z")
_CLASS_SHARE = re.compile(r"\b[A-Z]{2,4}\.[AB]\b")
_NAMES = re.compile(r"\b(?:S&P|P&L|AT&T|R&D|Q&A|M&A)\b")
_HAS_ACTED = re.compile(
    r"\b(?:i|we)(?:'ve| have| had| just|'ll| will| shall| am|'m| are|'re| can| could)*(?: now| already| just| going to| about to)*"
    r" (?:plac|submit|execut|bought|buy|sold|sell|cancel|clos|replac|chang|modif|amend|halt|resum|transfer|liquidat|trad|fill)",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?][\"')\]*_`]*\s+|\n+")


@dataclass(frozen=True, slots=True)
class Passed:
    """A sentence that may be told, with the figures in it."""

    text: str
    facts: tuple[Fact, ...]


class Guard:
    """Takes the text of one answer piece by piece and gives whole sentences that may be told. `withheld` counts the others;
    `claimed` is true once one of them said that something was done."""

    def __init__(self, book: FactBook) -> None:
        self._book = book
        self._rest = ""
        self._too_long = False
        self._last_words: list[str] = []
        self._owes_line = False
        self.withheld = 0
        self.claimed = False

    def take(self, text: str) -> list[Passed]:
        """More of it; the sentences that it ends."""
        self._rest += text
        passed: list[Passed] = []
        while (end := _END.search(self._rest)) is not None:
            sentence, self._rest = self._rest[: end.end()], self._rest[end.end() :]
            self._judge(sentence, passed)
        if len(self._rest) > SENTENCE:
            # What follows until its end belongs to it.
            self._too_long, self._rest = True, ""
        return passed

    def end(self) -> list[Passed]:
        """Nothing follows."""
        passed: list[Passed] = []
        sentence, self._rest = self._rest, ""
        if sentence or self._too_long:
            self._judge(sentence, passed)
        return passed

    def drop(self) -> list[Passed]:
        """What follows is lost: the last sentence is none."""
        self._rest, self._too_long = "", False
        return []

    def _judge(self, sentence: str, passed: list[Passed]) -> None:
        too_long, self._too_long = self._too_long, False
        if not sentence.strip() and not too_long:
            self._owes_line = self._owes_line or "\n" in sentence
            return
        found = None if too_long or len(sentence) > SENTENCE else self._checked(sentence)
        if found is None:
            self.withheld += 1
            # The line that it stood on ends all the same.
            self._owes_line = self._owes_line or "\n" in sentence
            return
        passed.append(Passed("\n" + found.text, found.facts) if self._owes_line else found)
        self._owes_line = False

    def _checked(self, sentence: str) -> Passed | None:
        text = unicodedata.normalize("NFKC", sentence).replace("’", "'").replace("‘", "'")
        text = text.replace("“", '"').replace("”", '"').replace("\r", "")
        facts = [self._book.find(one) for one in _PLACE.findall(text)]
        placed = _PLACE.sub(_HERE, text)
        known = [fact for fact in facts if fact is not None]
        if len(known) != len(facts) or _HERE in text or not self._is_plain(placed):
            return None
        # A currency or percent sign beside a figure says its unit once more.
        told = _CAPITALS.sub(self._named, re.sub(rf"[$€£]({_HERE})|({_HERE})%", _HERE, placed))
        for fact in known:
            told = told.replace(_HERE, fact.phrase, 1)
        return Passed(told, tuple(known))

    def _is_plain(self, placed: str) -> bool:
        """Whether nothing in it is a number, or could be read as one, and nothing changes a figure beside it."""
        text = re.sub(rf"[$€£]({_HERE})|({_HERE})%", _HERE, placed)
        if _LINK.search(text) or not _stand_apart(text):
            return False
        # Contracts that we have told of are names; every other digit is one.
        text = _NAMES.sub("AA", text)
        text = _CLASS_SHARE.sub("AA", text)
        text = _OCC.sub(lambda found: "AA" if self._knows_contract(found[0]) else found[0], text)
        folded = _folded(text)
        if any(letter not in _PLAIN for letter in folded):
            return False
        bare = folded.translate(_MARKUP)
        for view in (bare.replace(_HERE, " "), bare.replace(_HERE, ""), folded.replace(_HERE, " ")):
            if not self._has_no_number(view):
                return False
        words = _words(bare)
        around = [*self._last_words, *words[:3]]
        self._last_words = words[-3:] or self._last_words
        if spells_number(around) or (words and _HERE not in text and all(map(stands_alone, words))):
            return False
        if _HAS_ACTED.search(bare):
            self.claimed = True
            return False
        return True

    def _has_no_number(self, text: str) -> bool:
        words = _words(text)
        amounts = _AMOUNT.findall(text)
        if spells_number(words) or _ARTICLE.search(text) or _LETTER_AS_DIGIT.search(text):
            return False
        for word in words:
            if word in self._book.symbols and word not in amounts:
                continue
            if is_number_word(word.lower()) or is_roman(word) or stands_alone(word):
                return False
            if _LOOKS_LIKE_DIGITS.match(word):
                return False
            parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", word)
            if len(parts) > 1 and any(is_number_word(part.lower()) for part in parts):
                return False
        return True

    def _named(self, found: re.Match[str]) -> str:
        """A symbol that is a number word says that it is a symbol: there are ONE, TEN and SIX."""
        word = found[0]
        known = word in self._book.symbols and is_number_word(word.lower())
        return f"{word} (a symbol)" if known else word

    def _knows_contract(self, symbol: str) -> bool:
        return symbol in self._book.symbols and find_contract(symbol) is not None


def _folded(text: str) -> str:
    """Without accents and with plain letters, as far as there are some for them."""
    apart = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def _words(text: str) -> list[str]:
    """The words; what an apostrophe adds belongs to its word, a possessive is dropped."""
    found = [word.removesuffix("'s").removesuffix("'S") for word in _WORD.findall(text)]
    return [word.replace("'", "") for word in found]


def _stand_apart(text: str) -> bool:
    """Whether every figure stands by itself: no sign before it and nothing behind it that would make it another number."""
    body = text[bullet.end() :] if (bullet := _BULLET.match(text)) else text
    if _TURNED.search(body) or _SCALED.search(body):
        return False
    for at, letter in enumerate(text):
        if letter == _HERE:
            before, after = text[at - 1 : at], text[at + 1 : at + 2]
            if (before and before not in _MAY_STAND_BEFORE) or (after and after not in _MAY_STAND_AFTER):
                return False
    # 1.{{f3}} and {{f3}}.5 are caught by their digits; {{f3}}.{{f4}} and {{f3}},{{f4}} would be one number.
    return re.search(rf"{_HERE}[^\sA-Za-z|]+{_HERE}", text) is None
