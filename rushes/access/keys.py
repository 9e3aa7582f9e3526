"""The form of an API key: a prefix, 30 random characters, and a checksum that catches typing errors without a query.

The random part has 178 bits, so a plain SHA-256 is enough to store: there is nothing to guess.
"""

import hashlib
import re
import secrets
import string
import zlib

_PREFIX = "rsh_live_"
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6  # 62**6 exceeds 2**32
_FORM = re.compile(rf"rsh_(?:live|test)_[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
_SHOWN = 4


def make_key() -> str:
    """Return a new key."""
    random = "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM_LENGTH))
    return _PREFIX + random + _checksum(_PREFIX + random)


def is_well_formed(key: str) -> bool:
    """Return whether this can be a key: it has the form and the right checksum."""
    return _FORM.fullmatch(key) is not None and key.endswith(_checksum(key[:-_CHECKSUM_LENGTH]))


def digest_key(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def hint_at(key: str) -> str:
    """Return the part of a key by which people recognise it."""
    shown = len(_PREFIX) + _SHOWN
    return f"{key[:shown]}...{key[-_SHOWN:]}"


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_LETTERS))
        digits = _LETTERS[digit] + digits
    return digits
