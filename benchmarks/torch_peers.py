"""The programs on PyTorch that are compared with ours."""

import logging
from typing import Any, final

import numpy as np
import torch
from peers import RIDGE, Program
from workloads import Start


class TorchPeer(Program):
    """A program that takes tensors."""

    def prepare(self, x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).to(self.device)

    def tensors(self, x: torch.Tensor, start: Start) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weights, means and covariances in the precision and on the device of the rows."""
        # Copies: a peer may write its results into what it is given.
        weights, means, covariances = (
            torch.tensor(v, dtype=x.dtype, device=x.device) for v in (start.weights, start.means, start.covariances)
        )
        return weights, means, covariances


@final
class Tgmm(TorchPeer):
    name, distribution, modules = "tgmm", "tgmm", ("tgmm",)

    def fit(self, x: torch.Tensor, start: Start, passes: int) -> Any:
        from tgmm import GaussianMixture

        class Fixed(GaussianMixture):
            """Never stops early: its tolerance must be positive, and float32 likelihoods soon repeat themselves."""

            def _check_convergence(self, *_: Any) -> bool:
                return False

        weights, means, covariances = self.tensors(x, start)
        model = Fixed(
            n_components=len(weights),
            n_features=x.shape[1],
            covariance_type=start.structure,
            max_iter=passes,
            reg_covar=RIDGE,
            init_weights=weights,
            init_means=means,
            init_covariances=covariances,
            device=str(self.device),
        )
        return model.fit(x)

    def loglik(self, model: Any, x: torch.Tensor) -> float:
        return float(model.score_samples(x).double().mean())


@final
class Torchgmm(TorchPeer):
    """Its ``fit`` takes no starting covariances, so this is that method's last part, from a model that is given."""

    name, distribution, modules = "torchgmm", "torchgmm", ("torchgmm.bayes", "pytorch_lightning")

    def version(self) -> str:
        found = super().version()
        for logger in ("pytorch_lightning", "lightning.pytorch"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        return found

    def fit(self, x: torch.Tensor, start: Start, passes: int) -> Any:
        from torchgmm.base.data import DataLoader, collate_tensor, dataset_from_tensors
        from torchgmm.bayes import GaussianMixture
        from torchgmm.bayes.core import cholesky_precision
        from torchgmm.bayes.gmm.lightning_module import GaussianMixtureLightningModule
        from torchgmm.bayes.gmm.model import GaussianMixtureModel, GaussianMixtureModelConfig

        weights, means, covariances = self.tensors(x, start)
        model = GaussianMixtureModel(GaussianMixtureModelConfig(*means.shape, start.structure)).to(x)
        model.component_probs.copy_(weights)
        model.means.copy_(means)
        model.precisions_cholesky.copy_(cholesky_precision(covariances, start.structure))
        estimator = GaussianMixture(
            len(weights),
            covariance_type=start.structure,
            convergence_tolerance=0,
            covariance_regularization=RIDGE,
            trainer_params={
                "precision": 64 if x.dtype == torch.float64 else 32,
                "accelerator": "gpu" if self.device.type == "cuda" else "cpu",
                "devices": 1,
                "enable_progress_bar": False,
            },
        )
        # One batch counts as batch training there: two epochs, each with an E-step, are one pass of EM.
        module = GaussianMixtureLightningModule(model, 0, RIDGE, is_batch_training=True)
        loader = DataLoader(dataset_from_tensors(x), batch_size=len(x), collate_fn=collate_tensor)
        estimator.trainer(max_epochs=2 * passes).fit(module, loader)
        return model.to(x)

    def loglik(self, model: Any, x: torch.Tensor) -> float:
        return float(model.forward(x)[1].double().mean())


@final
class Pomegranate(TorchPeer):
    name, distribution, modules = "pomegranate", "pomegranate", ("pomegranate.gmm", "pomegranate.distributions")
    structures = ("full", "diag", "spherical")

    def fit(self, x: torch.Tensor, start: Start, passes: int) -> Any:
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel

        weights, means, covariances = self.tensors(x, start)
        kind = {"spherical": "sphere"}.get(start.structure, start.structure)
        if kind == "sphere":  # it wants as many variances as means, and makes them equal
            covariances = covariances[:, None].expand_as(means)
        components = [
            Normal(mean.clone(), covariance.clone(), covariance_type=kind)
            for mean, covariance in zip(means, covariances, strict=True)
        ]
        model = GeneralMixtureModel(components, priors=weights, max_iter=passes, tol=-float("inf"))
        return model.to(x).fit(x)

    def loglik(self, model: Any, x: torch.Tensor) -> float:
        return float(model.log_probability(x).double().mean())
