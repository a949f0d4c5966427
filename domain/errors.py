"""The exception tree of the project. A leaf module: it imports nothing of ours.

KalshiStreamsError
├── UserMistake            one clear line and exit code 2; never a traceback
├── BadInput               dead letter with `reason`; the stream goes on
│   ├── MalformedFrame     a frame or record that cannot be understood
│   └── InvariantViolated  a well-formed change that cannot be true of the book
└── Fatal                  our own bug or a broken promise of the log: log it and end the process
    └── ForeignLog         the log is not the one that the state was built from: exit code 2, a person must choose
"""


class KalshiStreamsError(Exception):
    """Root of every exception this project raises on purpose."""


class UserMistake(KalshiStreamsError):
    """The person at the terminal can mend this. Its text is the one line they see; it never holds a secret."""


class BadInput(KalshiStreamsError):
    """Input that is refused. `reason` is a stable snake_case code (metrics, dead letters); `detail` is for a person.

    Messages say what was expected, what was found, and for which key.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class MalformedFrame(BadInput):
    """The bytes do not say what a frame or record must say."""


class InvariantViolated(BadInput):
    """The change is well-formed and impossible: a negative level, a crossed book, a reduction of an unknown level."""


class Fatal(KalshiStreamsError):
    """State can no longer be trusted. The process ends without acknowledging; the log restores it."""


class ForeignLog(Fatal):
    """A topic was re-created or truncated under its state. No restart mends it: the message says what does."""
