"""FCS: the events of a flow cytometer, with their channels chosen, scaled and compensated as they are read."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixtura.data.base import About, Source
from mixtura.data.columns import NoColumn, Wanted, listed, told
from mixtura.data.fcs_text import Channel, Text, read_text
from mixtura.data.spillover import RAW, Spillover, find_spillover
from mixtura.data.steps import feature_names
from mixtura.data.stream import Changed, Piece, Stream

PIECE = 2**24
"""Bytes that the numbers read at a time would have as float64."""

ASIDE = re.compile(
    r"(time(?![a-z]).*|hdr-t"
    r"|event([ _-]*(#|length|count|counter|num|number|no\.?|id))?|cell[ _-]?length"
    r"|(.*[ ._-])?(w|width))",
    re.IGNORECASE,
)
"""Names of times, event counters, event lengths and pulse widths, which are no measure of a cell's stain."""

SCATTER = re.compile(r"(fsc|ssc|[fs]s(?![a-z])|(.*[ ._-])?(v|uv|b|y|r)?[fsb]sc(?![a-z])|.*scatter).*", re.IGNORECASE)
"""Names of light scatter, whose values are used as they are."""


class Fcs(Stream):
    """Events of an FCS file, read a piece at a time.

    Values are computed in float64. Those of files that store float32 are given as float32: it holds all that the file
    says, whether or not they were compensated; those of all other files are given as float64.

    Args:
        path: the file.
        text: what it says about its events.
        about: the channels that are features, and what is done to them.
        spillover: what is taken out; None leaves the values as they are.
    """

    def __init__(self, path: Path, text: Text, about: About, spillover: Spillover | None) -> None:
        super().__init__(text.place, about, text.events, path)
        self._text, self._spillover = text, spillover
        self._given = [*(about.names or ()), *([] if about.weight is None else [about.weight])]
        self._read = list(dict.fromkeys([*self._given, *(() if spillover is None else spillover.names)]))
        place = {channel.name: at for at, channel in enumerate(text.channels)}
        self._at = [place[name] for name in self._read]
        kinds = {channel.stored for channel in text.channels}
        self._kind = kinds.pop() if len(kinds) == 1 else None
        single = self._kind is not None and self._kind.kind == "f" and self._kind.itemsize == 4
        self._dtype = np.dtype(np.float32 if single else np.float64)
        self._plain = single and spillover is None and not any(text.channels[at].scaled for at in self._at)

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        size = sum(channel.stored.itemsize for channel in self._text.channels)
        left, most = self._text.events, max(1, PIECE // (8 * len(self._text.channels)))
        assert self.path is not None
        with self.path.open("rb") as stream:
            stream.seek(self._text.begin)
            while left:
                rows = min(left, most)
                raw = stream.read(rows * size)
                if len(raw) < rows * size:
                    raise Changed(f"{self.place} became shorter while it was read: use a copy that nobody writes to")
                left -= rows
                yield self._piece(self._columns(raw, rows))

    def _columns(self, raw: bytes, rows: int) -> list[np.ndarray]:
        """The numbers of the channels that are read, as they are stored."""
        if self._kind is not None:
            table = np.frombuffer(raw, self._kind).reshape(rows, -1)
            return [table[:, at] for at in self._at]
        row = np.dtype([(str(at), channel.stored) for at, channel in enumerate(self._text.channels)])
        mixed = np.frombuffer(raw, row)
        return [mixed[str(at)] for at in self._at]

    def _piece(self, columns: list[np.ndarray]) -> Piece:
        x = np.empty((len(self._at), len(columns[0])), np.float32 if self._plain else np.float64)
        # Values that are not finite are for those to judge who use the rows.
        with np.errstate(invalid="ignore", over="ignore"):
            for row, at, column in zip(x, self._at, columns, strict=True):
                row[:] = column if self._plain else self._text.channels[at].values(column)
            if self._spillover is not None:
                inside = [self._read.index(name) for name in self._spillover.names]
                x[inside] = self._spillover.removed(x[inside].T).T
            features = x[: len(self.about.names or ())].astype(self._dtype, copy=False).T
        return Piece(features, None if self.about.weight is None else x[self._read.index(self.about.weight)])


def open_source(data: Path, wanted: Wanted) -> Source:
    """The events of an FCS file as a source.

    Features are called by their detector (``$PnN``); ``columns`` and ``weight`` may also name a marker (``$PnS``).
    Times, event counters and pulse widths are left out unless they are named.

    Raises:
        ModuleNotFoundError: flowio is not installed.
        NoColumn: there is no such channel.
        ValueError: the file is damaged or not supported, or its spillover matrix cannot be used.
    """
    text = read_text(data)
    if wanted.id is not None:
        raise NoColumn(f"id: events of {text.place} have no names, only the number of their row: leave id out")
    about = _about(text, wanted)
    about, spillover = _compensated(text, about, wanted.compensate)
    about = told(about, *_scaling(text, [*(about.names or ()), *([about.weight] if about.weight else [])]), *text.noted)
    return Fcs(data, text, about, spillover)


def transformed_channels(source: Source) -> list[str]:
    """The features that asinh is meant for: those that are neither light scatter, time, event counter nor width.

    Raises:
        ValueError: there are none.
    """
    names = feature_names(source)
    found = [name for name in names if not SCATTER.fullmatch(name) and not ASIDE.fullmatch(name)]
    if not found:
        raise ValueError(
            f"transform: no feature is a fluorescence channel ({listed(names)}): choose some with transform_columns"
        )
    return found


def _about(text: Text, wanted: Wanted) -> About:
    have = [channel.name for channel in text.channels]
    usual = [name for name in have if not ASIDE.fullmatch(name)]
    columns = None if wanted.columns is None else tuple(text.find(name) or name for name in wanted.columns)
    weight = None if wanted.weight is None else text.find(wanted.weight) or wanted.weight
    try:
        about = replace(wanted, columns=columns, weight=weight).of(have, text.place, usual)
    except NoColumn as error:
        markers = [c.marker for c in text.channels if c.marker not in ("", c.name)]
        raise NoColumn(f"{error}; markers are {listed(markers, 40)}" if markers else str(error)) from None
    aside = [name for name in about.left_out if ASIDE.fullmatch(name)]
    left = f"Left out unless named, as times, event counters or pulse widths: {', '.join(aside)}."
    stained = [c for c in text.channels if c.name in (about.names or ()) and c.marker not in ("", c.name)]
    markers_said = f"Markers: {', '.join(f'{c.marker} ({c.name})' for c in stained)}."
    return told(about, left if aside and wanted.columns is None else "", markers_said if stained else "")


def _compensated(text: Text, about: About, asked: bool | None) -> tuple[About, Spillover | None]:
    """What is said of compensation, and the matrix if it is used."""
    if asked is False:
        return told(about, "Spillover was not taken out."), None
    spillover = find_spillover(text)
    if spillover is None:
        if asked:
            raise ValueError(
                f"compensate is True, but {text.place} holds no $SPILLOVER, SPILL or $COMP: compensate before, or {RAW}"
            )
        return told(about, "The file holds no spillover matrix: values are as they were measured."), None
    others = "".join(f" {key} was not used." for key in spillover.also)
    step = {"name": "compensate", "keyword": spillover.keyword}
    if spillover.nothing:
        # Whoever asks for compensation has got it.
        about = replace(about, steps=(*about.steps, step)) if asked else about
        said = f"{spillover.keyword} is an identity matrix: there was no spillover to take out.{others}"
        return told(about, said), None
    used = {*(about.names or ()), about.weight}
    if not used & {*spillover.names}:
        return told(about, f"No channel that is used stands in {spillover.keyword}: nothing to compensate."), None
    said = f"Spillover between {', '.join(spillover.names)} was taken out by {spillover.keyword}.{others}"
    return told(replace(about, steps=(*about.steps, step)), said), spillover


def _scaling(text: Text, used: list[str]) -> list[str]:
    """What was done to the numbers of the file before anything else."""
    channels = [channel for channel in text.channels if channel.name in used]

    def names(of: list[Channel]) -> str:
        return ", ".join(channel.name for channel in of)

    said = []
    if logs := [c for c in channels if c.decades]:
        said.append(f"Logarithmic integers were turned into linear values ($PnE): {names(logs)}.")
    if gains := [c for c in channels if c.gain != 1]:
        said.append(f"Values were divided by the gain of the amplifier ($PnG): {names(gains)}.")
    if times := [c for c in channels if c.tick != 1]:
        said.append(f"Times were turned into seconds ($TIMESTEP): {names(times)}.")
    return said
