"""Every flag on outcomes that are written down: raised where it must be, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.audit.checks import Outcomes, figures, findings

N = 200


def first(count: int) -> np.ndarray:
    """The first ``count`` images are broken."""
    return np.arange(N) < count


def outcomes(**changes: Any) -> Outcomes:
    """An honest network: every attack breaks about half of the images, the stronger ones a few more."""
    suite = {"fgsm": first(80), "pgd-20": first(100), "autoattack": first(104)}
    probes = {
        "plain": first(98),
        "rescaled": first(98),
        "longer": first(100),
        "margin": first(101),
        "noise": first(101),
        "square": first(102),
        "transfer": first(101),
        "large": first(N),
        "grey": first(N),
    }
    probes |= {name: vector for name, vector in changes.items() if name in probes}
    suite |= {name: vector for name, vector in changes.items() if name in suite}
    return Outcomes(suite, ("fgsm", "pgd-20"), (("fgsm", "pgd-20"),), probes)


def flags(**changes: Any) -> dict[str, float | None]:
    return {finding.flag: finding.points for finding in findings(outcomes(**changes))}


def test_an_honest_network_has_none() -> None:
    assert flags() == {}


def test_what_rescaling_adds_is_scale_masking() -> None:
    assert flags(plain=first(80)) == {"scale_masking": 9.0}
    assert flags(plain=first(96)) == {}, "a point, and no more than chance"
    assert flags(plain=first(120), autoattack=first(120)) == {}, "plain breaks more: the other way is no masking"


def test_steps_that_still_matter_are_more_steps() -> None:
    assert flags(longer=first(110), autoattack=first(110)) == {"not_converged": 6.0}


def test_what_no_gradient_finds_is_black_box() -> None:
    for attack, points in (("noise", 10.5), ("square", 10.0)):  # Square's own image stays when noise finds others
        found = flags(**{attack: first(101) | (np.arange(N) >= 180)})
        assert found["black_box_stronger"] == points
        assert "transfer" not in found


def test_what_the_baselines_images_break_is_transfer() -> None:
    found = flags(transfer=first(101) | (np.arange(N) >= 180), autoattack=first(N))
    assert found == {"transfer": 10.0}


def test_what_the_grey_image_breaks_beyond_gradients_is_large_eps() -> None:
    assert flags(large=first(150), grey=first(180)) == {"large_eps_survivors": 15.0}


def test_the_points_of_large_eps_are_those_of_the_large_budget() -> None:
    found = findings(outcomes(large=first(150), grey=first(180), transfer=first(120))._replace(reach=0.5))
    assert [finding.eps for finding in found if finding.flag == "large_eps_survivors"] == [0.5]
    assert {finding.eps for finding in found if finding.flag != "large_eps_survivors"} == {None}


def test_the_note_says_no_more_than_is_certain() -> None:
    """Clopper and Pearson's bound of 20 in 200. Of few images lost and some gained there is nothing to say."""
    (finding,) = findings(outcomes(large=first(150), grey=first(170)))
    assert finding.note.endswith(": 10.0 points (20 more images; at least 6.7 points)")
    late = first(80) | (np.arange(N) >= 197)
    (finding,) = findings(outcomes(plain=late, rescaled=first(95), longer=first(95), autoattack=first(N)))
    assert finding.note.endswith(": 6.0 points (15 more images and 3 fewer)"), finding.note


def test_a_suite_that_is_beaten_has_a_stronger_attack() -> None:
    assert flags(autoattack=first(90), **{"pgd-20": first(90)}) == {"stronger_attack": 6.0}


def test_only_what_the_suite_left_standing_counts_against_it() -> None:
    """Four images more are two points of 200, but no more than chance."""
    assert flags(margin=first(106), square=first(108)) == {}
    assert flags(margin=first(116)) == {"stronger_attack": 6.0}


def test_a_weaker_attack_that_breaks_what_a_stronger_does_not_is_out_of_order() -> None:
    late = np.arange(N) >= 190
    (finding,) = findings(outcomes(fgsm=first(80) | late, autoattack=first(104) | late))
    assert (finding.flag, finding.points) == ("weaker_attack_stronger", 5.0)
    assert finding.note.startswith("fgsm succeeds on 10 images on which pgd-20 fails")
    few = np.arange(N) >= 197
    assert flags(fgsm=first(80) | few, autoattack=first(104) | few) == {}, "some are allowed"
    (finding,) = findings(outcomes(rescaled=first(96) | late, longer=first(106), autoattack=first(110) | late))
    assert finding.note.startswith("rescaled succeeds on 10 images on which longer fails")


def test_large_budgets_say_nothing_of_the_small_one() -> None:
    """The images that the grey one breaks lie far outside the budget of the suite."""
    assert "stronger_attack" not in flags(large=first(N), grey=first(N))
    found = figures(outcomes())
    assert found["drop_stronger_attack"] == 0.0
    assert found["acc_large"] == 0.0


def test_figures_are_there_whether_or_not_they_flag() -> None:
    found = figures(outcomes())
    assert found["acc_suite"] == 48.0
    assert found["acc_margin"] == 49.5
    assert found["drop_margin"] == pytest.approx(1.5)
    assert found["drop_not_converged"] == pytest.approx(1.0)
    assert found["drop_black_box_stronger"] == pytest.approx(0.5)
    assert "acc_square" not in found, "Square tried what was left, so its own accuracy is unknown"


def test_a_cascade_is_no_white_box() -> None:
    """AutoAttack's images, Square's among them, do not count as found by gradients."""
    everything = outcomes(autoattack=first(N), square=first(140))
    assert {finding.flag for finding in findings(everything)} == {"black_box_stronger"}


def test_without_suite_or_twin_what_is_left_is_compared() -> None:
    full = outcomes()
    probes = {name: vector for name, vector in full.probes.items() if name != "transfer"}
    alone = Outcomes({}, (), (), probes)
    assert findings(alone) == []
    assert "drop_transfer" not in figures(alone)
    assert "acc_suite" not in figures(alone)
