"""FCS files: the numbers that flowio reads, compensation that undoes a spillover, shipped files that name nobody."""

import re
import runpy
import sys
import tracemalloc
import warnings
from pathlib import Path

import flowio
import numpy as np
import pytest
import torch

from mixtura.data import fcs
from mixtura.data.columns import NoColumn, Wanted
from mixtura.data.fcs import open_source, transformed_channels
from mixtura.data.scan import scan
from mixtura.data.stream import Changed

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "examples" / "data" / "lsrii_d6.fcs"
write = runpy.run_path(str(SHIPPED.with_name("make_fcs.py")))["write"]

NAMES = ("FSC-A", "FL1-A", "FL2-A", "Time")
ORDERS = {"<": "1,2,3,4", ">": "4,3,2,1"}
N = 57


def make(path, x, names=NAMES, kind="F", order="<", bits=None, version="3.1", **extra):
    """An FCS file of the values (N, D) in any layout; extra keywords as ``P1G="2"``, None takes one out."""
    bits = bits or [{"F": 32, "D": 64, "I": 32}[kind]] * len(names)
    words = {"$BYTEORD": ORDERS[order], "$DATATYPE": kind, "$MODE": "L", "$PAR": str(len(names)), "$TOT": str(len(x))}
    row = []
    for n, (name, width) in enumerate(zip(names, bits, strict=True), 1):
        words |= {f"$P{n}N": name, f"$P{n}B": str(width), f"$P{n}E": "0,0", f"$P{n}R": str(2 ** min(width, 31))}
        letter = extra.get(f"P{n}DATATYPE", kind)
        row.append((str(n), f"{order}{'u' if letter == 'I' else 'f'}{width // 8}"))
    words |= {f"${key}": value for key, value in extra.items()}
    events = np.rec.fromarrays([x[:, j] for j in range(len(names))], dtype=np.dtype(row))
    write(path, {key: value for key, value in words.items() if value is not None}, events.tobytes(), version)
    return path


def floats(n=N, d=4):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32) * 100


def whole_numbers(n=N, d=4, top=250):
    return np.random.default_rng(0).integers(0, top, size=(n, d))


def values(source, size=10, part=(0, 1)):
    return torch.cat([block.x for block in source.blocks(size, part)]).numpy()


def every(path, **wanted):
    names = tuple(flowio.FlowData(path, only_text=True).pnn_labels)
    return open_source(path, Wanted(columns=names, **wanted))


# ---- numbers

