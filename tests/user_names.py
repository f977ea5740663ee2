"""Names and texts that users may give, near those that a CSV reader changes."""

from __future__ import annotations

from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.core.names import BOOLEANS, MISSING, allowed_name, check_name

#: Words that readers change, in several cases, and digits, signs, blanks and invisible characters around them.
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(sorted({*MISSING, *BOOLEANS})).map(str.swapcase),
    st.sampled_from(sorted(MISSING)),
    st.text(alphabet="0123456789.eE+-_xXinfINFatyNA ", max_size=8),
    st.text(alphabet="ab=+-@,:;\"'\t\r\n \x00\x85\u2028\ufeff\ud800\u00a0", max_size=6),
)


def is_allowed(name: str) -> bool:
    """Whether a model may have this name."""
    try:
        check_name("model", name)
    except BenchError:
        return False
    return True


NAMES = TEXTS.map(lambda text: text if is_allowed(text) else allowed_name(text, "m"))
