"""The modifiers that pySigma parses and does not carry out as Sigma's specification says, carried out so.

- `base64` and `base64offset` encode the text's own bytes: pySigma writes `\\*` with its backslash, counts letters where
  bytes decide, and encodes the mark of `utf16` as UTF-8.
- `cased` holds wherever it stands: later modifiers of pySigma's lose it.
- `startswith` and `endswith` of a regular expression tie it to the beginning and the end of the value.

https://sigmahq.io/sigma-specification/specification/sigma-appendix-modifiers.html
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from sigma.modifiers import (
    SigmaBase64Modifier,
    SigmaBase64OffsetModifier,
    SigmaCaseSensitiveModifier,
    SigmaEndswithModifier,
    SigmaRegularExpressionModifier,
    SigmaStartswithModifier,
    SigmaUTF16Modifier,
)
from sigma.rule import SigmaDetection, SigmaDetectionItem
from sigma.types import (
    SigmaCasedString,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaRegularExpression,
    SigmaString,
    SigmaType,
)


class Inexact(Exception):
    """These modifiers together have no exact form; the message says why."""


def carry_out(detection: SigmaDetection) -> None:
    """Give every item of `detection` the values that the specification means. Raises Inexact."""
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            carry_out(item)
        else:
            _carry_out(item)


def _carry_out(item: SigmaDetectionItem) -> None:
    if any(modifier in _ENCODINGS for modifier in item.modifiers):
        item.modifiers = [_ENCODINGS.get(modifier, modifier) for modifier in item.modifiers]
        item.value = list(item.original_value or ())
        item.apply_modifiers()
    if SigmaCaseSensitiveModifier in item.modifiers:
        item.value = [_cased(value) for value in item.value]
    ends = {SigmaStartswithModifier, SigmaEndswithModifier}.intersection(item.modifiers)
    if SigmaRegularExpressionModifier in item.modifiers and ends:
        start, end = SigmaStartswithModifier in ends, SigmaEndswithModifier in ends
        item.value = [
            Tied(written.original, value.flags, start, end) if isinstance(value, SigmaRegularExpression) else value
            for written, value in zip(_texts(item.original_value), item.value, strict=True)
        ]


@dataclass
class Tied(SigmaRegularExpression):
    """A regular expression as the rule writes it, that must begin or end where the value does."""

    start: bool = False
    end: bool = False


def _texts(values: list[SigmaType] | None) -> list[SigmaString]:
    return [value for value in values or () if isinstance(value, SigmaString)]


def _cased(value: Any) -> Any:
    if isinstance(value, SigmaExpansion):
        return SigmaExpansion([_cased(one) for one in value.values])
    if isinstance(value, SigmaFieldReference):
        raise Inexact("cased with fieldref")
    return SigmaCasedString.from_sigma_string(value) if type(value) is SigmaString else value


def _own_bytes(value: SigmaString, applied: list[Any]) -> bytes:
    text = "".join(part for part in value.s if isinstance(part, str))
    if SigmaUTF16Modifier in applied:
        return b"\xff\xfe" + text.removeprefix("\ufeff").encode()
    return text.encode()


class _Base64(SigmaBase64Modifier):
    def modify(self, val: SigmaString) -> SigmaString:
        super().modify(val)  # refuses wildcards
        return _literally(b64encode(_own_bytes(val, self.applied_modifiers)))


class _Base64Offset(SigmaBase64OffsetModifier):
    def modify(self, val: SigmaString) -> SigmaExpansion:
        super().modify(val)
        own = _own_bytes(val, self.applied_modifiers)
        return SigmaExpansion([_literally(_middle(own, before)) for before in range(3)])


_ENCODINGS: dict[Any, Any] = {SigmaBase64Modifier: _Base64, SigmaBase64OffsetModifier: _Base64Offset}


def _middle(own: bytes, before: int) -> bytes:
    """The characters of base64 that `own` alone decides when it begins `before` bytes into a group of three."""
    return b64encode(bytes(before) + own + bytes(2))[-(-8 * before // 6) : 8 * (before + len(own)) // 6]


def _literally(text: bytes) -> SigmaString:
    return SigmaString.from_str(text.decode())
