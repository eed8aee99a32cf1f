"""Writing SVG: elements as text, everything escaped, the same bytes for the same picture.

The few lines of XML that the pictures of `view/` need, and no more.  Text that comes from outside (a reason, a name)
goes through `escape`, so that nothing in a trace can become markup.  Next: `ladder_svg.py`.
"""

from __future__ import annotations

import re
from html import escape as _escape

#: Characters that XML 1.0 cannot hold, not even escaped.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: object) -> str:
    """Text for XML and HTML, in content and in quoted attributes alike.

    >>> escape('<b> & "c"' + chr(0))
    '&lt;b&gt; &amp; &quot;c&quot;\\ufffd'
    """
    return _escape(_UNFIT.sub("\ufffd", str(text)))


def number(value: float) -> str:
    """A coordinate, as short as can be.

    >>> number(3.0), number(2.25), number(-0.01)
    ('3', '2.2', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def element(tag: str, content: str | None = None, /, **attributes: object) -> str:
    """One element.  `content` is markup already; `_` in an attribute's name stands for `-`, and None leaves it out.

    >>> element("line", x1=0.5, stroke_width=2, class_="a", id=None)
    '<line x1="0.5" stroke-width="2" class="a"/>'
    """
    parts = [tag]
    for key, value in attributes.items():
        if value is not None and value != "":
            shown = number(value) if isinstance(value, float) else escape(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    head = " ".join(parts)
    return f"<{head}/>" if content is None else f"<{head}>{content}</{tag}>"


def wrap(text: str, width: int, lines: int) -> list[str]:
    """Text in at most `lines` lines of about `width` characters; what does not fit ends in an ellipsis.

    >>> wrap("one two three four", 8, 2)
    ['one two', 'three …']
    """
    result = [""]
    for word in text.split():
        if len(word) > width:
            word = word[: width - 1] + "…"
        if not result[-1]:
            result[-1] = word
        elif len(result[-1]) + 1 + len(word) <= width:
            result[-1] += " " + word
        elif len(result) < lines:
            result.append(word)
        else:
            last = result[-1]
            result[-1] = (last if len(last) <= width - 2 else last[: width - 2].rstrip()) + " …"
            break
    return result
