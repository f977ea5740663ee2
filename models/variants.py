"""Registry of variants, the training-time ideas under test. To add a variant, register an entry."""

from __future__ import annotations

from bench.core.specs import AdversarySpec, VariantSpec
from bench.core.vocabulary import BASELINE
from bench.models.variant_registry import ORIGIN, VARIANTS, VariantEntry, has_collapse_penalty, shown_name

__all__ = ["ORIGIN", "VARIANTS", "VariantEntry", "has_collapse_penalty", "shown_name"]

RECIPE = "recipe"  # instead of a schedule's name: use the schedule of the recipe

WIDTH, WIDE, NARROW = 64, 128, 32
ADVERSARIAL_EMA = 0.995  # decay per step: an average over the last 200 steps
_LPC = "Sbailo and Ghiringhelli, arXiv 2310.08224"
_ABLATION = f"ablation in {_LPC}"
_EARLIER = "ablation of Sbailo and Ghiringhelli, OpenReview FwlM1k4ODx (2024)"


def _lpc(width: int = WIDTH, penalty: str = "mean_square", term: str | None = None) -> VariantSpec:
    """Return a spec with a linear layer and a penalty whose weight follows the schedule of the recipe.

    γ multiplies a mean over the width, so that the weight per sample is γ/d. As published, all widths use the same
    sequence of γ: a schedule that depends on the width is evaluated at the standard width. The adaptive schedule
    "auto" finds a different γ in every run.
    """
    return VariantSpec(head="linear", latent_dim=width, penalty=penalty, schedule=RECIPE, balance_dim=WIDTH, term=term)


def _register(name: str, summary: str, source: str, spec: VariantSpec, *, collapses: bool | None = None) -> None:
    VARIANTS.register(name, VariantEntry(summary=summary, source=source, spec=spec, collapses=collapses), origin=ORIGIN)


_register(BASELINE, "cross-entropy on the backbone's own features, no penultimate layer", _ABLATION, VariantSpec())
_register("baseline_wd", "baseline with a weight decay of 0.1", _ABLATION, VariantSpec(weight_decay=0.1))
_register("lin_pen", "a linear penultimate layer, no penalty", _ABLATION, VariantSpec(head="linear", latent_dim=WIDTH))
_register(
    "nonlin_pen", "a penultimate layer with SiLU, no penalty", _ABLATION, VariantSpec(head="silu", latent_dim=WIDTH)
)
_register("lpc", f"latent point collapse: γ·mean(z²) on a linear layer of {WIDTH}", _LPC, _lpc())
_register(
    "lpc_wide",
    f"lpc on a layer of {WIDE}; at equal γ (recipes short and paper), half the weight per sample",
    _ABLATION,
    _lpc(WIDE),
)
_register(
    "lpc_narrow",
    f"lpc on a layer of {NARROW}; at equal γ (recipes short and paper), twice the weight per sample",
    _ABLATION,
    _lpc(NARROW),
)
_register(
    "lpc_no_pen",
    "the penalty of lpc on the backbone's own features, no penultimate layer",
    _ABLATION,
    VariantSpec(penalty="mean_square", schedule=RECIPE, balance_dim=WIDTH),
)
_register(
    "lpc_scl",
    "lpc and a supervised contrastive loss on the backbone's features, as in scl",
    _ABLATION,
    _lpc(term="supervised_contrastive_authors"),
)
_register(
    "lpc_exp",
    "lpc as first published: a penalty that grows as exp of the mean square",
    "Sbailo and Ghiringhelli, arXiv 2310.08224v1",
    _lpc(penalty="exp_mean_square"),
)
_register(
    "scl",
    "baseline and a supervised contrastive loss on its features",
    "Khosla et al. 2020, arXiv 2004.11362; images without a partner count as 0, as in the code of arXiv 2310.08224",
    VariantSpec(term="supervised_contrastive_authors"),
)
_register(
    "scl_khosla",
    "scl with the mean over the images that have a partner in the batch, as in its paper",
    "Khosla et al. 2020, arXiv 2004.11362",
    VariantSpec(term="supervised_contrastive"),
)
_register(
    "arcface",
    "additive angular margin in place of cross-entropy; the logits are 16 × cosines",
    "Deng et al. 2019, arXiv 1801.07698",
    VariantSpec(criterion="arcface"),
)
_register(
    "cosface",
    "additive cosine margin in place of cross-entropy; the logits are 16 × cosines",
    "Wang et al. 2018, arXiv 1801.09414",
    VariantSpec(criterion="cosface"),
)
_register(
    "center_loss",
    "baseline and 0.0015 times the squared distance of the features from their class's moving centre",
    "Wen et al. 2016, ECCV",
    VariantSpec(term="center_loss", term_weight=0.003),
)
_register(
    "label_smoothing",
    "baseline with 0.1 of every label spread over all classes",
    "Szegedy et al. 2016, arXiv 1512.00567",
    VariantSpec(criterion="label_smoothing"),
)
_register(
    "feature_norm",
    "a mild, constant penalty of 1·mean(h²) on the backbone's features",
    "Zhu et al. 2021, arXiv 2105.02375: the penalty of the unconstrained feature model",
    VariantSpec(penalty="mean_square", schedule="constant", gamma=1.0),
)
_register(
    "l1_pen",
    "a penultimate layer with SiLU and 1e-4·‖z‖₁",
    _EARLIER,
    VariantSpec(head="silu", latent_dim=WIDTH, penalty="mean_l1", schedule="constant", gamma=1e-4),
    collapses=False,
)
_register(
    "dropout_pen",
    "a linear penultimate layer with dropout (p = 0.5)",
    _EARLIER,
    VariantSpec(head="dropout", latent_dim=WIDTH),
)
_register(
    "pgd_at",
    "adversarial training, the positive control: baseline trained on adversarial examples of 10-step PGD; published "
    "with averaged weights 82.36 clean, 50.49 AutoAttack at 8/255 (FastAT benchmark, arXiv 2604.22853)",
    "Madry et al. 2018, arXiv 1706.06083",
    VariantSpec(adversary=AdversarySpec(), ema=ADVERSARIAL_EMA),
)

from bench.models import rival_variants, robust_variants  # noqa: E402, F401 - register variants in the registry above
