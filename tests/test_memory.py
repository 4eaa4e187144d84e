"""Memory: a fit does not grow from pass to pass."""

import subprocess
import sys
import textwrap

import pytest

psutil = pytest.importorskip("psutil", reason="SKIPPED: psutil is not installed")


def test_a_long_fit_takes_no_more_memory_than_a_short_one():
    """In a process of its own: fragments of the heap once made 5 GB of a long fit on 300,000 rows."""
    code = """
        import numpy as np, psutil, torch
        from mixtura.covariance import Floor, structure
        from mixtura.data import Array
        from mixtura.converge import converging
        from mixtura.em import Likelihood
        from mixtura.stop import Gain
        from mixtura.family import Gaussian
        from mixtura.mixture import Mixture
        from mixtura.rows import Rows

        for resident in (0, 1 << 30):
            x = np.random.default_rng(0).standard_normal((100_000, 4))
            rows = Rows(Array(x), resident=resident)
            mean = torch.from_numpy(x[:16].reshape(8, 2, 4).copy())
            weight = torch.full((8, 2), 0.5).double().log()
            model = Mixture(weight, mean, structure("full").unit(8, 2, 4), Gaussian())
            process, seen = psutil.Process(), []
            for _ in converging(model, rows, Likelihood(Floor()), Gain(0.0), 100):
                seen.append(process.memory_info().rss / 2**20)
            print(seen[99] - seen[19])
    """
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    # MiB in 80 passes; fragmentation added about one a pass.
    assert all(float(growth) < 40 for growth in found.stdout.split()), found.stdout
