"""Numbers that are written as words ("frame four", "the ninth frame") or in Chinese numerals.

A word becomes digits only where it says a place in time: beside the name of a frame or of a unit,
or as an end of "from ... to ...". "Two dogs" stays as it is. In ``words.yaml`` the words of a
language are a list that begins with 0; a slash parts the forms of one number.
"""

import re

from numpro.prompting.vocabulary import WORDS, words


def _listed(name: str) -> dict[str, int]:
    """Return the value of each word in the lists of a name."""
    rows = (enumerate(listed.split()) for listed in WORDS[name].values())
    return {form: value for row in rows for value, forms in row for form in forms.split("/")}


_ORDINALS = _listed("ordinals")
_VALUES = _listed("cardinals") | _ORDINALS
_VALUES |= {
    f"{name}-{unit}": 10 * ten + _VALUES[unit]
    for ten, name in enumerate(WORDS["tens"].split(), 2)
    for unit in (*WORDS["cardinals"]["en"].split()[1:10], *WORDS["ordinals"]["en"].split()[1:10])
    if unit in _VALUES
}
_VALUES |= {name: 10 * ten for ten, name in enumerate(WORDS["tens"].split(), 2)}
_WORD = re.compile(
    rf"(?<![^\W_])(?<!-)(?:(?:{WORDS['tens'].replace(' ', '|')})-[^\W\d_]+|[^\W\d_]{{2,}})"
    r"(?![^\W_])"
)
_UNIT = "(?:@frame|@second|@minute|@hour)(?![a-z])"
_OF_UNIT = words(f"[ -]{_UNIT}")
_NO_PLACE = words("[ -](?:scenes?|images?|imgs?)")  # "the second image" is no frame of the clip
_OF_FRAME = words(r"(?<![a-z])@frame(?: number)? $")
_OF_SECOND = words(r"(?<![a-z])@second $")
_ENDS_HERE = words(r"$|[.,;)]| (?:@to|@and) ")
_LINK = rf"(?: {_UNIT})? (?:@to|@and)(?: @the)*(?: @frame)? "
_FROM = words(r"(?:^|(?<![a-z])(?:@from|@between) )(?:@the )*$")
_SECOND_END = words(rf"{_LINK}([^\W_]+)( {_UNIT})?")
_FIRST_END = words(
    rf"(?:^|(?<![a-z])(?:@from|@between|@frame|@second) )(?:@the )*([^\W_]+){_LINK}$"
)
_NUMERALS = re.compile(
    "[零〇一二两三四五六七八九十百]{1,7}(?=个?(?:帧|秒|分(?!之)|小时|時間|フレーム))"
    "|(?<=フレーム)[一二三四五六七八九十百]{1,7}|[일이삼사오육칠팔구십]{1,3}(?=초)"
)
_NUMERAL = {
    n: i for row in ("零一二三四五六七八九", "〇일이삼사오육칠팔구") for i, n in enumerate(row)
}
_NUMERAL |= {"两": 2}


def _is_number(word: str) -> bool:
    return word in _VALUES or word[0].isdigit()


def _is_place(word: re.Match) -> bool:
    """Tell whether a number word says a place in time, by what stands around it."""
    text, first, last = word.string, *word.span()
    before, after = text[max(0, first - 48) : first], text[last : last + 48]
    left, right = before.split()[-1:], after.split(maxsplit=1)[:1]
    if left and left[0] != "second" and _is_number(left[0]):
        return False  # "three second": the unit
    if _OF_UNIT.match(after):
        return word[0] not in _ORDINALS or not _NO_PLACE.match(after)
    if right and _is_number(right[0]):
        return False  # "second three": the unit
    if _OF_FRAME.search(before):
        return True
    if word[0] != "one" and _OF_SECOND.search(before) and _ENDS_HERE.match(after):
        return True  # "the second one" is none
    if (then := _SECOND_END.match(after)) and _is_number(then[1]):
        return bool(then[2] or _FROM.search(before))
    return bool((start := _FIRST_END.search(before)) and _is_number(start[1]))


def _as_digits(word: re.Match) -> str:
    value = _VALUES.get(word[0])
    if value is None or not _is_place(word):
        return word[0]
    return f"{value}th" if word[0] in _ORDINALS else str(value)


def _numeral(numeral: re.Match) -> str:
    """Return the digits of a number such as 二十三."""
    total = last = 0
    for sign in numeral[0]:
        power = {"十": 10, "십": 10, "百": 100}.get(sign)
        total, last = (total + (last or 1) * power, 0) if power else (total, _NUMERAL[sign])
    return str(total + last)


def write_digits(text: str) -> str:
    """Write number words that say a place in time as digits, in text of lower case.

    Examples
    --------
    >>> write_digits("two dogs from frame four to frame twenty-one")
    'two dogs from frame 4 to frame 21'
    >>> write_digits("从第十二帧到第二十三帧")
    '从第12帧到第23帧'
    """
    return _NUMERALS.sub(_numeral, _WORD.sub(_as_digits, text))
