"""The official client against the server, unmodified; `tests.server.clients` has the others."""

from __future__ import annotations

from tests.server.clients import with_openai


def test_the_official_client_chats_streams_calls_tools_and_reads_json_and_log_probabilities(url: str) -> None:
    with_openai(url, "tiny-chat")
