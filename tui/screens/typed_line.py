"""What is being typed on the main screen, as the last line shows it: the filter, or a search."""

from __future__ import annotations

from ..renderables.text import Line, Span, from_file, line, shorten
from ..widgets.pane import Pane
from .filter_text import FilterText

_FILTER_HELP = "words  lr>=1e-3  status:run  tag:x  -not  a | b  Tab"


LEAST_TYPED = 20
"""Characters at the end of what is typed that stay in sight whatever is said beside them."""


def is_typing(text: FilterText, pane: Pane | None) -> bool:
    """Tell whether something is being typed."""
    return text.open or (pane is not None and pane.prompt is not None)


def typed_line(
    text: FilterText, pane: Pane | None, note: str, width: int
) -> tuple[Line | None, str, str]:
    """Return the text with what stands in front of it, what ends it, and the note.

    None in place of the text while there is none.

    Args:
        text: the filter; what is typed into the pane comes second.
        pane: of the view, if it has one.
        note: what is said in place of what ends the typing, cut to what there is room for.
        width: of the terminal; of a long text its end is shown.
    """
    if text.open:
        mark, typed, ends = "/", text.text, Pane.HELP
    elif pane is not None and pane.prompt is not None:
        mark, typed, ends = pane.asks(), pane.prompt, pane.HELP
    else:
        return None, "", note
    help_text = Span(_FILTER_HELP, "dim") if text.open and not typed else ""
    note = shorten(note, width - len(mark) - min(len(typed), LEAST_TYPED) - 6)
    room = max(10, width - len(mark) - len(note or ends) - 6)
    shown = from_file(typed[-room:])
    start = "…" if len(typed) > room else ""
    is_proposed = not text.open and pane is not None and pane.is_proposed
    typed_span = Span(start + shown, "dim" if is_proposed else "")
    shown_line = line(Span(f" {mark}", "key"), typed_span, Span("▏", "key"), help_text)
    return shown_line, ends, note


def typing_note(text: FilterText, width: int) -> str:
    """Return what may follow in the filter, or what is wrong with it; empty for neither."""
    told = "  ".join(text.choices) or text.problem
    return shorten(from_file(told), width // 2) if text.open else ""
