"""The report: what stands on the page, that it is of these data, and that it is one harmless file."""

import base64
import html.parser
import importlib.util
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mixtura
from mixtura import GaussianMixture, MixtureSearch
from mixtura.apps import words
from mixtura.apps.doubt import Doubt
from mixtura.apps.report import Fitted, check_installed, methods, page, pictures

EVIL = '<script>alert("1")</script>'
VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """A page as a reader sees it; fails where tags are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open
        self.words = " ".join(" ".join(said for _, said in self.said).replace("\xa0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.said.append((self.open[-1], data))

    def all(self, name: str) -> list[dict[str, Any]]:
        return [attrs for tag, attrs in self.tags if tag == name]

    def within(self, name: str) -> list[str]:
        return [said for tag, said in self.said if tag == name]


def blobs(rows: int, centres: Any, seed: int = 0) -> np.ndarray:
    draw, centres = np.random.default_rng(seed), np.asarray(centres, dtype=float)
    return centres[draw.integers(len(centres), size=rows)] + draw.normal(size=(rows, centres.shape[1]))


def plain(k: int, x: np.ndarray, **params: Any) -> GaussianMixture:
    return GaussianMixture(k, **{"init_params": "kmeans", "random_state": 0, **params}).fit(x)


def fitted(model: Any, x: np.ndarray, told: dict[str, Any] | None = None, **rest: Any) -> Fitted:
    given = {"name": "A fit", "total": len(x), **rest}
    return Fitted(model=model, told=told or {}, sample=x, labels=model.predict(x), **given)


def searched(x: np.ndarray, sizes: Any = range(1, 4)) -> Fitted:
    search = MixtureSearch(sizes, "tied", estimator=GaussianMixture(init_params="kmeans"), random_state=0).fit(x)
    model = search.best_estimator_
    told = {
        "input": {"file": "cells.csv", "bytes": 9, "sha256": "0f" * 32},
        "rows": len(x),
        "columns": ["area", "glow"],
        "columns_left_out": ["well"],
        "steps": [{"name": "asinh", "cofactor": 150.0, "columns": ["glow"]}],
        "counts": np.bincount(model.predict(x)).tolist(),
        "bic": model.bic(x),
        "seed": 7,
        "call": "mixtura fit cells.csv -k 1:3",
        "doubt": Doubt.of(model.uncertainty(x)).told(),
        "selection": words.choice(search).told(),
    }
    return fitted(model, x, told, name="Cells", notes=["Two columns were read."], credit="Data: nobody, 2026")


TWO = searched(blobs(300, [[0, 0], [6, 0]]))
THREE = searched(blobs(300, [[0, 0], [6, 0], [6, 9]]))


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Iterator[None]:
    """Pictures of fewer dots, which are drawn faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "DPI", 60)
        yield


@pytest.fixture(scope="module")
def text() -> str:
    return page("Two pages", [TWO, THREE])


