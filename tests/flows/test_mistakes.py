"""What a person is told of an error that is not theirs, either, and that another start mends."""

from __future__ import annotations

import httpx

from flows import mistakes


def test_a_prefect_api_that_is_gone_is_a_line_that_says_what_to_do() -> None:
    error = httpx.ConnectError("All connection attempts failed")
    assert isinstance(error, mistakes.user_errors())
    said = mistakes.message(error)
    assert "Prefect API" in said
    assert "start it again" in said
    assert "\n" not in said
