"""Texts without the secrets of an IBM Quantum account, for the ledger and for logs."""

import re
from typing import Any

MARK = "[redacted]"

_SECRET_NAME = (
    r"(?:authorization|(?:iam[-_]?|access[-_]?|refresh[-_]?|id[-_]?|auth[-_]?|qiskit_ibm_)?token"
    r"|(?:iam[-_]?|ibm[-_]?cloud[-_]?)?api[-_]?key|password|passwd|secret|client[-_]secret"
    r"|service[-_]?crn)"
)
# In order: a named value may hold any of the others.
_PATTERNS = (
    # A header or a field: `Authorization: Bearer x`, `"apikey": "x"`, `token=x`. What follows an
    # opening quote goes up to the closing one, other values up to a space or a separator.
    (
        re.compile(
            rf"""(?ix)(?<![A-Za-z]) (?P<front> \\?["']? {_SECRET_NAME} \\?["']? \s* [:=]>? \s*
            (?:b(?=["']))? (?:(?:bearer|basic|apikey) \s+)? )
            (?: (?P<quote>\\?["']) (?:(?:bearer|basic|apikey)\s+)? (?:(?!(?P=quote)).)* (?P=quote)
            | (?!\[redacted\]|(?:bearer|basic|apikey)\s) [^\s"',;&)}}\]]+ )"""
        ),
        rf"\g<front>{MARK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MARK}"),
    # https://user:password@host
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@]+@"), rf"\1{MARK}@"),
    # A JSON web token; its first part is base64 of `{"`. Also one that was cut off.
    (re.compile(r"eyJ[A-Za-z0-9_=-]{8,}(?:\.[A-Za-z0-9_=-]*){0,4}"), MARK),
    # Percent-encoded, a CRN stands in request addresses.
    (re.compile(r"(?i)\bcrn(?::|%3a)v\d+(?::|%3a)[^\s\"'<>,;)}\]&]*"), MARK),
    # IBM Cloud API keys: 44 characters of base64url. Content hashes have one case only, names no
    # such mixture; a key without a capital, a small letter or a digit is one in a thousand.
    (
        re.compile(
            r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Z])"
            r"(?=[A-Za-z0-9_-]*[a-z])[A-Za-z0-9_-]{44}(?![A-Za-z0-9_-])"
        ),
        MARK,
    ),
    # Tokens of the former IBM Quantum: 128 hexadecimal digits.
    (re.compile(r"(?i)(?<![0-9a-z])[0-9a-f]{128}(?![0-9a-z])"), MARK),
)
_IS_SECRET_NAME = re.compile(_SECRET_NAME, re.IGNORECASE)


def redact(text: str) -> str:
    """A text without what looks like a token, a key, an instance (CRN) or a header with one.

    Hashes, tags and job ids stay. A second time changes nothing.

    Example:
        >>> redact("GET /jobs: 401, Authorization: Bearer abcdef, tag qrnn-0123456789ab-1")
        'GET /jobs: 401, Authorization: Bearer [redacted], tag qrnn-0123456789ab-1'
        >>> redact("no access to crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::")
        'no access to [redacted]'
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_json(value: Any) -> Any:
    """Plain JSON values, with all texts redacted, and all values whose key names a secret.

    Example:
        >>> redact_json({"name": "narma", "token": "abc", "parts": [1, "crn:v1:bluemix:public"]})
        {'name': 'narma', 'token': '[redacted]', 'parts': [1, '[redacted]']}
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: MARK if _IS_SECRET_NAME.fullmatch(str(key)) else redact_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_json(item) for item in value]
    return value
