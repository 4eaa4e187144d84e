"""Write lsrii_d6.fcs, events without a word about who measured them: ``python make_fcs.py fcsparser_lsrii_d6.fcs``."""

import sys
from array import array
from pathlib import Path

import flowio

EACH = "NSBEGRV"
"""Last letters of the keywords of a channel that are kept: name, marker, bits, scale, gain, range, voltage."""

START = 64
"""Where TEXT begins: HEADER has 58 bytes."""


def write(path: Path, keywords: dict[str, str], data: bytes, version: str = "3.1") -> None:
    """An FCS file of one data set: HEADER, TEXT, DATA and an empty check sum.

    Args:
        path: the new file.
        keywords: by name, without offsets.
        data: the DATA segment.
        version: of the standard.
    """
    none = dict.fromkeys(("$BEGINANALYSIS", "$ENDANALYSIS", "$BEGINSTEXT", "$ENDSTEXT", "$NEXTDATA"), "0")
    begin = 0
    while True:  # the length of TEXT depends on the digits of the offsets in it
        end = begin + len(data) - 1
        pairs = {**none, "$BEGINDATA": str(begin), "$ENDDATA": str(end), **keywords}
        text = "|" + "".join(f"{key}|{value.replace('|', '||')}|" for key, value in pairs.items())
        if START + len(text.encode()) == begin:
            break
        begin = START + len(text.encode())
    header = f"FCS{version}    " + "".join(f"{at:8d}" for at in (START, begin - 1, begin, end, 0, 0))
    path.write_bytes(header.ljust(START).encode() + text.encode() + data + b"00000000")


def main(source: str) -> None:
    """All events, little-endian, under the keywords that say how to read them, and no other keyword of the source."""
    found = flowio.FlowData(source)
    events = array("f", found.events)
    if sys.byteorder == "big":
        events.byteswap()
    keywords = {
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$MODE": "L",
        "$PAR": str(found.channel_count),
        "$TOT": str(found.event_count),
        "$TIMESTEP": found.text["timestep"],
        "$SPILLOVER": found.text["spill"],
    }
    for n in range(1, found.channel_count + 1):
        keywords |= {f"$P{n}{e}": found.text[key] for e in EACH if (key := f"p{n}{e.lower()}") in found.text}
    write(Path(__file__).with_name("lsrii_d6.fcs"), keywords, events.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
