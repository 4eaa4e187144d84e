"""References: the publications that a report and its paragraph on methods cite."""

from typing import NamedTuple

from mixtura.criteria import LEVEL
from mixtura.ratio import RESAMPLES


class Reference(NamedTuple):
    """A publication.

    Attributes:
        short: author and year, as it stands in a sentence.
        full: as it stands in a list.
    """

    short: str
    full: str


AITKEN = Reference(
    "Böhning et al. 1994",
    "Böhning D, Dietz E, Schaub R, Schlattmann P, Lindsay BG (1994). The distribution of the likelihood ratio for "
    "mixtures of densities from the one-parameter exponential family. Annals of the Institute of Statistical "
    "Mathematics 46, 373–388. doi:10.1007/BF01720593",
)
AKAIKE = Reference(
    "Akaike 1974",
    "Akaike H (1974). A new look at the statistical model identification. IEEE Transactions on Automatic Control 19, "
    "716–723. doi:10.1109/TAC.1974.1100705",
)
COHEN = Reference(
    "Cohen 1988",
    "Cohen J (1988). Statistical Power Analysis for the Behavioral Sciences, 2nd edition. Erlbaum, Hillsdale.",
)
EM = Reference(
    "Dempster et al. 1977",
    "Dempster AP, Laird NM, Rubin DB (1977). Maximum likelihood from incomplete data via the EM algorithm. Journal of "
    "the Royal Statistical Society B 39, 1–38. doi:10.1111/j.2517-6161.1977.tb01600.x",
)
ICL = Reference(
    "Biernacki et al. 2000",
    "Biernacki C, Celeux G, Govaert G (2000). Assessing a mixture model for clustering with the integrated completed "
    "likelihood. IEEE Transactions on Pattern Analysis and Machine Intelligence 22, 719–725. doi:10.1109/34.865189",
)
KASS = Reference(
    "Kass & Raftery 1995",
    "Kass RE, Raftery AE (1995). Bayes factors. Journal of the American Statistical Association 90, 773–795. "
    "doi:10.1080/01621459.1995.10476572",
)
MERGING = Reference(
    "Baudry et al. 2010",
    "Baudry J-P, Raftery AE, Celeux G, Lo K, Gottardo R (2010). Combining mixture components for clustering. Journal "
    "of Computational and Graphical Statistics 19, 332–353. doi:10.1198/jcgs.2010.08111",
)
MISSING = Reference(
    "Little & Rubin 2002",
    "Little RJA, Rubin DB (2002). Statistical Analysis with Missing Data, 2nd edition. Wiley, Hoboken. "
    "doi:10.1002/9781119013563",
)
MIXTURES = Reference(
    "McLachlan & Peel 2000",
    "McLachlan G, Peel D (2000). Finite Mixture Models. Wiley, New York. doi:10.1002/0471721182",
)
MOVES = Reference(
    "Ueda et al. 2000",
    "Ueda N, Nakano R, Ghahramani Z, Hinton GE (2000). SMEM algorithm for mixture models. Neural Computation 12, "
    "2109–2128. doi:10.1162/089976600300015088",
)
CROSS = Reference(
    "Pernkopf & Bouchaffra 2005",
    "Pernkopf F, Bouchaffra D (2005). Genetic-based EM algorithm for learning Gaussian mixture models. IEEE "
    "Transactions on Pattern Analysis and Machine Intelligence 27, 1344–1348. doi:10.1109/TPAMI.2005.162",
)
KICK = Reference(
    "Lourenço et al. 2003",
    "Lourenço HR, Martin OC, Stützle T (2003). Iterated local search. In Glover F, Kochenberger GA (eds), Handbook of "
    "Metaheuristics, 320–353. Springer. doi:10.1007/0-306-48056-5_11",
)
SHAKE = Reference(
    "Wood 2001",
    "Wood SN (2001). Minimizing model fitting objectives that contain spurious local minima by bootstrap restarting. "
    "Biometrics 57, 240–244. doi:10.1111/j.0006-341X.2001.00240.x",
)
SCHWARZ = Reference(
    "Schwarz 1978",
    "Schwarz G (1978). Estimating the dimension of a model. The Annals of Statistics 6, 461–464. "
    "doi:10.1214/aos/1176344136",
)
STRUCTURES = Reference(
    "Celeux & Govaert 1995",
    "Celeux G, Govaert G (1995). Gaussian parsimonious clustering models. Pattern Recognition 28, 781–793. "
    "doi:10.1016/0031-3203(94)00125-6",
)

NEC = Reference(
    "Celeux & Soromenho 1996",
    "Celeux G, Soromenho G (1996). An entropy criterion for assessing the number of clusters in a mixture model. "
    "Journal of Classification 13, 195–212. doi:10.1007/BF01246098",
)
SMYTH = Reference(
    "Smyth 2000",
    "Smyth P (2000). Model selection for probabilistic clustering using cross-validated likelihood. Statistics and "
    "Computing 10, 63–72. doi:10.1023/A:1008940618127",
)
STABILITY = Reference(
    "Varrone et al. 2024",
    "Varrone M, Tavernari D, Santamaria-Martínez A, Walsh LA, Ciriello G (2024). CellCharter reveals spatial cell "
    "niches associated with tissue remodeling and cell plasticity. Nature Genetics 56, 74–84. "
    "doi:10.1038/s41588-023-01588-4",
)
LRT = Reference(
    "McLachlan 1987",
    "McLachlan GJ (1987). On bootstrapping the likelihood ratio test statistic for the number of components in a "
    "normal mixture. Applied Statistics 36, 318–324. doi:10.2307/2347790",
)
CRITERIA = {
    "bic": (SCHWARZ, "Bayesian information criterion, BIC = −2 log L + p log n"),
    "aic": (AKAIKE, "Akaike information criterion, AIC = −2 log L + 2 p"),
    "icl": (ICL, "integrated completed likelihood, ICL = BIC − 2 Σ log max p(k | x)"),
    "nec": (NEC, "normalised entropy criterion, −Σ p(k | x) log p(k | x) over what is gained from one component"),
    "icl_entropy": (ICL, "integrated completed likelihood, ICL = BIC − 2 Σ p(k | x) log p(k | x)"),
    "stability": (STABILITY, "disagreement of ten refits with those of one component more or less"),
    "lrt": (
        LRT,
        f"likelihood-ratio tests of each number against one more, from the fewest on, with {RESAMPLES} simulated sets "
        f"of rows each, of which the first with p > {LEVEL} decided",
    ),
    "cv": (SMYTH, "−2 log L of rows held out in ten parts"),
}
"""The publication and the definition of each criterion."""
