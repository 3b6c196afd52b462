"""Ground truth without storage: answers carry signed tokens, labels come back with them and are counted.

Nothing is kept of an answer or of a label but counts. Imported by servers that are given a key; the path is there in all, to say so.
"""

from typing import Final

PATH: Final = "/v2/feedback"
