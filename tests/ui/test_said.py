"""What is said once in the last line."""

from __future__ import annotations

from tui.said import SAID_S, Said


def test_message_goes_by_itself_and_one_for_later_waits_for_a_key() -> None:
    now = [100.0]
    said = Said(lambda: now[0])
    assert said.text == ""
    said.say("noted\x1b[2J")
    said.key_pressed()
    assert said.text.startswith("noted")
    assert "\x1b" not in said.text
    now[0] += SAID_S
    assert said.text == ""
    said.say_until_a_key("what you choose is not kept")
    now[0] += 1000 * SAID_S
    assert said.text == "what you choose is not kept"
    said.key_pressed()
    assert said.text == ""
