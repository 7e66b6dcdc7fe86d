"""Texts in few cells that stay different."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.renderables.text import width_of
from tui.renderables.told_apart import told_apart


@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        (["short", "other"], ["short", "other"]),
        (
            ["logs/exp_a/version_0", "logs/exp_b/version_0"],
            ["…exp_a/version_0", "…exp_b/version_0"],
        ),
        (
            ["resnet50-imagenet-lr0.1-warmup-long", "resnet50-imagenet-lr0.3-warmup-long"],
            ["…0.1-warmup-long", "…0.3-warmup-long"],
        ),
        (["/data/old/1-digits", "/data/new/1-digits"], ["/data/ol…1-digits", "/data/ne…1-digits"]),
        (
            ["logs/exp/a1/version_0", "logs/exp/a2/version_0", "logs/exp/b1/version_0"],
            ["…a1/version_0", "…a2/version_0", "…b1/version_0"],
        ),
    ],
)
def test_texts_are_cut_so_that_they_differ(texts: list[str], cut: list[str]) -> None:
    assert told_apart(texts, 17) == cut


@pytest.mark.parametrize("width", [11, 14, 17])
def test_names_that_differ_in_several_places_are_told_by_these(width: int) -> None:
    names = [
        f"lr={lr},seed={seed},width={size}"
        for lr in ("0.3", "0.01", "1e-05")
        for seed in (0, 1)
        for size in (32, 64)
    ]
    cut = told_apart([*names, "gan"], width)
    assert len(set(cut)) == len(names) + 1
    assert max(map(width_of, cut)) <= width
    assert cut[names.index("lr=1e-05,seed=1,width=64")] == "…1e-05…1…64"


@given(st.lists(st.text("ab/", max_size=12), min_size=2, max_size=6), st.integers(8, 14))
def test_no_two_of_few_cells_are_alike(ends: list[str], width: int) -> None:
    texts = [f"a/long/beginning/of/all/{end}" for end in ends]
    cut = told_apart(texts, width)
    assert all(width_of(text) <= width for text in cut)
    assert len(set(cut)) == len(set(texts)) or any(len(end) > width - 5 for end in ends)
