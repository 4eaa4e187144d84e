"""Feed: rows copied beside the count, in an order that no stream can break; and how much memory they may take."""

import numpy as np
import pytest
import torch
from cases import Cut, parameters, to_mixture

from mixtura.data import Array
from mixtura.feed import Feed, Lane
from mixtura.measure import measure
from mixtura.room import BUDGET, FEWEST, LARGEST, LONGEST, MOST, RESIDENT, Room, room_on
from mixtura.rows import Rows


class Noted:
    """A lane of the CPU that writes down what it is told; events are the places of their notes."""

    def __init__(self):
        self.log = []

    def note(self, *what):
        self.log.append(what)
        return len(self.log) - 1

    def pinned(self, size, dtype):
        self.note("pinned", size)
        return torch.full((size,), torch.nan, dtype=dtype)

    def room(self, size, dtype):
        self.note("room", size)
        return torch.full((size,), torch.nan, dtype=dtype)

    def mark(self):
        return self.note("mark")

    def copy(self, source, target, after):
        for a, b in zip(source, target, strict=True):
            b.copy_(a)
        return self.note("copy", after)

    def follow(self, event):
        self.note("follow", event)

    def wait(self, event):
        self.note("wait", event)


def places(log, what):
    return [at for at, note in enumerate(log) if note[0] == what]


def test_no_memory_is_written_while_it_is_read():
    lane = Noted()
    assert isinstance(lane, Lane)
    feed, sent = Feed(lane), []
    for i in range(6):
        (there,) = feed.send([torch.full((2, 5), float(i))], torch.float32)
        lane.note("count")
        assert torch.equal(there, torch.full((2, 5), float(i)))
        if sent:
            # What came before lasts while this is on its way.
            assert torch.equal(sent[-1], torch.full((2, 5), float(i - 1)))
        sent.append(there)
    copies, counts, follows, waits = (places(lane.log, what) for what in ("copy", "count", "follow", "wait"))
    for i, (copy, count) in enumerate(zip(copies, counts, strict=True)):
        # A count begins after its rows have come.
        assert lane.log[follows[i]] == ("follow", copy)
        assert copy < follows[i] < count
        if i < 2:
            continue
        # The host writes where the copy before the last has been read, and this copy where what it brought was counted.
        assert lane.log[waits[i - 2]] == ("wait", copies[i - 2])
        assert copies[i - 1] < waits[i - 2] < copy
        assert counts[i - 2] < lane.log[copy][1] < copy
    assert len(waits) == 4
    assert sent[0].data_ptr() == sent[2].data_ptr() != sent[1].data_ptr()


def test_memory_grows_with_the_largest_chunk_only():
    lane = Noted()
    feed = Feed(lane)
    for n in (4, 4, 9, 9, 3, 9, 4):
        assert feed.send([torch.zeros(2, n)], torch.float64)[0].shape == (2, n)
    assert [note[1] for note in lane.log if note[0] == "pinned"] == [8, 8, 18, 18]
    # New memory is written only after what was launched before it was given.
    for at in places(lane.log, "room"):
        copy = next(c for c in places(lane.log, "copy") if c > at)
        assert lane.log[copy][1] > at


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("working", [torch.float64, torch.float32])
def test_rows_that_were_fed_are_the_rows(weighted, working, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1700, 3)) + 5
    weight = rng.integers(0, 3, size=len(X)).astype(float) if weighted else None
    source = Cut(Array(X, weight), 600)
    mixture = to_mixture("full", parameters("full", rng, 2, 3))
    found, fed = [], Feed(Noted())
    for feed in (None, fed):
        monkeypatch.setattr(Rows, "_fed", lambda self, feed=feed: feed)
        rows = Rows(source, resident=0, dtype=working)
        moments = [measure(mixture, rows, torch.tensor([True])) for _ in range(2)]
        found.append([t for m in moments for t in m.leaves()])
    assert len(places(fed.lane.log, "copy")) == 6
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_only_cuda_is_fed():
    assert Rows(Array(np.zeros((4, 2))), resident=0)._fed() is None


# ---- room


def test_the_cpu_has_room_for_what_a_cache_holds():
    assert room_on(torch.device("cpu")) == Room(BUDGET, RESIDENT, MOST)
    assert room_on(torch.device("mps")) == Room()


@pytest.mark.parametrize(
    ("free", "budget", "resident"),
    [
        (80 * 2**30, LARGEST, 20 * 2**30),
        (4 * 2**30, LARGEST, 2**30),
        (4 * 2**30 - 1, LARGEST // 2, 2**30 - 1),
        (3 * 2**30, LARGEST // 2, 3 * 2**28),
        (2**28, 2**25, 2**26),
        (2**26, BUDGET, RESIDENT),
        (0, BUDGET, RESIDENT),
    ],
)
def test_a_cuda_device_has_room_for_a_share_of_what_is_free(free, budget, resident, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (free, 80 * 2**30))
    assert room_on(torch.device("cuda", 1)) == Room(budget, resident, LONGEST)
    assert asked == [torch.device("cuda", 1)]


def test_the_rows_of_a_chunk():
    room = Room(2**29, RESIDENT, LONGEST)
    assert room.rows(8) == LONGEST
    assert room.rows(2**10) == 2**19
    assert room.rows(2**40) == FEWEST
    assert Room().rows(8) == MOST
