"""What a reader takes in at most, in one place, each with its reason.

A run directory may come from anywhere, and must not take down whoever looks at it: below these
limits a screen on a list of runs stays under 200 MiB. They are far above what trainings write. What
is over one is passed over or let go, oldest first, and told in one line; the files keep all of it,
and `runstore cat` and `export` read past most of these limits because they keep nothing.
"""

from __future__ import annotations

MAX_LINE_BYTES = 1 << 20
"""A line, its newline included (docs/format.md). Parsed it takes up to 40 times as much."""
DOCUMENT_BYTES = 4 << 20
"""`run.json` and `progress.json` (docs/format.md)."""
DOCUMENT_CONTAINERS = 100_000
"""Objects and arrays in a document: `{}` is two bytes in a file and 64 in memory, and more in each
other."""
YAML_BYTES = 512 << 10
"""What other tools write beside their logs (`meta.yaml`, `hparams.yaml`): people read it. Parsed it
takes half a second without libyaml."""
YAML_VALUES = 50_000
"""Values in such a document; those that an alias repeats count each time."""
YAML_DEPTH = 32
"""Levels of such a document; what lies deeper is left out."""
VALUE_FILES = 1000
"""Parameters, and tags, of a run that keeps each in a file of its own (MLflow), the first found."""
LISTED_DOCUMENT_BYTES = 64 << 10
"""Of a longer `run.json`, a list of runs keeps what it shows and not the rest: there may be
thousands of them."""
LINES_AT_ONCE = 20_000
"""Lines of one read: 1 MiB of newlines are a million, and each damaged line costs microseconds."""
FILES_PER_RUN = 4096
"""Stream files that are followed, the newest attempts': a thousand attempts of four streams."""
METRICS_PER_RUN = 4096
"""Distinct metrics, the first that are met; nobody looks through more."""
CURVES_PER_RUN = 32_768
"""A metric in a file is a curve: 700 bytes, and buckets. Those of the newest attempts are kept."""
BUCKETS_PER_RUN = 1 << 18
"""Buckets of all curves, 32 bytes each: 8 MiB. Above 128 curves each gets fewer than 2,048."""
BUCKETS_AT_LEAST = 16
EPOCH_ROWS_KEPT = 10_000
"""The newest; the best epoch and the curves are made of all."""
EPOCH_VALUES_KEPT = 200_000
"""Values in the epochs that are kept, about 10 MiB."""
EVENTS_KEPT = 1000
"""Events of one attempt, the newest."""
EVENTS_PER_RUN = 4000
EVENT_FIELDS = 50
TEXT_CHARS = 1000
"""A text in an event that is kept; a screen shows less."""
WARNINGS_KEPT = 100
"""Warnings of one attempt, the newest."""
OPEN_BYTES_KEPT = 2 << 20
"""`open` events kept whole, the newest attempts'; of older ones what is no list or object."""
REPORT_BYTES_KEPT = 3 << 20
"""Classification reports, as bytes of their lines, the newest: a matrix is large in memory."""
REPORT_PLACES_KEPT = 10_000
"""Reports of which it is known where they lie, the newest: 200 bytes each, and any can be read."""
TRAINER_STATE_BYTES = 256 << 20
"""A `trainer_state.json` of transformers: a million log rows. It is read a part at a time."""
MANIFEST_BYTES = 256 << 20
"""The list of checkpoints: half a million of them. A longer one is refused, as if it could not be
read, because what it lists may not be taken for files that nobody listed."""
SAMPLE_NAMES = 64
"""Names of image samples, the first by the alphabet: a screen shows a few side by side."""
SAMPLES_PER_RUN = 20_000
"""Image samples of all names, the newest of each: a list of files, 300 bytes each."""
SAMPLE_ENTRIES = 100_000
"""Names in the folders of image samples that are looked at: a tenth of a second."""
IMAGE_BYTES = 64 << 20
"""An image file; it is read as a whole."""
IMAGE_PIXELS = 24 << 20
"""An image, by its header; 6,000 x 4,000 is less. Unpacked it takes 4 bytes a pixel, 96 MiB, and
twice that for a moment when it has an alpha channel."""
IMAGE_FRAMES_BYTES = 48 << 20
"""All frames of an animated image, unpacked, with 1 KiB for each: 2,800 of 64 x 64 pixels, 190 of
256 x 256. The first ones are played; one is shown however large."""
BAD_LINES_KEPT = 100
"""Places of damaged lines; all are counted."""
GAP_TOLD = 100
"""Missing attempts or parts between two that are there: one name says that there are 10^9."""
NOTE_TEXT_BYTES = 64 << 10
"""The text of a note (docs/format.md): people read it."""
NOTE_BYTES = 512 << 10
"""The document of a note: JSON may write six bytes for one of the text."""
PULLED_BYTES = 64 << 10
"""`pulled.json`, where a copy comes from: seven short values."""
NOTES_KEPT = 1000
"""Notes of a run, the newest."""
NOTES_BYTES_KEPT = 4 << 20
"""Their documents together."""
TAG_CHARS = 200
"""A tag (docs/format.md): a word to filter by."""
TAG_CHANGE_BYTES = 64 << 10
"""The document of a change of tags."""
TAG_CHANGES_KEPT = 1000
"""Changes of a run's tags, the newest: each is a file that a list of runs reads."""
TAG_BYTES_KEPT = 1 << 20
"""Their documents together."""
COUNTED_BYTES = 64 << 20
"""Of a file whose superseded rows are counted, to say how many there are."""
EXPORT_COLUMNS = 16_384
"""Columns of a table that is handed on: a spreadsheet has no more."""
LISTED_READERS = 500
"""Ended runs whose readers the monitor keeps, 60 KiB each, besides those on screen; and as many of
those that may go on. The others are read again when they come into view: a millisecond."""
LINKED_DEPTH = 2
"""Folders below a symbolic link that are searched for runs; it may lead to `/`."""
