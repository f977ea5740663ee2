"""Thresholds above which a figure of the audit raises a flag, and their reasons.

A flag needs a consequence: another attack lowers the robust accuracy by more than ``POINTS``, and by more than chance,
which is to say that the one-sided 95 % bound of the fall lies above it. Diagnostics alone (gradients of exactly zero, a
softmax of exactly one) never flag: a network that has been trained for long on cross-entropy shows them too.
"""

from __future__ import annotations

from typing import Final

#: Name of the audit's attack that tries images made on the paired baseline.
TRANSFER: Final = "transfer"

#: Points of robust accuracy. Carlini et al. 2019 (arXiv 1902.06705, section 5) ask of every one of these comparisons
#: that nothing changes; an interval makes of "nothing" something that can be tested.
POINTS: Final = 1.0

#: Points of the images that the weaker of two attacks may break and the stronger not. The walks are not nested: 0.6 to
#: 1.4 % of what 10 steps of PGD break survive 100 on ordinary networks.
ORDER_ALLOWANCE: Final = 1.5

#: Nats between the two largest logits, in the median, that logits are rescaled to: as ordinary networks have them, and
#: far from the 17 at which float32 begins to lose a cross-entropy's gradient. At a gap of one, where the loss counts
#: all wrong classes alike, PGD breaks fewer images of an ordinary network than without any scaling.
GAP: Final = 8.0

#: At this budget every image can become one and the same grey, so that no network tells them apart, and an attack that
#: leaves more than the grey image does has failed (Carlini et al. 2019, "unbounded attacks reach 100 %").
GREY: Final = 0.5

#: Points. An audit that would not have flagged a fall of so many acquits nobody: of 50 images, the fewest that do, it
#: takes six to raise a flag.
DECISIVE: Final = 12.0
