"""Files that a fuzzer starts from, and mutations of them.

Every file is a case by itself, and every fault a fuzzer finds becomes one.
"""

from pathlib import Path
from typing import Final

from hypothesis import strategies as st

HERE: Final = Path(__file__).parent
_MOST_CHANGES: Final = 4


def files(folder: str) -> dict[str, bytes]:
    """Name -> content of all files in a folder below this one."""
    return {path.name: path.read_bytes() for path in sorted((HERE / folder).iterdir())}


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes], tokens: list[bytes]) -> bytes:
    """A seed with up to four changes: bytes removed, repeated or overwritten, tokens or pieces of other seeds put in."""
    raw = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, _MOST_CHANGES))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(
                st.sampled_from(tokens), st.binary(max_size=3), st.sampled_from(seeds), st.just(raw[start:end] * 2)
            )
        )
        raw = raw[:start] + piece + raw[end:]
    return raw