@pytest.fixture(scope="module")
def both(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def two(text: str) -> Page:
    """The page as if it had the first fit alone."""
    return Page(text.replace(section_of(text, 2), ""))


@pytest.fixture(scope="module")
def three(text: str) -> Page:
    return Page(text.replace(section_of(text, 1), ""))


def section_of(text: str, at: int) -> str:
    begin = text.index(f'<section aria-labelledby="fit-{at}">')
    end = text.find(f'<section aria-labelledby="fit-{at + 1}">')
    return text[begin : end if end > 0 else text.index("</main>")]


# ---- structure


def test_headings_and_addresses(two: Page, both: Page) -> None:
    levels = [int(tag[1]) for tag, _ in two.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert two.within("h3") == [
        "What was fitted",
        "How sure it is",
        "Choice of the number of clusters",
        "The clusters",
        "Pictures",
        "Methods, to paste into a paper",
        "To reproduce it",
    ]
    ids = [attrs["id"] for _, attrs in both.tags if "id" in attrs]
    assert len(set(ids)) == len(ids) == 1 + 2 * (1 + 7)
    assert [a["href"] for a in both.all("a")] == ["#main", *(f"#{name}" for name in ids if name != "main")]
    assert both.within("h2") == ["Cells", "Cells"]
    assert two.all("html")[0]["lang"] == "en"


def test_tables_and_pictures_can_be_read_aloud(two: Page) -> None:
    assert len(two.all("caption")) == len(two.all("table"))
    assert {cell["scope"] for cell in two.all("th")} == {"col", "row"}
    regions = [div for div in two.all("div") if div.get("role") == "region"]
    assert len(regions) == len(two.all("table"))
    assert all(div["tabindex"] == "0" and div["aria-label"] for div in regions)
    pictures = two.all("img")
    assert len(pictures) == len(two.all("figcaption")) == 4
    for attrs in pictures:
        assert len(attrs["alt"]) > 40
        assert re.search(r"\d", attrs["alt"]), "an alternative text says what is to be seen"
        assert int(attrs["width"]) > 0


def test_nothing_is_loaded(two: Page, text: str) -> None:
    assert not re.search(r"""(src|href|action|data|srcset)\s*=\s*["'](?!data:|#)""", text)
    assert not re.search(r"https?:|url\(|@import|<script|<iframe|<object|\son\w+\s*=", text)
    assert "default-src 'none'" in next(meta["content"] for meta in two.all("meta") if "http-equiv" in meta)
    for attrs in two.all("img"):
        head, data = attrs["src"].split(",", 1)
        assert head == "data:image/png;base64"
        width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
        assert width / height == pytest.approx(int(attrs["width"]) / int(attrs["height"]), rel=0.01)


# ---- what it says


def test_the_answer_is_of_these_data(two: Page, three: Page) -> None:
    assert "The 300 rows fall into 2 clusters" in two.words
    assert "The 300 rows fall into 3 clusters" in three.words
    assert "2 clusters and the structure “tied” has the lowest BIC" in two.words
    assert "3 clusters and the structure “tied” has the lowest BIC" in three.words
    warning = "is the largest that was tried: try more, or count clusters instead: choose by ICL, or merge"
    assert warning not in two.words
    assert f"The best number of components, 3, {warning}" in three.words


def test_the_tables_hold_the_model_s_numbers(two: Page) -> None:
    model = TWO.model
    sd = np.sqrt(np.diag(model.covariances_))
    for k in range(2):
        assert f"{model.means_[k, 0]:.2f} ± {sd[0]:.2f}".replace("-", "−") in two.words
        # The second feature was transformed: its median in the units of the file is 150 sinh(mean).
        assert f"{150 * np.sinh(model.means_[k, 1]):.3g}".replace("-", "−") in two.words
        high = model.means_[k, 0] > model.means_[1 - k, 0]
        far = abs(model.means_[0, 0] - model.means_[1, 0]) / sd[0]
        assert f"{'high' if high else 'low'} area ({'+' if high else '−'}{far:.1f} sd)" in two.words
        assert f"{TWO.told['counts'][k]}" in two.within("td")
    assert f"{model.bic(TWO.sample):,.2f}" in two.words
    share = (model.uncertainty(TWO.sample) > 0.1).mean()
    assert f"In doubt are {100 * share:.1f} % of the rows" in two.words
    best = sorted(TWO.told["selection"]["table"]["bic"])
    assert f"{best[1] - best[0]:.2f}" in two.within("td")


def test_how_rows_were_read_and_how_to_do_it_again(two: Page) -> None:
    for said in (
        "cells.csv",
        "well",
        "Two columns were read.",
        "0f" * 32,
        "mixtura fit cells.csv -k 1:3",
        "asinh(x / 150)",
        f"mixtura {mixtura.__version__}",
        "all components share one covariance matrix",
    ):
        assert said in two.words
    seed = two.words.index("Random seed")
    assert two.words[seed:].startswith("Random seed 7")
    captions = [said for said in two.within("figcaption") if "Data: nobody, 2026." in said]
    assert len(captions) == 4


def test_what_the_page_cites_is_listed(two: Page) -> None:
    cited = set(re.findall(r"([A-Z][\w’]+)[^();]{0,25} (\d{4})\b(?=[);])", two.words))
    assert {("Cohen", "1988"), ("Kass", "1995"), ("Dempster", "1977")} <= cited
    listed = [item for item in two.within("li") if re.search(r"\(\d{4}\)\.", item)]
    for name, year in cited:
        assert any(item.startswith(name) and f"({year})" in item for item in listed), name


def test_alternative_texts_hold_numbers_of_the_fit(two: Page) -> None:
    texts = [attrs["alt"] for attrs in two.all("img")]
    table = TWO.told["selection"]["table"]
    assert table["status"] == ["converged", "converged", "degenerate"]
    assert f"1: {table['bic'][0]:.2f}, 2: {table['bic'][1]:.2f}, 3: no sound fit" in texts[0]
    mean = TWO.model.means_
    assert all(f"area {mean[k, 0]:.3g}".replace("-", "−") in texts[1] for k in range(2))


# ---- names that come from files


def test_names_are_harmless() -> None:
    x = blobs(200, [[0, 0, 0], [6, 3, 9]])
    told = {
        "columns": [EVIL, "a_$b$", "$x"],
        "columns_left_out": [EVIL],
        "input": {"file": EVIL},
        "call": EVIL,
        "id": EVIL,
        "findings": [{"kind": "grid", "component": 0, "message": EVIL}],
    }
    fit = fitted(plain(2, x), x, told, name=EVIL, notes=[EVIL], credit=EVIL)
    text = page(EVIL, [fit])
    assert "<script" not in text
    seen = Page(text)
    assert seen.within("h1") == [EVIL]
    assert seen.words.count(EVIL) > 8
    assert "low $x" in seen.words
    assert any(EVIL in attrs["alt"] for attrs in seen.all("img"))


# ---- every kind of fit


def test_one_feature() -> None:
    x = blobs(200, [[0], [8]])
    seen = Page(page("t", [fitted(plain(2, x), x)]))
    assert [attrs["alt"].split()[0] for attrs in seen.all("img")] == ["Histogram", "Mean"]
    assert "Choice of the number" not in seen.words


def test_many_features_and_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FEATURES", 3)  # of six features fifteen panels are drawn, which takes seconds
    x = blobs(1500, 9 * np.random.default_rng(1).normal(size=(15, 30)))
    model = plain(15, x, covariance_type="diag")
    seen = Page(page("t", [fitted(model, x)]))
    assert "the 3 of 30 features that tell the clusters apart most" in seen.words
    assert "the 12 features in which the clusters differ most" in seen.words
    assert seen.words.count("Cluster 14 (") == 1
    heads = [cell for cell in seen.within("th") if re.fullmatch(r"x\d+", cell)]
    assert len(heads) == 12 + 30
    assert "cluster 14" in seen.within("th")
    assert "and 7 more" in seen.all("img")[0]["alt"]


def test_one_cluster() -> None:
    x = blobs(100, [[0, 0]])
    seen = Page(page("t", [fitted(plain(1, x), x)]))
    assert "they are one cluster" in seen.words
    assert "distinguishes" not in seen.words
    assert len(seen.all("img")) == 1


def test_a_fit_that_is_not_sound() -> None:
    x = np.repeat(blobs(4, [[0, 0]]), 20, axis=0)
    with pytest.warns(mixtura.DegenerateWarning):
        model = plain(3, x)
    seen = Page(page("t", [fitted(model, x)]))
    assert "This fit is not sound." in seen.words
    assert "Only 4 of 80 rows are distinct" in seen.words
    assert "further iterations would not change it" not in seen.words
    assert "The result is degenerate" in methods(model)


def test_a_model_of_given_parameters_with_an_empty_component() -> None:
    model = GaussianMixture.from_parameters([0.5, 0.5, 0], [[0, 0], [4, 1], [9, 9]], np.ones((3, 2)), "diag")
    x = model.sample(100, random_state=0)[0]
    seen = Page(page("t", [fitted(model, x)]))
    assert "fall into 2 clusters" in seen.words
    assert "Cluster 2 (0 %): empty" in seen.words
    assert seen.within("td").count("–") == 2
    assert "given, not estimated" in seen.words
    assert "come to rest" not in seen.words
    assert len(seen.all("img")) == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, pd.DataFrame])
