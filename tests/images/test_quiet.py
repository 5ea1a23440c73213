"""Turns warning filters and threads into checks that decoding neither warns nor touches anybody's filters."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Literal

import pytest
from PIL import Image

from fusion_pipeline.images.decode import DecodeBudget, Reason, decode
from fusion_pipeline.images.quiet import PillowWarningsIgnored
from tests.images.samples import jpeg_with_broken_exif

BROKEN_EXIF = jpeg_with_broken_exif()


def warn_as_pillow(text: str) -> None:
    warnings.warn_explicit(text, UserWarning, "Image.py", 1, module="PIL.Image")


def test_the_sample_makes_pillow_warn() -> None:
    with pytest.warns(UserWarning, match="EXIF|Tag data|Truncated"):
        Image.open(BytesIO(BROKEN_EXIF)).getexif()


@pytest.mark.parametrize("action", ["error", "always"])
def test_threads_decode_without_a_warning(action: Literal["error", "always"]) -> None:
    threads = 8
    start = threading.Barrier(threads)

    def decode_many(_: int) -> set[Reason]:
        start.wait()
        return {decode(BROKEN_EXIF, DecodeBudget()).reason for _ in range(50)}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        before = list(warnings.filters)
        with ThreadPoolExecutor(threads) as pool:
            reasons = set[Reason]().union(*pool.map(decode_many, range(threads)))
        assert warnings.filters == before
    assert reasons == {Reason.OK}
    assert not caught


def test_other_warnings_still_show() -> None:
    with PillowWarningsIgnored(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_the_last_to_leave_lets_pillow_warn_again() -> None:
    quiet = PillowWarningsIgnored()
    with quiet:
        with quiet:
            warn_as_pillow("inner")
        warn_as_pillow("outer")
    with pytest.warns(UserWarning, match="afterwards"):
        warn_as_pillow("afterwards")


def test_a_list_of_filters_put_in_place_meanwhile_is_served_and_cleaned() -> None:
    quiet = PillowWarningsIgnored()
    outside: list[Any] = list(warnings.filters)
    with quiet:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with quiet:
                warn_as_pillow("hidden")
        warn_as_pillow("hidden too")
    assert warnings.filters == outside


def test_filters_emptied_meanwhile_do_no_harm() -> None:
    with warnings.catch_warnings():
        with PillowWarningsIgnored():
            warnings.resetwarnings()
        assert not warnings.filters


def test_an_error_inside_is_not_swallowed() -> None:
    before = list(warnings.filters)
    with pytest.raises(KeyError), PillowWarningsIgnored():
        raise KeyError
    assert warnings.filters == before
