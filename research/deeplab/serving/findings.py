"""The findings of a check of an export."""

import dataclasses

FAULT, WARNING, NOTE = "fault", "warning", "note"


@dataclasses.dataclass(frozen=True)
class ExportFinding:
    """Something that an operator should know before a roll-out.

    Args:
        kind: A stable name of its kind; g3doc/check_export.md lists them.
        level: "fault" for what keeps a server from answering, "warning", or "note".
        message: One line: what was found, where, and what mends it.
    """

    kind: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.message}"


class ExportFindings(list[ExportFinding]):
    """Findings in the order in which they were made."""

    def fault(self, kind: str, message: str) -> None:
        """Add a finding that keeps a server from answering."""
        self.append(ExportFinding(kind, FAULT, message))

    def warn(self, kind: str, message: str) -> None:
        """Add a finding that may be a mistake."""
        self.append(ExportFinding(kind, WARNING, message))

    def note(self, kind: str, message: str) -> None:
        """Add a finding that is often intended."""
        self.append(ExportFinding(kind, NOTE, message))

    def has(self, level: str) -> bool:
        """Return whether there is a finding of a level."""
        return any(finding.level == level for finding in self)
