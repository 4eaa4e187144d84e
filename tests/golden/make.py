"""Makes the golden models of a release: ``PYTHONPATH=tests python -m golden.make``, once, before it is tagged.

They are written into a directory named for the version, with what they say of some rows, and never again: every later
version must load them and say the same. An existing directory is refused.
"""

import json
from pathlib import Path

import numpy as np

import mixtura
from mixtura.covariance import STRUCTURES

HERE = Path(__file__).parent
EXPECTED = "expected.json"


def rows(count: int) -> np.ndarray:
    """(count, 3) rows of three groups, by a formula in eighths: the same everywhere to the last bit."""
    i = np.arange(count)[:, None]
    return 5.0 * (i % 3) * [1, -1, 0.5] + (i * [7, 12, 17] % [29, 31, 37]) / 8


def models() -> dict[str, mixtura.GaussianMixture]:
    """What a release promises to read for ever, by the name of the file."""

    def fitted(x: object, structure: str = "full", **params: object) -> mixtura.GaussianMixture:
        model = mixtura.GaussianMixture(3, covariance_type=structure, init_params="kmeans", random_state=0, **params)
        return model.fit(x)

    import pandas

    x = rows(90)
    return {
        **{structure: fitted(x, structure) for structure in STRUCTURES},
        "searched": mixtura.GaussianMixture(3, random_state=2, effort="quick").fit(x),
        "float32": fitted(x.astype(np.float32)),
        "named": fitted(pandas.DataFrame(x, columns=["CD4", "CD8 – α", "CD19"]), "diag", tol=1e-4),
        "sklearn": mixtura.GaussianMixture.sklearn_defaults(3, random_state=1, means_init=x[:3].tolist()).fit(x),
        "given": mixtura.GaussianMixture.from_parameters(
            [0.25, 0.75], [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [1.0, 2.0], "spherical"
        ),
    }


def told(model: mixtura.GaussianMixture) -> dict[str, object]:
    """What a model says of itself and of some rows."""
    return {
        "log_density": model.score_samples(other_rows(model)).tolist(),
        "status": model.status_,
        "dtype": str(model.means_.dtype),
        "feature_names": list(getattr(model, "feature_names_in_", [])),
        "params": {k: v for k, v in model.get_params().items() if k != "device"},
        "starts": len(getattr(model, "starts_", [])),
    }


def other_rows(model: mixtura.GaussianMixture) -> object:
    """Rows that differ from those of the fit, with names where the model wants them."""
    x = rows(21)[1:] + 0.25
    if not hasattr(model, "feature_names_in_"):
        return x
    import pandas

    return pandas.DataFrame(x, columns=model.feature_names_in_)


def main() -> None:
    """Write the models of this version."""
    directory, found = HERE / mixtura.__version__, models()
    directory.mkdir()  # an error where it exists: these files are for ever
    for name, model in found.items():
        model.save(directory / f"{name}.safetensors")
    text = json.dumps({name: told(model) for name, model in found.items()}, indent=1, sort_keys=True)
    (directory / EXPECTED).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
