"""What counts as a number in words: English, and the plain numbers of languages that are written with the same letters.

Strict rather than kind: `one` and `first` are numbers too, and a sentence that needs them is left out.
"""

import re
from functools import lru_cache

_ENGLISH = """
zero nil nought naught aught one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety ninty hundred thousand million billion
trillion quadrillion dozen grand lakh crore
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth
seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth hundredth thousandth
millionth half halve halved quarter twice thrice double doubled doubling triple tripled tripling quadruple quadrupled quintuple single
couple pair duo trio quartet penny pennies cent dime nickel percent percentile pct bps twofold threefold fourfold fivefold tenfold
hundredfold manifold
"""
_LOOSE = """
myriad umpteen umpteenth zilch nada null fortnight decade century centuries millennium millennia score threescore fourscore eleventy
fiver tenner quid sixpence twopence tuppence deuce trey twain bisect trisect sextuple septuple octuple decuple centuple quintet sextet
septet octet triad tetrad pentad triplet permille permil bip bp pip ppm thou bn mln mio bil tril kilo mega giga tera squared cubed
"""
"""What stands for a number, or makes another of the one beside it."""
_OTHERS = """
eins zwei zwo drei vier funf fuenf sechs sieben acht neun zehn zwolf zwoelf zwanzig dreissig vierzig funfzig fuenfzig sechzig siebzig
achtzig neunzig hundert tausend halb halfte haelfte doppelt prozent
deux trois quatre cinq sept huit neuf onze douze treize quatorze quinze vingt trente quarante cinquante soixante mille milliard moitie
demi pourcent
uno dos tres cuatro cinco seis siete ocho nueve diez doce trece quince veinte treinta cuarenta cincuenta sesenta setenta ochenta
noventa cien ciento mil medio mitad doble
tre quattro cinque sei sette otto nove dieci venti quaranta cinquanta sessanta settanta ottanta novanta cento mezzo meta doppio
dois duas quatro oito dez vinte trinta quarenta cinquenta oitenta cem
een twee drie vijf zes zeven negen tien twintig dertig veertig vijftig honderd duizend helft procent
"""
_FURTHER = """
fyra fem sju atta nio tio elva tolv tretton fjorton femton sjutton nitton tjugo trettio fyrtio femtio sextio sjuttio attio nittio hundra
tusen miljon miljard halften seks syv otte elleve tretten fjorten femten seksten sytten nitten tyve tredive fyrre halvtreds firs
hundrede tusinde hundre tjue tretti femti seksti sytti nitti prosent yksi kaksi kolme nelja viisi kuusi seitseman kahdeksan yhdeksan
kymmenen kymmenta sata sataa tuhat tuhatta miljoona prosenttia jeden dwa trzy cztery szesc siedem osiem dziewiec dziesiec
dwadziescia trzydziesci sto tysiac tysiace jedna dve ctyri sest sedm osm devet deset dvacet tricet padesat tisic egy ketto harom negy
nyolc kilenc tiz husz harminc negyven otven hatvan hetven szaz ezer szazalek unu trei patru cinci sase sapte zece douazeci suta bir iki
dort bes alti yedi sekiz dokuz yirmi otuz kirk elli altmis yetmis seksen doksan yuz yuzde satu dua tiga empat enam tujuh delapan
sembilan sepuluh belas puluh ratus ribu juta elf
"""
"""Those that a user may be answered in who asks in his own language; not the few that are plain English words too."""
WORDS = frozenset(_ENGLISH.split()) | frozenset(_OTHERS.split())
_KNOWN = WORDS | frozenset(_LOOSE.split()) | frozenset(_FURTHER.split())
_LENGTHS = range(min(map(len, _KNOWN)), max(map(len, _KNOWN)) + 1)
_LONGEST = 60
"""Letters of a word that is looked at; a longer one is none."""
_AGAIN = re.compile(r"(.)\1+")
_SLURRED = frozenset(short for word in _KNOWN if len(short := _AGAIN.sub(r"\1", word)) > 2)
_FOLD = re.compile(r"[a-z]+fold\Z")
_NOT_SLURRED = frozenset({"tree", "mill", "bill"})
_HANDED = frozenset({"manifold", "blindfold", "scaffold", "unfold", "enfold", "billfold", "refold"})
_ROMAN = re.compile(r"[ivxlcdm]{2,}\Z")
_PLAIN_WORDS = frozenset(
    [
        "mix",
        "mid",
        "did",
        "dim",
        "ill",
        "mild",
        "mill",
        "civic",
        "civil",
        "vivid",
        "livid",
        "mimic",
        "lid",
        "dill",
        "id",
        "im",
        "vim",
    ]
)
"""Also what is left of I'd, I'm and I'll."""
_ALONE = frozenset({"a", "i"})
"""Letters that are words by themselves; others alone are Roman digits, or spell something out."""
_PIECES = 4
"""A number word may be cut into so many."""


@lru_cache(maxsize=4096)
def is_number_word(word: str) -> bool:
    """Whether a lower-case word says a number, alone or put together (`twohundred`, `zweihundert`)."""
    if len(word) > _LONGEST:
        return True
    if word in _KNOWN:
        return word != "manifold"
    if _is_put_together(word) or (_AGAIN.sub(r"\1", word) in _SLURRED and word not in _NOT_SLURRED):
        return True
    return _FOLD.match(word) is not None and word not in _HANDED


def _is_put_together(word: str) -> bool:
    """Whether it is number words one behind the other, as in `twentytwo`, `hundredandfive`, `zweiundzwanzigs`. Step by step from every
    place that was reached: a pattern would try all ways through `eighteeneighteen…`, and hold everything up."""
    reached = {0}
    for at in range(len(word)):
        if at not in reached:
            continue
        glued = [at, *(at + len(one) for one in ("and", "und", "et") if at and word.startswith(one, at))]
        for begin in glued:
            for length in _LENGTHS:
                if word[begin : begin + length] in _KNOWN and begin + length <= len(word):
                    reached.add(begin + length)
    return any(word[at:] in ("", "s", "es") for at in reached if at)


def is_roman(word: str) -> bool:
    """Whether a word is made of Roman digits only; a few plain words are too."""
    return _ROMAN.match(word.lower()) is not None and (word.isupper() or word.lower() not in _PLAIN_WORDS)


def stands_alone(word: str) -> bool:
    """Whether it is one letter that is no word."""
    return len(word) == 1 and word.lower() not in _ALONE


def spells_number(words: list[str]) -> bool:
    """Whether words that follow each other become a number word when they are pushed together (`t`, `wo`)."""
    lower = [word.lower() for word in words]
    for begin in range(len(lower)):
        joined = lower[begin]
        for following in lower[begin + 1 : begin + _PIECES]:
            joined += following
            if joined in WORDS:
                return True
    return False
