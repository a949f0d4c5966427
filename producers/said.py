"""What was said already: an unchanged statement is held back for a while, so that an idle account does not fill topics
that are kept for ever. No clock."""

from collections import OrderedDict

SAID_MAX = 20_000  # remembered statements and dead letters; the oldest go, which costs a repetition
REPEAT_S = 600.0  # an unchanged position or order state is said again this often


class Said:
    """Remembers the content of each statement, when it was said last, and whether that was a repetition."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, tuple[bytes, int, bool]] = OrderedDict()

    def is_news(
        self, what: str, content: bytes, now_ms: int, confirm_s: float = REPEAT_S, repeat_s: float = REPEAT_S
    ) -> bool:
        """Whether this says something else than last time, or long enough ago: the first repetition after `confirm_s`,
        the others each after `repeat_s`. True counts as said."""
        before = self._said.get(what)
        is_same = before is not None and before[0] == content
        if before is not None and is_same and now_ms - before[1] < (repeat_s if before[2] else confirm_s) * 1_000:
            return False
        self._said[what] = (content, now_ms, is_same)
        self._said.move_to_end(what)
        if len(self._said) > SAID_MAX:
            self._said.popitem(last=False)
        return True

    def forget(self, what: str) -> None:
        """Whatever is said of it next is news."""
        self._said.pop(what, None)
