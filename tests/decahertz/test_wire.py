from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.wire import MEDIA_TYPES, Codec, decoder, encode

texts = st.text(st.characters(codec="utf-8"))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("codec", Codec)
@given(values)
def test_plain_values_survive(codec: Codec, value: object) -> None:
    assert decoder(codec, object).decode(encode(codec, value)) == value


@given(values)
def test_our_messagepack_is_everybodys(value: object) -> None:
    assert msgpack.unpackb(encode(Codec.MSGPACK, value)) == value


def test_a_decoder_of_a_type_validates() -> None:
    for codec in Codec:
        with pytest.raises(msgspec.ValidationError):
            decoder(codec, int).decode(encode(codec, "text"))


def test_the_media_type_that_a_codec_answers_is_one_that_it_takes() -> None:
    for codec in Codec:
        assert MEDIA_TYPES[codec.media_type] is codec
        assert next(name for name, each in MEDIA_TYPES.items() if each is codec) == codec.media_type
