"""The TEXT of an FCS file: which channels it has, how their numbers are stored and where they lie.

The keywords are those of the Flow Cytometry Standard, versions 2.0 to 3.2 (Spidlen et al., Cytometry A 77, 97, 2010;
Spidlen et al., Cytometry A 99, 100, 2021).
"""

import errno
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.columns import listed

VERSIONS = ("2.0", "3.0", "3.1", "3.2")
WIDTHS = {"I": (8, 16, 32, 64), "F": (32,), "D": (64,)}
"""Bits of a number, by the letter of its type."""

HEADER = 58
"""Bytes before which no segment can begin."""


@dataclass(frozen=True)
class Channel:
    """A parameter of an FCS file, in the words of the standard; here it is one column.

    Attributes:
        name: of the detector, ``$PnN``.
        marker: what was stained, ``$PnS``; empty where it is not said.
        stored: type of its numbers in the file.
        mask: bits of an integer that count, from ``$PnR``; None for all.
        decades, least: ``$PnE`` of integers on a logarithmic scale; no decades on a linear one.
        top: ``$PnR``.
        gain: ``$PnG``, by which values are divided.
        tick: ``$TIMESTEP`` of the time, which values are multiplied by; 1 for all other channels.
    """

    name: str
    marker: str
    stored: np.dtype
    mask: int | None
    decades: float
    least: float
    top: float
    gain: float
    tick: float

    @property
    def scaled(self) -> bool:
        """The values are not the numbers in the file."""
        return bool(self.decades) or self.gain != 1 or self.tick != 1

    def values(self, raw: np.ndarray) -> np.ndarray:
        """(N,) float64 linear values of the numbers in the file."""
        x = (raw if self.mask is None else raw & raw.dtype.type(self.mask)).astype(np.float64)
        if self.tick != 1:
            x *= self.tick
        if self.decades:
            x = 10 ** (self.decades * x / self.top) * self.least
        if self.gain != 1:
            x /= self.gain
        return x


@dataclass(frozen=True)
class Text:
    """What an FCS file says about its events.

    Attributes:
        place: its name, without the directory.
        keywords: all of them, in lower case and without the leading ``$``.
        channels: (C,) in the order of the file.
        begin: offset of the first event.
        events: how many there are.
        noted: what a reader should know, one sentence each.
    """

    place: str
    keywords: dict[str, str]
    channels: tuple[Channel, ...]
    begin: int
    events: int
    noted: tuple[str, ...]

    def find(self, name: str) -> str | None:
        """The ``$PnN`` of a channel from that, or from a ``$PnS`` that no other channel has; else None."""
        if any(channel.name == name for channel in self.channels):
            return name
        found = [channel.name for channel in self.channels if channel.marker == name]
        return found[0] if len(found) == 1 else None


def read_text(path: Path) -> Text:
    """What an FCS file says about its events, checked against the bytes that are there.

    Raises:
        ModuleNotFoundError: flowio is not installed.
        ValueError: it is no FCS file, is damaged, or stores its events in a way that is not supported.
    """
    found = _flowio(path)
    if found.version not in VERSIONS:
        raise ValueError(f"{path.name} is of FCS version {found.version!r}, expected one of {', '.join(VERSIONS)}")
    words: dict[str, str] = found.text
    if words.get("mode", "L").strip().upper() != "L":
        raise ValueError(f"{path.name} holds histograms ($MODE {words['mode']!r}), not events: export it as list mode")
    try:
        channels = tuple(_channel(found, n, path.name) for n in range(1, found.channel_count + 1))
    except KeyError as missing:
        raise damaged(path.name, f"it lacks ${missing.args[0].upper()}") from None
    names = [channel.name for channel in channels]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path.name} has more than one channel named {listed(twice)}: give each its own $PnN")
    size = sum(channel.stored.itemsize for channel in channels)
    begin = _begin(found, size, path)
    return Text(path.name, words, channels, begin, found.event_count, _noted(words, channels, found))


def damaged(place: str, reason: str) -> ValueError:
    """What is raised where a file contradicts the standard."""
    return ValueError(f"{place} has a damaged HEADER or TEXT ({reason}): export it from the cytometer's program again")


def _flowio(path: Path) -> Any:
    """HEADER and TEXT, parsed."""
    try:
        import flowio
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading FCS needs flowio: pip install "mixtura[fcs]"') from None
    with path.open("rb") as stream:
        if stream.read(3) != b"FCS":
            raise ValueError(f"{path.name} is not an FCS file, whatever its name says: check how it was written")
        try:
            # Offset 0 given in so many words: the first of several data sets. The offsets of DATA are compared below.
            return flowio.FlowData(stream, only_text=True, use_header_offsets=True, nextdata_offset=0)
        except KeyError as missing:
            raise damaged(path.name, f"it lacks ${str(missing.args[0]).upper()}") from None
        except flowio.exceptions.FCSParsingError:
            raise _cut(path, "the end of DATA that HEADER gives") from None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise damaged(path.name, "a segment begins before the file") from None
        except (ValueError, IndexError, TypeError, EOFError, OverflowError, re.error) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise damaged(path.name, reason) from None


