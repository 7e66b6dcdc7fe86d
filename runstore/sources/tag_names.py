"""What the tags of TensorBoard's scalars are called as metrics.

Keras writes each split into a directory of its own, with the same tags in both, and says in the tag
whether a value is one of an epoch or of an evaluation; so do others who have a writer per split.
"""

from __future__ import annotations

from runstore.files.limits import METRICS_PER_RUN
from runstore.files.paths import Stream
from runstore.files.records import RESERVED_KEYS
from runstore.sources.columns import BARE, SPLITS, canonical

Name = tuple[Stream, str]

_OF_EPOCH = "epoch_"
_EVALUATED, _BY_STEP = "evaluation_", "_vs_iterations"


class TagNames:
    """The names of one file's metrics."""

    def __init__(self, split: str = "") -> None:
        """Put `split` in front of them, where the file is that of a split."""
        self.split = split
        self.has_epoch = False
        """A tag tells the epoch, as a value in each row."""
        self._names: dict[str, Name] = {}

    def of(self, tag: str) -> Name:
        """Return the stream that a tag's values belong to, and the name of the metric."""
        found = self._names.get(tag)
        if found is None:
            found = self._of_split(tag) if self.split else ("metrics", self._plain(tag))
            if len(self._names) < METRICS_PER_RUN:
                self._names[tag] = found
        return found

    def _plain(self, tag: str) -> str:
        if tag == "epoch":
            self.has_epoch = True
        elif tag in RESERVED_KEYS:
            return f"{tag}_value"
        return canonical(tag)

    def _of_split(self, tag: str) -> Name:
        if tag.startswith(_OF_EPOCH) and len(tag) > len(_OF_EPOCH):
            return "epochs", self._with_split(tag.removeprefix(_OF_EPOCH))
        if tag.startswith(_EVALUATED) and tag.endswith(_BY_STEP):
            # Not the name alone: its steps are batches, those of `epoch_loss` are epochs.
            tag = tag.removeprefix(_EVALUATED)
        return "metrics", self._with_split(tag)

    def _with_split(self, name: str) -> str:
        if name == "epoch":
            return self._plain(name)
        name = canonical(name)
        has_split = name.partition("/")[0] in SPLITS
        is_bare = name in BARE and self.split == "train"
        return name if has_split or is_bare else f"{self.split}/{name}"
