"""Variants that are trained for robustness: adversarial training, regularisation and augmentation.

Each entry has the published setting of its method for ResNet-18 on CIFAR-10. The recipe is that of the run, so that all
variants are compared at equal epochs, learning rates and augmentations. Adversarial variants evaluate averaged weights
(Izmailov et al. 2018, arXiv 1803.05407): in the FastAT benchmark, averaging raises PGD training of a ResNet-18 from
44.3 to 50.5 % under AutoAttack.

Published figures in the summaries are clean accuracy and accuracy under AutoAttack, or on CIFAR-10-C, in percent, of a
ResNet-18 or PreAct ResNet-18. Their sources are:

- RobustBench, commit 78fcc9e;
- PyTorch-Robust (github.com/MTandHJ/PyTorch-Robust), which repeats the authors' settings with a ResNet-18: weights of
  the last epoch;
- FastAT benchmark, Pan and Yao 2026, arXiv 2604.22853: mean of three seeds, with weight averaging;
- the authors' repositories, github.com/csdongxian/AWP and github.com/tml-epfl/adv-training-corruptions.
"""

from __future__ import annotations

import dataclasses

from bench.core.specs import AdversarySpec, VariantSpec
from bench.models.variants import ADVERSARIAL_EMA, ORIGIN, VARIANTS, VariantEntry

PGD = AdversarySpec()  # ten steps of ε/4: 2/255 at 8/255
PGD_L2 = AdversarySpec(norm="l2", step_size=15 / 128)  # ten steps of 15/255 at 128/255
N_FGSM = AdversarySpec(steps=1, step_size=1.0, start=2.0, projected=False)

_AT = VariantSpec(adversary=PGD, ema=ADVERSARIAL_EMA)
_AT_L2 = VariantSpec(adversary=PGD_L2, ema=ADVERSARIAL_EMA)


def _register(name: str, summary: str, source: str, spec: VariantSpec) -> None:
    VARIANTS.register(name, VariantEntry(summary=summary, source=source, spec=spec), origin=ORIGIN)


_register(
    "pgd_at_l2",
    "pgd_at in L2: 10 steps of 15/255 at 128/255; published 88.67 clean, 67.68 AutoAttack at 0.5 (RobustBench)",
    "Rice et al. 2020, arXiv 2002.11569; Madry et al. 2018, arXiv 1706.06083",
    _AT_L2,
)
_register(
    "trades",
    "cross-entropy of clean images + 6·KL between clean and perturbed predictions, 10 steps; published 82.04 clean, "
    "48.39 AutoAttack at 8/255 (PyTorch-Robust)",
    "Zhang et al. 2019, arXiv 1901.08573",
    dataclasses.replace(_AT, training_step="trades", step_weight=6.0),
)
_register(
    "mart",
    "boosted cross-entropy of perturbed images + 5·KL, weighted by the doubt in the clean image, 10 steps; published "
    "82.77 clean, 47.29 AutoAttack at 8/255 (PyTorch-Robust)",
    "Wang et al. 2020, OpenReview rklOg6EFwS",
    dataclasses.replace(_AT, training_step="mart", step_weight=5.0),
)
_register(
    "fast_at",
    "N-FGSM, adversarial training with one step of ε from noise on [−2ε, 2ε], not projected onto the ball; published "
    "78.59 clean, 47.77 AutoAttack at 8/255, with label smoothing (FastAT benchmark)",
    "de Jorge et al. 2022, arXiv 2202.01181",
    VariantSpec(adversary=N_FGSM, ema=ADVERSARIAL_EMA),
)
_register(
    "awp",
    "pgd_at at weights perturbed by 0.01 of their norm; published 82.32 clean, 49.52 AutoAttack at 8/255 "
    "(PyTorch-Robust)",
    "Wu et al. 2020, arXiv 2004.05884",
    dataclasses.replace(_AT, weight_perturbation=0.01),
)
_register(
    "awp_l2",
    "pgd_at_l2 at weights perturbed by 0.01 of their norm; published 90.11 clean, 70.31 AutoAttack at 128/255 "
    "(authors' repository)",
    "Wu et al. 2020, arXiv 2004.05884",
    dataclasses.replace(_AT_L2, weight_perturbation=0.01),
)
_register(
    "augmix",
    "cross-entropy of clean images + 12·Jensen-Shannon divergence from two mixtures of simple operations; published "
    "95.69 clean, 88.48 on CIFAR-10-C (PyTorch-Robust); no AutoAttack figure",
    "Hendrycks et al. 2020, arXiv 1912.02781",
    VariantSpec(training_step="augmix", step_weight=12.0),
)
_register(
    "gaussian_aug",
    "Gaussian noise of 0.1 on half of the images; published 93.24 clean, 85.04 on CIFAR-10-C (RobustBench); no "
    "AutoAttack figure",
    "Kireev et al. 2021, arXiv 2103.02325; Rusak et al. 2020, arXiv 2001.06057",
    VariantSpec(noise=0.1, noise_share=0.5),
)
_register(
    "input_gradient_penalty",
    "baseline + 0.02 times the L2 norm of the loss's gradient with respect to the image; published 78.35 on CIFAR-10-C "
    "(authors' repository); no AutoAttack figure",
    "Kireev et al. 2021, arXiv 2103.02325; Ross and Doshi-Velez 2018, arXiv 1711.09404",
    VariantSpec(training_step="input_gradient_penalty", step_weight=0.02),
)
_register(
    "jacobian_penalty",
    "baseline + 0.01/2 times the squared norm of the Jacobian of the logits (weight of the authors' code); no "
    "AutoAttack figure",
    "Hoffman et al. 2019, arXiv 1908.02729",
    VariantSpec(training_step="jacobian_penalty", step_weight=0.01),
)
_register(
    "spectral_norm",
    "baseline with the weights of each layer divided by their spectral norm; batch norms still scale the features; no "
    "AutoAttack figure",
    "Miyato et al. 2018, arXiv 1802.05957; for classifiers, Farnia et al. 2019, arXiv 1811.07457",
    VariantSpec(spectral_norm=True),
)
