"""Names of the user's as PTX takes them: the assembler refuses a text with a letter outside ASCII, in a string too.

A kernel's name gets `$` and a number for each such letter, which no name in Python has. A file's gets `%` and its bytes
as in a URL, so that who reads the text finds the file again; a profiler does not.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

WORDS = ("_", "WARP_SZ")  # names in Python, but not in PTX
ASCII = "".join(map(chr, range(128))).replace("%", "")


def symbol(name: str) -> str:
    """What the kernel of this name is called in its module."""
    plain = "".join(letter if letter.isascii() else f"${ord(letter):x}" for letter in name)
    return f"{plain}$" if plain in WORDS else plain


def file_string(path: str) -> str:
    """A path between the quotes of a `.file`."""
    plain = path if path.isascii() else quote(path, safe=ASCII, errors="surrogateescape")
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def path_of(string: str) -> str:
    """The path that a string of `file_string` stands for."""
    plain = string.replace('\\"', '"').replace("\\\\", "\\")
    path = unquote(plain, errors="surrogateescape")
    return plain if path.isascii() else path
