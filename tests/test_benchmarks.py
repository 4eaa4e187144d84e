"""The benchmarks' own logic: programs that begin alike end alike, and claims read the worse quartile."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import beside  # noqa: E402
import cells  # noqa: E402
import clock  # noqa: E402
import common  # noqa: E402
import fits  # noqa: E402
import many  # noqa: E402
import programs  # noqa: E402
import tables  # noqa: E402
import workloads  # noqa: E402
from bare import bare  # noqa: E402
from peers import Mixtura, Program, Run, ScikitLearn, Unavailable  # noqa: E402
from probe import Failed, Probe  # noqa: E402


@pytest.mark.parametrize("structure", workloads.STRUCTURES)
def test_programs_end_alike(structure: str) -> None:
    workload = workloads.Workload(600, 3, 3, structure)
    x, start = workload.data(), workload.start()
    for n in (1, 4):
        own, their = (p.run(p.prepare(x), start, n, score=True).loglik for p in (Mixtura(), ScikitLearn()))
        # The same steps in another order of sums.
        assert own == pytest.approx(their, abs=1e-8)


@pytest.mark.parametrize("structure", workloads.STRUCTURES)
def test_a_start_holds_inverses_and_the_first_rows(structure: str) -> None:
    workload = workloads.Workload(50, 3, 3, structure)  # as many components as features
    start = workload.start()
    np.testing.assert_array_equal(start.means, workload.data()[:3])
    assert start.covariances.shape == start.precisions.shape
    wide = workloads.Start(structure, start.weights, start.means, 4 * start.precisions)
    np.testing.assert_allclose(wide.covariances, start.covariances / 4)


def test_a_large_table_starts_like_its_first_block() -> None:
    workload = workloads.Workload(workloads.BLOCK + 10, 2, 3)
    np.testing.assert_array_equal(workload.start().means, workload.data()[:3])


def test_all_workloads_are_there() -> None:
    def of(workload: workloads.Workload) -> tuple[int, int, int, str]:
        return workload.rows, workload.features, workload.components, workload.structure

    assert {of(case.workload): (case.wanted, case.most) for case in workloads.PASSES} == {
        (200_000, 2, 3, "full"): (30, None),
        (100_000, 10, 16, "full"): (14, 2),
        (200_000, 8, 20, "full"): (11, 2),
        (50_000, 32, 32, "full"): (5.5, 1.3),
        (50_000, 50, 20, "full"): (4, 1.3),
        (200_000, 16, 20, "tied"): (15, None),
        (200_000, 16, 20, "diag"): (5, None),
        (200_000, 16, 20, "spherical"): (5, None),
    }
    assert {of(workload): workloads.over_peers(workload) for workload in workloads.PYCAVE} == {
        (10_000, 8, 4, "full"): 3,
        (100_000, 32, 16, "full"): 2,
        (1_000_000, 64, 64, "diag"): 1.5,
    }
    assert all(workload.rows * workload.features <= 1_000_000 for workload in workloads.FITS)
    assert set(programs.PROGRAMS) == {"mixtura", "scikit-learn", "tgmm", "torchgmm", "pomegranate", "mclust"}
    assert sum(program.peer for program in programs.PROGRAMS.values()) == 3


@pytest.mark.parametrize(("structure", "coefficients"), [("full", 15), ("tied", 5), ("diag", 9), ("spherical", 6)])
def test_bare_products_have_the_size_of_a_pass(structure: str, coefficients: int) -> None:
    workload = workloads.Workload(1000, 4, 3, structure)
    assert workload.coefficients == coefficients
    assert bare(workload, torch.float64)(2) > 0


def test_claims_read_the_worse_quartile() -> None:
    ratios = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert tables.at_least(ratios, 2) == {"ratio_quartiles": [2, 3, 4], "wanted": 2, "reached": True}
    assert not tables.at_least(ratios, 2.5)["reached"]
    assert tables.at_most(ratios, 4)["reached"]
    assert not tables.at_most(ratios, 3.5)["reached"]
    assert tables.at_most(ratios, None)["reached"] is None


def test_who_is_timed_next_waits_for_threads_that_still_run():
    until = time.monotonic() + 0.3

    def spin():
        while time.monotonic() < until:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    common.quiet()
    assert time.monotonic() >= until
    thread.join()


def test_jobs_take_turns_in_alternating_order() -> None:
    order: list[str] = []
    found = tables.by_turns({name: lambda name=name: order.append(name) or len(order) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert found == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert tables.over(found, "b", "a") == [2, 5 / 6, 8 / 7]


def test_passes_are_as_many_as_time_allows() -> None:
    assert clock.extra(0.01, 0.1) == 50
    assert clock.extra(0.01, 0.5) == 10
    assert clock.extra(1.0, 9.0) == clock.FEWEST
    assert clock.extra(1e-9, 1e-9) == clock.MOST


def test_a_disturbed_time_is_taken_again() -> None:
    class Disturbed(Peer):
        times = iter([5.0, 4.0, 1.0, 3.0])

        def run(self, x, start, passes, *, score=False):
            return Run(next(self.times), None)

    start = workloads.Workload(10, 2, 2).start()
    assert clock.per_pass(Disturbed(), None, start, 1, 4) == 0.5


class Peer(Program):
    name, distribution, modules = "peer", "no-such-distribution", ()
    structures = ("full",)

    def prepare(self, x: np.ndarray) -> np.ndarray:
        return x

    def run(self, x: np.ndarray, start: workloads.Start, passes: int, *, score: bool = False) -> Run:
        return Run(0.0, 0.0)

    def fit(self, x, start, passes):
        raise NotImplementedError

    def loglik(self, model, x):
        raise NotImplementedError


def test_a_peer_is_timed_where_it_is_right_and_quickest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"float32": Probe(1.0, -5.0, 10.0), "float64": Probe(2.0, -5.002, 20.0)}
    monkeypatch.setattr(beside, "probe", lambda name, workload, dtype, *_, **__: seen[dtype])
    full = workloads.Workload(100, 2, 2)
    assert beside.cell(Peer, full, -5.0, 1)["dtype"] == "float32"
    slow_but_right = beside.cell(Peer, full, -5.002, 1)
    assert (slow_but_right["dtype"], slow_but_right["status"]) == ("float64", "right")
    wrong = beside.cell(Peer, full, -5.1, 1)
    assert wrong["status"] == "wrong"
    assert "seconds" not in wrong
    seen["float32"] = seen["float64"] = Probe(1.0, float("nan"), 1.0)
    none = beside.cell(Peer, full, -5.0, 1)
    assert (none["status"], none["loglik"]) == ("wrong", None)
    json.dumps(none, allow_nan=False)


def test_a_peer_that_fails_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Probe:
        raise Failed("no memory")

    monkeypatch.setattr(beside, "probe", failing)
    found = beside.cell(Peer, workloads.Workload(100, 2, 2), -5.0, 1)
    assert (found["status"], found["reason"]) == ("SKIPPED", "float32: no memory; float64: no memory")
    tied = beside.cell(Peer, workloads.Workload(100, 2, 2, "tied"), -5.0, 1)
    assert tied["reason"] == "it has no tied covariances"
    with pytest.raises(Unavailable, match="no-such-distribution"):
        Peer().version()


def test_fits_are_summed_over_cases() -> None:
    def case(name: str, lower: float, reached: list[bool]) -> tables.Row:
        return {"case": name, "effort": "standard", "ratio_quartiles": [lower, 9, 9], "reached": reached}

    found = fits.summary([case("a", 2.0, [True] * 3), case("b", 8.0, [True])], "standard")
    assert (found["speed"], found["speed_reached"]) == (pytest.approx(4), False)
    assert (found["share"], found["share_reached"]) == (1, True)
    assert (found["slowest"], found["slowest_case"], found["slowest_reached"]) == (2, "a", True)
    assert not fits.summary([case("a", 0.9, [True, False])], "standard")["share_reached"]


def test_many_groups_are_fitted_by_both() -> None:
    assert many.groups_of(3)[2].shape == (400, 2)
    # What it costs beside whole fits is scikit-learn's own likelihood, at the last of its steps but one.
    assert many.theirs(many.groups_of(2)) == pytest.approx(many.scored(many.groups_of(2)), abs=1)


def test_cells_are_measured_and_r_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SMALL": 200, "WIDTH": 3, "CLUSTERS": 2, "DIMS": 3, "COMPONENTS": 2}.items():
        monkeypatch.setattr(cells, name, value)
    row = cells.measured(500, "quick")
    assert row["same_seed_same_labels"]
    assert row["reached"]
    assert row["posterior"].startswith("500x2 float32")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert cells.small(1)["mclust"] == "SKIPPED: there is no Rscript"
    json.dumps(row, allow_nan=False)


@pytest.mark.slow
def test_a_quick_run_makes_its_table(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "run.py", "passes", "--quick", "--threads", "1", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "passes.json").read_text())
    assert {"date", "machine", "threads", "versions", "absent", "passes"} <= set(found)
    assert [row["workload"] for row in found["passes"]] == ["4000x3 K=3 full", "4000x4 K=3 tied"]
    assert all(row["sklearn_mib"] > 0 for row in found["passes"])
    assert len(tables.MARKDOWN["passes"](found["passes"])) == 4
    subprocess.run(
        [sys.executable, BENCHMARKS / "plots.py", "--results", tmp_path, "--output", tmp_path], check=True, text=True
    )
    assert (tmp_path / "passes.svg").stat().st_size > 1000