def _channel(found: Any, n: int, place: str) -> Channel:
    words, said = found.text, found.channels.get(n)
    if said is None:
        raise KeyError(f"p{n}n")
    name = said["pnn"].strip()
    letter = words.get(f"p{n}datatype", words["datatype"]).strip().upper()
    bits = _whole(words[f"p{n}b"], f"$P{n}B", place)
    if bits not in WIDTHS.get(letter, ()):
        raise ValueError(
            f"{place} stores {name!r} as $DATATYPE {letter!r} of {bits} bits, expected I of 8, 16, 32 or 64, F of 32 "
            "or D of 64: export it as floating point"
        )
    top, gain = float(said["pnr"]), float(said["png"]) or 1.0
    decades, least = said["pne"] if letter == "I" else (0.0, 0.0)
    if not (math.isfinite(gain) and gain > 0):
        raise damaged(place, f"$P{n}G is {gain:g}, expected a gain above 0")
    if not (math.isfinite(top) and top > 0) and letter == "I":
        raise damaged(place, f"$P{n}R is {top:g}, expected a range above 0")
    if not (math.isfinite(decades) and math.isfinite(least) and decades >= 0 and least >= 0):
        raise damaged(place, f"$P{n}E is {decades:g},{least:g}, expected decades and an offset of at least 0")
    return Channel(
        name=name,
        marker=said["pns"].strip(),
        stored=np.dtype(f"{_order(words['byteord'], bits, place)}{'u' if letter == 'I' else 'f'}{bits // 8}"),
        mask=_mask(top, bits) if letter == "I" else None,
        decades=decades,
        least=least,
        top=top,
        gain=gain,
        tick=_tick(words.get("timestep", ""), place) if found.time_index == n - 1 else 1.0,
    )


def _order(said: str, bits: int, place: str) -> str:
    """NumPy's sign of a byte order."""
    given = [part.strip() for part in said.split(",")]
    up = [str(n + 1) for n in range(len(given))]
    if given == up:
        return "<"
    if given == up[::-1]:
        return ">"
    if bits == 8:
        return "|"
    raise ValueError(f"{place} has $BYTEORD {said!r}, expected 1,2,3,4 or 4,3,2,1: export it anew")


def _mask(top: float, bits: int) -> int | None:
    """Bits above the range mean nothing; one that is no power of 2 is rounded up to one."""
    used = (math.ceil(top) - 1).bit_length()
    return None if used >= bits else 2**used - 1


def _tick(said: str, place: str) -> float:
    try:
        tick = float(said or 1)
    except ValueError:
        tick = 1.0 if not said.strip() else math.nan
    if not (math.isfinite(tick) and tick > 0):
        raise damaged(place, f"$TIMESTEP is {said!r}, expected seconds above 0")
    return tick


def _whole(said: str, keyword: str, place: str) -> int:
    try:
        return int(said)
    except ValueError:
        raise damaged(place, f"{keyword} is {said!r}, expected a whole number") from None


def _begin(found: Any, size: int, path: Path) -> int:
    """Where the first event is: TEXT and HEADER both say so, and one of them has to fit the events."""
    if found.event_count < 1:
        raise ValueError(f"{path.name} has no events ($TOT is {found.event_count}): check how it was gated or exported")
    expected = found.event_count * size
    header = found.header["data_start"], found.header["data_stop"]
    words = [_whole(found.text.get(key, "0"), f"${key.upper()}", path.name) for key in ("begindata", "enddata")]
    text = words[0], words[1]
    # Before 3.0 the offsets in TEXT were not part of the standard.
    spans = [header, text] if found.version == "2.0" else [text, header]
    spans = [span for span in spans if span[0] >= HEADER]
    if not spans:
        raise damaged(path.name, "neither HEADER nor TEXT says where DATA begins")
    # Many programs give the byte after the last one.
    fitting = [begin for begin, end in spans if end - begin + 1 - expected in (0, 1)]
    if not fitting:
        begin, end = spans[0]
        raise ValueError(
            f"{path.name} contradicts itself: $TOT says {found.event_count:,} events of {size} bytes, DATA has "
            f"{max(end - begin + 1, 0):,} bytes; export it again"
        )
    if fitting[0] + expected > path.stat().st_size:
        raise _cut(path, f"byte {fitting[0] + expected:,}, the end of DATA")
    return int(fitting[0])


def _cut(path: Path, where: str) -> ValueError:
    return ValueError(f"{path.name} is cut short: it ends before {where}; copy or export it again")


def _noted(words: dict[str, str], channels: tuple[Channel, ...], found: Any) -> tuple[str, ...]:
    noted = []
    if words.get("nextdata", "0").strip() not in ("", "0"):
        noted.append("The file holds more than one data set; the first was read.")
    if words.get("beginstext", "0").strip() not in ("", "0") and words.get("endstext", "0") != words["beginstext"]:
        noted.append("The file has a supplemental TEXT segment, which was not read.")
    odd = [c.name for n, c in enumerate(channels, 1) if c.stored.kind == "f" and found.channels[n]["pne"][0]]
    if odd:
        noted.append(f"$PnE of {', '.join(odd)} was ignored: floating-point values are linear.")
    return tuple(noted)
