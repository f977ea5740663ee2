"""Rivals of latent point collapse: other losses that collapse the latents, or bound the logits, on the same layers.

A gain of ``lpc`` over ``baseline`` may come from any property that these losses share with it: collapsed classes, a
bounded margin, latents or logits of bounded length, class means on a simplex. Each rival has one of these properties
without the others. All have the linear layer of ``lpc``, so that they differ from ``lpc`` and ``lin_pen`` only in the
loss, or in the output layer.

=========================== ==============================================================================
``label_smoothing_matched`` the logit margin at which the adaptive schedule of γ holds ``lpc``, and no penalty
``center_loss_lin``         collapse of every class to a point, at any distance from the origin
``nc1_penalty``             the smallest NC1, at any size of the latents and any margin
``simplex_etf``             the geometry of a collapsed network, given from the start
``normface``, ``l2_softmax`` latents of one length, which bound the margin
``logit_squeezing``         logits of bounded length
=========================== ==============================================================================

The published recipes of these papers are not repeated: as for all variants, the recipe is that of the run.
"""

from __future__ import annotations

import dataclasses

from bench.core.specs import VariantSpec
from bench.models.variants import ORIGIN, VARIANTS, WIDTH, VariantEntry

ON_THE_LAYER = VariantSpec(head="linear", latent_dim=WIDTH)  # the layers of lin_pen and lpc
CENTER_WEIGHT = 0.003  # λ of Wen et al. 2016
CENTER_FACTORS = (1, 10, 100, 1000)  # swept multiples of λ
NC1_WEIGHT = 1.0
SQUEEZING_WEIGHT = 0.5  # default of the code of Mosbach et al. 2018


def _register(name: str, summary: str, source: str, *, collapses: bool | None = None, **changes: object) -> None:
    """Register a variant with the layers of ``lin_pen`` and the given ``changes`` of its spec."""
    spec = dataclasses.replace(ON_THE_LAYER, **changes)  # type: ignore[arg-type]
    VARIANTS.register(name, VariantEntry(summary=summary, source=source, spec=spec, collapses=collapses), origin=ORIGIN)


_register(
    "label_smoothing_matched",
    "lin_pen with labels smoothed so that the optimal margin is 3 nats, the target of lpc's adaptive γ: 0.34 for ten "
    "classes",
    "Szegedy et al. 2016, arXiv 1512.00567; smoothing K/(e^m + K − 1), see bench.models.losses",
    criterion="label_smoothing_matched",
)
for _factor in CENTER_FACTORS:
    _register(
        "center_loss_lin" if _factor == 1 else f"center_loss_lin_x{_factor}",
        f"lin_pen and {CENTER_WEIGHT * _factor:g} times the center loss ½·mean ‖z − c_y‖² of its latents"
        + ("; center_loss_lin_x10 to _x1000 sweep the weight" if _factor == 1 else ""),
        "Wen et al. 2016, ECCV; λ = 0.003 is published",
        collapses=True,
        term="center_loss",
        term_weight=CENTER_WEIGHT * _factor,
    )
_register(
    "nc1_penalty",
    "lin_pen and the NC1 of each batch, with weight 1",
    "definition of NC1, Papyan et al. 2020, arXiv 2008.08186; the weight is chosen here",
    collapses=True,
    term="batch_nc1",
    term_weight=NC1_WEIGHT,
)
_register(
    "simplex_etf",
    f"lin_pen with fixed output weights on a simplex, without bias; for up to {WIDTH + 1} classes",
    "Zhu et al. 2021, arXiv 2105.02375; Yang et al. 2022, arXiv 2203.09081 (with cross-entropy)",
    criterion="simplex_cross_entropy",
)
_register(
    "normface",
    "lin_pen with logits of 16 times the cosines of latents and weights (fixed scale, the paper also learns it)",
    "Wang et al. 2017, arXiv 1704.06369",
    criterion="cosine_softmax",
)
_register(
    "l2_softmax",
    "lin_pen with latents scaled to the length 16 before the output layer",
    "Ranjan et al. 2017, arXiv 1703.09507; the length is chosen here",
    criterion="l2_softmax",
)
_register(
    "logit_squeezing",
    f"lin_pen and {SQUEEZING_WEIGHT:g} times the mean length of the logits, without the Gaussian noise on the images "
    "that is used with it; on CIFAR-10 published at 27.0 % under a plain PGD and at 1.7 % under the strongest one "
    "(Mosbach et al. 2018, arXiv 1810.12042)",
    "Kannan et al. 2018, arXiv 1803.06373",
    term="logit_squeezing",
    term_weight=SQUEEZING_WEIGHT,
)