def test_rows_of_every_kind(kind: Any) -> None:
    """A model that knows its columns takes a sample that does not, without a word of warning."""
    x = blobs(100, [[0, 0], [9, 0]])
    frame = pd.DataFrame(x, columns=["left", "right"])
    model = plain(2, frame)
    sample = frame if kind is pd.DataFrame else kind(x)
    seen = Page(page("t", [Fitted("A fit", model, {}, sample, model.predict(frame), len(x))]))
    assert "high left" in seen.words
    assert "No row is in doubt" in seen.words


def test_a_loaded_model(tmp_path: Any) -> None:
    x = blobs(200, [[0, 0], [8, 1]])
    model = plain(2, x)
    model.save(tmp_path / "m.safetensors")
    back = mixtura.load(tmp_path / "m.safetensors")
    del back.starts_
    assert len(Page(page("t", [fitted(back, x)])).all("img")) == 2


def test_models_that_failed_stand_in_the_table() -> None:
    told = dict(TWO.told)
    table = {name: list(values) for name, values in told["selection"]["table"].items()}
    for name in ("loglik", "bic", "aic", "icl"):
        table[name][0] = None
    table["status"][0] = "failed"
    told["selection"] = {**told["selection"], "table": table}
    fit = fitted(TWO.model, TWO.sample, told)
    seen = Page(page("t", [fit]))
    assert "failed" in seen.within("td")
    assert "1: no sound fit" in seen.all("img")[0]["alt"]


