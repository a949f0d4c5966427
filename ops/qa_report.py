"""What a check found, for a person and for the exit code."""

from dataclasses import dataclass, field

SHOWN_MAX = 50  # findings printed; the rest is counted

CLEAN, UNCLEAR, FINDINGS = 0, 1, 2


@dataclass
class Report:
    """Lines in the order found. `unclear` are checks that could not be made though they should have been."""

    facts: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """2 with findings, 1 when a check could not be made, else 0."""
        if self.findings:
            return FINDINGS
        return UNCLEAR if self.unclear else CLEAN

    def text(self) -> str:
        """All of it, findings bounded."""
        lines = [*self.facts, *(f"FINDING {line}" for line in self.findings[:SHOWN_MAX])]
        if len(self.findings) > SHOWN_MAX:
            lines.append(f"... and {len(self.findings) - SHOWN_MAX} more findings")
        lines.extend(f"UNCLEAR {line}" for line in self.unclear)
        verdict = {CLEAN: "clean", UNCLEAR: "cannot tell", FINDINGS: f"{len(self.findings)} findings"}
        return "\n".join([*lines, verdict[self.exit_code]])