LAYOUTS = {
    "F": {},
    "F, big-endian": {"order": ">"},
    "D": {"kind": "D"},
    "D, big-endian": {"kind": "D", "order": ">"},
    "I8": {"kind": "I", "bits": [8] * 4},
    "I16": {"kind": "I", "bits": [16] * 4},
    "I16, big-endian": {"kind": "I", "bits": [16] * 4, "order": ">"},
    "I32, big-endian": {"kind": "I", "order": ">"},
    "I, mixed": {"kind": "I", "bits": [16, 8, 32, 16]},
    "I, mixed, big-endian": {"kind": "I", "bits": [16, 8, 32, 16], "order": ">"},
    "I, masked": {"kind": "I", "bits": [16] * 4, "P1R": "64", "P2R": "100"},
    "I, masked, mixed": {"kind": "I", "bits": [16, 8, 32, 16], "P1R": "64", "P2R": "100"},
    "I, logarithmic": {"kind": "I", "bits": [16] * 4, "P1R": "1024", "P2E": "4.0,0.1", "P2R": "1024", "P3E": "4,0"},
    "gains": {"P2G": "2.5", "P3G": "0"},
    "seconds": {"TIMESTEP": "0.01", "P4G": "0.01"},
    "2.0": {"version": "2.0"},
    "3.0": {"version": "3.0"},
    "3.2": {"version": "3.2"},
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_values_are_those_of_flowio(tmp_path, layout):
    how = LAYOUTS[layout]
    path = make(tmp_path / "a.fcs", whole_numbers() if how.get("kind") == "I" else floats(), **how)
    expected = flowio.FlowData(path).as_array()
    found = values(every(path))
    single = how.get("kind", "F") == "F"
    assert found.dtype == (np.float32 if single else np.float64)
    np.testing.assert_array_equal(found, expected.astype(found.dtype))


def test_a_shipped_file_is_read_as_flowio_reads_it():
    expected = flowio.FlowData(SHIPPED).as_array()
    source = every(SHIPPED, compensate=False)
    assert source.shape == expected.shape == (14945, 11)
    np.testing.assert_array_equal(values(source, 4096), expected.astype(np.float32))


def test_types_mixed_within_an_event(tmp_path):
    """FCS 3.2: each channel may have a type of its own."""
    x = whole_numbers()
    how = {"bits": [32, 64, 16, 64], "P2DATATYPE": "D", "P3DATATYPE": "I", "P4DATATYPE": "I"}
    path = make(tmp_path / "a.fcs", x, version="3.2", MODE=None, P4R=str(2**64), **how)
    found = values(open_source(path, Wanted(columns=NAMES)))
    np.testing.assert_array_equal(found, x.astype(np.float64))


def test_floating_point_is_never_logarithmic(tmp_path):
    x = floats()
    source = every(make(tmp_path / "a.fcs", x, P2E="4,1"))
    np.testing.assert_array_equal(values(source), x)
    assert any("$PnE of FL1-A was ignored" in sentence for sentence in source.about.told)


def test_scaling_is_told(tmp_path):
    how = {"kind": "I", "bits": [16] * 4, "P2E": "4,1", "P3G": "2", "TIMESTEP": "0.5"}
    told = " ".join(every(make(tmp_path / "a.fcs", whole_numbers(), **how)).about.told)
    assert "linear values ($PnE): FL1-A." in told
    assert "gain of the amplifier ($PnG): FL2-A." in told
    assert "seconds ($TIMESTEP): Time." in told


@pytest.mark.parametrize("size", [1, 7, N, 1000])
@pytest.mark.parametrize("piece", [1, 100, 2**24])
def test_pieces_and_blocks_of_any_size_give_the_same_rows(tmp_path, monkeypatch, size, piece):
    monkeypatch.setattr(fcs, "PIECE", piece)
    x = floats()
    source = every(make(tmp_path / "a.fcs", x))
    for _ in range(2):
        np.testing.assert_array_equal(values(source, size), x)
    parts = [values(source, size, (i, 3)) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), x)