def test_a_page_of_many_rows_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "DPI", 144)
    draw = np.random.default_rng(0)
    x = blobs(100_000, 2 * draw.normal(size=(6, 4)))
    model = plain(6, x[:2000], max_iter=5, tol=1.0)
    sample = x[::5]
    doubt = Doubt()
    for chunk in np.array_split(x, 3):
        doubt = doubt + Doubt.of(model.uncertainty(chunk))
    text = page("t", [fitted(model, sample, {"rows": len(x), "doubt": doubt.told()}, total=len(x))])
    assert len(text.encode()) < 3e6
    assert "of 100,000 rows are drawn" in text
    assert "The 100,000 rows" in text


# ---- methods


def test_methods_cite_what_applies() -> None:
    text = methods(TWO.model, TWO.told)
    body, *references = [line for line in text.splitlines() if line]
    assert len(references) == 5
    assert sorted(references) == references
    for short in (
        "Dempster et al. 1977",
        "Schwarz 1978",
        "McLachlan & Peel 2000",
        "Celeux & Govaert 1995",
        "Böhning et al. 1994",
    ):
        assert short in body
        assert any(line.startswith(short.split()[0]) and f"({short[-4:]})" in line for line in references)
    for said in (
        "300 rows of 2 features (area, glow)",
        "values in glow were transformed by asinh(x / 150)",
        "chosen among 1 to 3 components by the lowest Bayesian",
        "random seed 7",
        f"mixtura {mixtura.__version__}",
    ):
        assert said in body


def test_methods_say_no_more_than_is_known() -> None:
    x = blobs(100, [[0, 0], [9, 9]])
    bare = methods(plain(2, x, tol=1e-3))
    assert "Celeux" not in bare
    assert "Schwarz" not in bare
    assert "Aitken" not in bare
    assert "by less than 0.001" in bare
    assert "set beforehand" not in bare
    assert "2, was set beforehand" in methods(plain(2, x), {"selection": None})
    given = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    assert "Dempster" not in methods(given)
    theirs = methods(GaussianMixture.sklearn_defaults(2, random_state=0).fit(x))
    assert "as in scikit-learn" in theirs
    spill = methods(plain(2, x), {"steps": [{"name": "compensate", "keyword": "$SPILLOVER"}]})
    assert "compensated with the matrix stored in the file under $SPILLOVER" in spill


def test_methods_tell_the_largest_number_tried() -> None:
    assert "largest that was tried" not in methods(TWO.model, TWO.told)
    assert "largest that was tried" in methods(THREE.model, THREE.told)


# ---- a choice, read back


def test_a_choice_comes_back_from_json() -> None:
    import json

    search = MixtureSearch((1, 2), ("tied", "diag"), estimator=GaussianMixture(init_params="kmeans"), random_state=0)
    search.fit(TWO.sample)
    back = words.Choice.read(json.loads(json.dumps(words.choice(search).told())))
    assert words.cells(back) == words.cells(search)
    assert words.close(back) == words.close(search)
    assert back.largest
    with pytest.raises(ValueError, match="names row 9"):
        words.Choice.read({**words.choice(search).told(), "best": 9})


# ---- what cannot be reported, and what is left alone


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample": np.zeros((5, 3))}, r"sample has shape \(5, 3\), expected \(n, 2\)"),
        ({"labels": np.zeros(3, dtype=int)}, r"labels has shape \(3,\), expected \(300,\)"),
        ({"total": 10}, "total is 10, expected at least the 300 rows"),
    ],
)
def test_what_does_not_fit_together(change: dict[str, Any], said: str) -> None:
    given = {"name": "x", "model": TWO.model, "told": {}, "sample": TWO.sample, "labels": TWO.labels, "total": 300}
    with pytest.raises(ValueError, match=said):
        Fitted(**{**given, **change})


def test_no_fit() -> None:
    with pytest.raises(ValueError, match="fits is empty"):
        page("t", [])


def test_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    with pytest.raises(ModuleNotFoundError, match=r'need jinja2: pip install "mixtura\[report\]"'):
        check_installed()
    with pytest.raises(ModuleNotFoundError, match="need jinja2"):
        page("t", [TWO])


def test_the_same_fit_gives_the_same_page_and_nothing_global_changes(text: str) -> None:
    before = dict(mpl.rcParams), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert section_of(page("t", [TWO]), 1) == section_of(text, 1)
    assert (dict(mpl.rcParams), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