def test_only_a_piece_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(fcs, "PIECE", 2**18)
    path = make(tmp_path / "a.fcs", floats(200_000), SPILLOVER="2,FL1-A,FL2-A,1,0.1,0.2,1")
    size = path.stat().st_size
    tracemalloc.start()
    source = open_source(path, Wanted())
    rows = sum(len(block.x) for block in source.blocks(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 200_000
    assert peak < size / 2


def test_values_that_are_not_finite_pass_in_silence(tmp_path):
    """Whether they are missing or wrong is not for a file to say."""
    x = floats().astype(np.float64)
    x[3, 1], x[5, 2], x[7, 0] = np.nan, np.inf, -np.inf
    path = make(tmp_path / "a.fcs", x, SPILLOVER=MATRIX, P1G="2")
    with path.open("r+b") as stream:
        stream.seek(int(path.read_bytes()[26:34]))
        stream.write(bytes.fromhex("0100a07f"))  # a signalling NaN, little-endian
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = values(every(path))
    wrong = np.zeros(x.shape, bool)
    wrong[[3, 3, 5, 5, 7, 0], [1, 2, 1, 2, 0, 0]] = True
    np.testing.assert_array_equal(~np.isfinite(found), wrong)


@pytest.mark.parametrize("extra", [0, 1])
def test_one_byte_too_many_in_the_offset_is_forgiven(tmp_path, extra):
    """Many programs give the byte after the last one as the end of DATA."""
    path = make(tmp_path / "a.fcs", floats())
    raw = path.read_bytes()
    end = int(raw[34:42])
    path.write_bytes(raw[:34] + f"{end + extra:8d}".encode() + raw[42:].replace(b"|%d|" % end, b"|%d|" % (end + extra)))
    np.testing.assert_array_equal(values(every(path)), floats())


def test_offsets_of_a_large_file_stand_in_text_alone(tmp_path):
    path = make(tmp_path / "a.fcs", floats())
    raw = path.read_bytes()
    path.write_bytes(raw[:26] + b"       0       0" + raw[42:])
    np.testing.assert_array_equal(values(open_source(path, Wanted(columns=NAMES))), floats())


@pytest.mark.parametrize(("version", "right"), [("2.0", "HEADER"), ("3.0", "TEXT"), ("3.1", "TEXT")])
def test_where_the_offsets_disagree_the_standard_says_which_holds(tmp_path, version, right):
    path = make(tmp_path / "a.fcs", floats(), version=version)
    raw = path.read_bytes()
    begin, end = raw[26:34], raw[34:42]
    wrong = [f"{int(at) - 16:d}".encode() for at in (begin, end)]
    if right == "TEXT":
        raw = raw[:26] + wrong[0].rjust(8) + wrong[1].rjust(8) + raw[42:]
    else:
        for at, instead in zip((begin, end), wrong, strict=True):
            raw = raw.replace(b"|" + at.strip() + b"|", b"|" + instead.rjust(len(at.strip())) + b"|")
    path.write_bytes(raw)
    np.testing.assert_array_equal(values(open_source(path, Wanted(columns=NAMES))), floats())


def test_a_second_data_set_and_more_text_are_told(tmp_path):
    path = make(tmp_path / "a.fcs", floats(), NEXTDATA="90000", BEGINSTEXT="58", ENDSTEXT="60")
    source = open_source(path, Wanted(columns=NAMES))
    told = " ".join(source.about.told)
    assert "more than one data set; the first was read" in told
    assert "supplemental TEXT segment, which was not read" in told
    np.testing.assert_array_equal(values(source), floats())


# ---- channels

ASIDE = ["Time", "TIME", "time2", "Time MSW", "HDR-T", "Event_length", "Event #", "EVENT", "Event Count", "Cell_length"]
WIDTHS = ["FSC-W", "SSC-B-W", "FL1-Width", "Width", "FITC-w"]
STAINS = ["FITC-A", "Timer-A", "Ce140Di", "FL2-H", "PE-TxRed YG-A", "Pacific Blue-A", "BV421-A", "Eventide-A", "W655-A"]
SCATTER = ["FSC-A", "FSC", "SSC-H", "ssc-a", "FS INT", "SS-A", "VSSC-A", "Forward Scatter", "BSC-A", "405-SSC-A"]


def test_what_is_no_stain_is_left_out(tmp_path):
    names = [*ASIDE, *WIDTHS, *STAINS, *SCATTER]
    path = make(tmp_path / "a.fcs", floats(3, len(names)), names)
    source = open_source(path, Wanted())
    assert source.about.names == (*STAINS, *SCATTER)
    assert source.about.left_out == (*ASIDE, *WIDTHS)
    assert any(sentence.endswith(f"{', '.join([*ASIDE, *WIDTHS])}.") for sentence in source.about.told)
    assert transformed_channels(source) == STAINS


def test_what_is_named_is_read(tmp_path):
    x = floats()
    source = open_source(make(tmp_path / "a.fcs", x), Wanted(columns=("Time", "FL1-A")))
    assert source.about.names == ("Time", "FL1-A")
    assert source.about.left_out == ("FSC-A", "FL2-A")
    assert not any("Left out" in sentence for sentence in source.about.told)
    np.testing.assert_array_equal(values(source), x[:, [3, 1]])
    assert transformed_channels(source) == ["FL1-A"]


def test_a_channel_may_be_called_by_its_marker(tmp_path):
    x = floats()
    path = make(tmp_path / "a.fcs", x, P2S="CD3", P3S="CD19", P1S="FSC-A")
    source = open_source(path, Wanted(columns=("CD19", "FL1-A")))
    assert source.about.names == ("FL2-A", "FL1-A")
    assert "Markers: CD3 (FL1-A), CD19 (FL2-A)." in source.about.told
    np.testing.assert_array_equal(values(source), x[:, [2, 1]])
    with pytest.raises(NoColumn, match="markers are 'CD3', 'CD19'"):
        open_source(path, Wanted(columns=("CD4",)))
    with pytest.raises(NoColumn, match="more than once"):
        open_source(path, Wanted(columns=("CD3", "FL1-A")))
    with pytest.raises(NoColumn, match="no column 'CD3'"):  # two channels have this marker
        open_source(make(tmp_path / "b.fcs", x, P2S="CD3", P3S="CD3"), Wanted(columns=("CD3",)))


def test_a_channel_can_be_the_weight(tmp_path):
    x = floats()
    source = open_source(make(tmp_path / "a.fcs", x, P3S="count"), Wanted(weight="count"))
    assert source.about.names == ("FSC-A", "FL1-A")
    assert source.about.weight == "FL2-A"
    blocks = list(source.blocks(10))
    np.testing.assert_array_equal(torch.cat([block.weight for block in blocks]).numpy(), x[:, 2].astype(np.float64))


def test_scan_transforms_stains_alone(tmp_path):
    x = floats()
    source = scan(make(tmp_path / "a.fcs", x), transform="asinh", cofactor=5)
    np.testing.assert_allclose(values(source), np.c_[x[:, 0], np.arcsinh(x[:, 1:3] / 5)], rtol=1e-6)
    assert source.about.steps[-1] == {"name": "asinh", "cofactor": 5.0, "columns": ["FL1-A", "FL2-A"]}
    with pytest.raises(ValueError, match="transform: no feature is a fluorescence channel"):
        scan(tmp_path / "a.fcs", columns=["FSC-A"], transform="asinh")


# ---- compensation

S = np.array([[1, 0.25], [0.125, 1]])
MATRIX = "2,FL2-A,FL1-A,1,0.25,0.125,1"


def spilled(tmp_path, kind="F", **words):
    """Events of two dyes, and the file of what their detectors saw."""
    true = np.abs(floats()).astype(np.float64) + 1
    seen = true.copy()
    seen[:, [2, 1]] = true[:, [2, 1]] @ S
    return true, make(tmp_path / "a.fcs", seen, kind=kind, **words)


@pytest.mark.parametrize("keyword", ["SPILLOVER", "SPILL", "COMP"])
@pytest.mark.parametrize("asked", [None, True])
def test_spillover_is_taken_out(tmp_path, keyword, asked):
    true, path = spilled(tmp_path, "D", **{keyword: MATRIX})
    source = every(path, compensate=asked)
    np.testing.assert_allclose(values(source), true, rtol=1e-13)
    assert source.about.steps == ({"name": "compensate", "keyword": keyword},)
    assert f"Spillover between FL2-A, FL1-A was taken out by {keyword}." in source.about.told


def test_compensation_needs_channels_that_are_not_features(tmp_path):
    true, path = spilled(tmp_path, SPILLOVER=MATRIX)
    found = values(open_source(path, Wanted(columns=("FL1-A", "FSC-A"))))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, true[:, [1, 0]], rtol=1e-6)
    source = open_source(path, Wanted(columns=("FSC-A",)))
    assert source.about.steps == ()
    assert "No channel that is used stands in SPILLOVER: nothing to compensate." in source.about.told


def test_compensation_follows_gains(tmp_path):
    """The matrix is about linear values, after amplifiers were divided out."""
    true = np.abs(floats()).astype(np.float64) + 1
    seen = true.copy()
    seen[:, [2, 1]] = (true[:, [2, 1]] @ S) * [4, 2]
    path = make(tmp_path / "a.fcs", seen, kind="D", P3G="4", P2G="2", SPILLOVER=MATRIX)
    np.testing.assert_allclose(values(every(path)), true, rtol=1e-13)


def test_compensation_can_be_refused(tmp_path):
    _, path = spilled(tmp_path, SPILLOVER=MATRIX)
    source = every(path, compensate=False)
    np.testing.assert_array_equal(values(source), flowio.FlowData(path).as_array().astype(np.float32))
    assert source.about.steps == ()
    assert "Spillover was not taken out." in source.about.told


def test_a_matrix_may_name_markers(tmp_path):
    true, path = spilled(tmp_path, P2S="CD3", SPILLOVER=MATRIX.replace("FL1-A", "CD3"))
    np.testing.assert_allclose(values(every(path)), true, rtol=1e-6)


@pytest.mark.parametrize("asked", [None, True])
def test_an_identity_is_nothing_to_do(tmp_path, asked):
    _, path = spilled(tmp_path, SPILL="2,FL2-A,FL1-A,1,0,0,1.0")
    source = every(path, compensate=asked)
    np.testing.assert_array_equal(values(source), flowio.FlowData(path).as_array().astype(np.float32))
    # Whoever asks for compensation has got it, and may compare such files with others.
    assert [step["name"] for step in source.about.steps] == (["compensate"] if asked else [])
    assert "SPILL is an identity matrix: there was no spillover to take out." in source.about.told


def test_the_keyword_of_the_standard_comes_first(tmp_path):
    true, path = spilled(tmp_path, SPILLOVER=MATRIX, COMP="2,FL2-A,FL1-A,1,0,0,1")
    source = every(path)
    np.testing.assert_allclose(values(source), true, rtol=1e-6)
    assert any(sentence.endswith("by SPILLOVER. COMP was not used.") for sentence in source.about.told)


def test_a_file_without_a_matrix(tmp_path):
    path = make(tmp_path / "a.fcs", floats())
    assert "The file holds no spillover matrix: values are as they were measured." in every(path).about.told
    with pytest.raises(ValueError, match=r"compensate is True, but a\.fcs holds no \$SPILLOVER"):
        every(path, compensate=True)


def test_the_shipped_file_is_compensated():
    words = flowio.FlowData(SHIPPED, only_text=True).text["spillover"].split(",")
    names, matrix = words[1:5], np.array([float(cell) for cell in words[5:]]).reshape(4, 4)
    raw = flowio.FlowData(SHIPPED)
    at = [raw.pnn_labels.index(name) for name in names]
    expected = raw.as_array()[:, at] @ np.linalg.inv(matrix)
    found = values(open_source(SHIPPED, Wanted(columns=tuple(names))), 4096)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


MATRICES = {
    "2,FL2-A,FL9-A,1,0,0,1": "names the channels 'FL9-A', but there are 'FSC-A', 'FL1-A'",
    "2,FL2-A,FL2-A,1,0,0,1": "names 'FL2-A' more than once",
    "2,FL2-A,FL1-A,1,0,0": "has 3 numbers for 2 channels, expected 2 × 2",
    "2,FL2-A,FL1-A,1,0,0,1,0": "has 5 numbers for 2 channels",
    "2,FL2-A,FL1-A,1,1,1,1": "is singular",
    "2,FL2-A,FL1-A,1,1,1,1.000000001": "is singular",
    "2,FL2-A,FL1-A,0,0,0,0": "is singular",
    "2,FL2-A,FL1-A,1,nan,0,1": "not finite",
    "2,FL2-A,FL1-A,1,inf,0,1": "not finite",
    "2,FL2-A,FL1-A,1,x,0,1": "has a cell that is no number",
    "2,1,0.25,0.125,1": "names the channels '1', '0.25'",
    "FL2-A,FL1-A,1,0,0,1": "begins with 'FL2-A', expected the number of its channels",
    "0": "begins with '0'",
    "2": "has 0 numbers for 2 channels",
}


@pytest.mark.parametrize("matrix", list(MATRICES))
@pytest.mark.parametrize("keyword", ["SPILLOVER", "COMP"])
def test_matrices_that_cannot_be_used(tmp_path, matrix, keyword):
    path = make(tmp_path / "a.fcs", floats(), **{keyword: matrix})
    for asked in (None, True):
        with pytest.raises(ValueError, match=MATRICES[matrix]) as caught:
            every(path, compensate=asked)
        said = str(caught.value)
        assert said.startswith(f"a.fcs holds a spillover matrix that cannot be used: {keyword} ")
        assert said.endswith("compensate=False reads the values as they are")
    np.testing.assert_array_equal(values(every(path, compensate=False)), floats())


# ---- what is refused


def edited(old, new):
    return lambda raw: raw.replace(old, new)


BAD = {
    "not FCS": ({}, lambda raw: b"PK" + raw[2:], "is not an FCS file"),
    "nothing but a name": ({}, lambda raw: b"FCS3.1", "damaged HEADER or TEXT"),
    "another version": ({"version": "4.0"}, None, "FCS version '4.0'"),
    "offset that is no number": ({}, lambda raw: raw[:10] + b"   oops " + raw[18:], "damaged HEADER or TEXT"),
    "TEXT beyond the file": ({}, lambda raw: raw[:18] + b"99999999" + raw[26:], "damaged HEADER or TEXT"),
    "TEXT before the file": ({}, lambda raw: raw[:10] + b"    -900" + raw[18:], "a segment begins before the file"),
    "cut in TEXT": ({}, lambda raw: raw[:200], "damaged HEADER or TEXT"),
    "cut in DATA": ({}, lambda raw: raw[:-100], "is cut short"),
    "no name": ({"P2N": None}, None, r"lacks \$P2N"),
    "no bits": ({"P2B": None}, None, r"lacks \$P2B"),
    "no range": ({"P2R": None}, None, r"lacks \$P2R"),
    "no type": ({"DATATYPE": None}, None, r"lacks \$DATATYPE"),
    "no order": ({"BYTEORD": None}, None, r"lacks \$BYTEORD"),
    "no number of events": ({"TOT": None}, None, r"lacks \$TOT"),
    "no number of channels": ({"PAR": None}, None, r"lacks \$PAR"),
    "too many channels": ({"PAR": "5"}, None, r"lacks \$P5N"),
    "too few channels": ({"PAR": "3"}, None, "contradicts itself"),
    "too many events": (
        {"TOT": str(N + 1)},
        None,
        r"contradicts itself: \$TOT says 58 events of 16 bytes, DATA has 912",
    ),
    "too few events": ({"TOT": str(N - 1)}, None, "contradicts itself"),
    "no events": ({"TOT": "0"}, None, "has no events"),
    "two names alike": ({"P2N": "FSC-A"}, None, "more than one channel named 'FSC-A'"),
    "histograms": ({"MODE": "C"}, None, "holds histograms"),
    "text events": ({"DATATYPE": "A"}, None, "expected I of 8, 16, 32 or 64"),
    "odd width": ({"kind": "I", "P2B": "10"}, None, "stores 'FL1-A' as .* of 10 bits"),
    "bits that are no number": ({"P2B": "*"}, None, r"\$P2B is '\*', expected a whole number"),
    "width of another type": ({"P2B": "64"}, None, "'F' of 64 bits"),
    "order of no machine": ({"BYTEORD": "3,4,1,2"}, None, r"\$BYTEORD '3,4,1,2'"),
    "gain below 0": ({"P2G": "-1"}, None, r"\$P2G is -1"),
    "gain that is no number": ({"P2G": "x"}, None, "damaged HEADER or TEXT"),
    "scale that is no number": ({"P2E": "0;0"}, None, "damaged HEADER or TEXT"),
    "decades below 0": ({"kind": "I", "P2E": "-4,1"}, None, r"\$P2E is -4,1"),
    "range of nothing": ({"kind": "I", "P2R": "0"}, None, r"\$P2R is 0"),
    "odd ticks": ({"TIMESTEP": "soon"}, None, r"\$TIMESTEP is 'soon'"),
    "no offsets": (
        {"BEGINDATA": "0", "ENDDATA": "0"},
        lambda raw: raw[:26] + b"       0" * 2 + raw[42:],
        "DATA begins",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_files_are_refused_in_a_sentence(tmp_path, case):
    how, edit, said = BAD[case]
    x = whole_numbers() if how.get("kind") == "I" else floats()
    path = tmp_path / "a.fcs"
    make(path, x, **how)
    if edit is not None:
        path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(ValueError, match=said) as caught:
        open_source(path, Wanted())
    message = str(caught.value)
    assert message.startswith("a.fcs ")
    assert str(tmp_path) not in message
    assert "\n" not in message
    assert caught.value.__cause__ is None


def test_rows_have_no_names(tmp_path):
    with pytest.raises(NoColumn, match=r"id: events of a\.fcs have no names"):
        open_source(make(tmp_path / "a.fcs", floats()), Wanted(id="Time"))


def test_a_file_that_changes_is_noticed(tmp_path, monkeypatch):
    path = make(tmp_path / "a.fcs", floats())
    source = every(path)
    values(source)
    raw = path.read_bytes()
    path.write_bytes(raw[:-200])
    with pytest.raises(Changed, match=r"a\.fcs changed while it was read"):
        values(source)
    monkeypatch.setattr(source, "_check_stamp", lambda: None)  # between two looks at the file
    with pytest.raises(Changed, match=r"a\.fcs became shorter"):
        values(source)


def test_flowio_is_asked_for(tmp_path, monkeypatch):
    path = make(tmp_path / "a.fcs", floats())
    monkeypatch.setitem(sys.modules, "flowio", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mixtura\[fcs\]"'):
        open_source(path, Wanted())


# ---- what is shipped

ALLOWED = re.compile(
    r"\$(BEGINANALYSIS|ENDANALYSIS|BEGINSTEXT|ENDSTEXT|BEGINDATA|ENDDATA|NEXTDATA|BYTEORD|DATATYPE|MODE|PAR|TOT|TIMESTEP"
    r"|P\d+[NSBEGRV]|SPILLOVER)|SPILL"
)
"""Keywords that say how to read events; all others may say who measured them, where and when."""

NAMED = re.compile(r"\$P\d+[NS]|\$SPILLOVER|SPILL")
"""Keywords whose values are words: names of channels."""

CHANNELS = {"FSC-A", "FSC-H", "FSC-W", "SSC-A", "SSC-H", "SSC-W"} | {
    *("FITC-A", "PerCP-Cy5-5-A", "AmCyan-A", "PE-TxRed YG-A", "Time")
}


def shipped():
    """Every file of the repository that is an FCS file by its name or its first bytes."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        with path.open("rb") as stream:
            begins = re.match(rb"FCS\d\.\d", stream.read(6))
        if begins or path.suffix.lower() in (".fcs", ".lmd"):
            yield path


def check_of_privacy(raw):
    """Raises where an FCS file may hold more than its events; reads it without the help of any package."""
    at = [int(raw[k : k + 8]) for k in range(10, 58, 8)]
    begin, end, first, last, *analysis = at
    assert analysis == [0, 0]
    assert raw[58:begin].strip(b" ") == b""
    text = raw[begin : end + 1].decode("ascii")
    cells = text[1:-1].split(text[0])
    assert text[-1] == text[0]
    assert len(cells) % 2 == 0
    words = dict(zip(cells[::2], cells[1::2], strict=True))
    assert len(words) == len(cells) // 2
    assert not [key for key in words if not ALLOWED.fullmatch(key)]
    for key, value in words.items():
        for cell in value.split(","):
            number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
            assert number or cell in CHANNELS or (key, cell) in {("$MODE", "L"), ("$DATATYPE", "F")}, (key, cell)
            assert number is None or not re.fullmatch(r"\$P\d+[NS]", key)
            assert cell not in CHANNELS or NAMED.fullmatch(key)
    empty = [words[f"${side}{segment}"] for side in ("BEGIN", "END") for segment in ("ANALYSIS", "STEXT")]
    assert {*empty, words["$NEXTDATA"]} == {"0"}
    assert (int(words["$BEGINDATA"]), int(words["$ENDDATA"])) == (first, last)
    assert first == end + 1
    assert last + 1 - first == 4 * int(words["$PAR"]) * int(words["$TOT"])
    assert raw[last + 1 :] == b"00000000"  # no check sum was computed


def test_shipped_files_say_nothing_of_anyone():
    found = list(shipped())
    assert SHIPPED in found
    for path in found:
        check_of_privacy(path.read_bytes())


LEAKS = {
    "a keyword": {"OP": "someone"},
    "a keyword outside the standard": {"P1DISPLAY": "LOG"},
    "a value": {"P1V": "someone"},
    "a name": {"P1N": "someone"},
    "a marker": {"P1S": "someone"},
    "a type": {"TIMESTEP": "L"},
    "more text": {"BEGINSTEXT": "58", "ENDSTEXT": "60"},
    "an analysis": {"BEGINANALYSIS": "58"},
    "another data set": {"NEXTDATA": "99"},
    "a matrix": {"SPILLOVER": "1,someone,1"},
    "fewer events": {"TOT": "3"},
}


@pytest.mark.parametrize("leak", list(LEAKS))
def test_the_check_of_privacy_can_fail(tmp_path, leak):
    names = ("FSC-A", "SSC-A")
    clean = make(tmp_path / "a.fcs", floats(9, 2), names).read_bytes()
    check_of_privacy(clean)
    with pytest.raises(AssertionError):
        check_of_privacy(make(tmp_path / "b.fcs", floats(9, 2), names, **LEAKS[leak]).read_bytes())


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw + b"someone",
        lambda raw: raw[:-8] + b"someone0",
        lambda raw: raw[:60] + b"me" + raw[62:],
        lambda raw: raw[:42] + b"      58      60" + raw[58:],
    ],
)
def test_bytes_between_the_segments_are_seen(tmp_path, edit):
    clean = make(tmp_path / "a.fcs", floats(9, 2), ("FSC-A", "SSC-A")).read_bytes()
    with pytest.raises(AssertionError):
        check_of_privacy(edit(clean))


def test_the_page_of_licences_tells_of_the_shipped_file():
    page = SHIPPED.with_name("LICENSES.md").read_text(encoding="utf-8")
    assert "## lsrii_d6.fcs" in page
    assert "fcsparser 0.2.8" in page
    for name in flowio.FlowData(SHIPPED, only_text=True).pnn_labels:
        assert f"`{name}`" in page
    assert SHIPPED.stat().st_size < 700_000
