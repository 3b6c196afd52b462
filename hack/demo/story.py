"""How the demo speaks: a headline per stage, a line per fact, a closing table. Owns the terminal; knows nothing of Kubernetes."""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Chapter:
    """One stage that truly happened, and what it showed."""

    title: str
    began: float
    seconds: float
    outcome: str


@dataclass
class Story:
    """Collects what happened while printing it. Times are seconds since the demo began."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    start: float = field(default_factory=time.monotonic)
    chapters: list[Chapter] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.start

    def headline(self, text: str) -> None:
        """Begin a stage."""
        self.console.print(f"\n[bold cyan]{self.elapsed():6.1f} s  {text}[/]")

    def say(self, text: str) -> None:
        """One line inside a stage."""
        self.console.print(f"          {text}")

    def once(self, text: str, about: str = "") -> None:
        """The same, unless this, or anything `about` the same thing, was said before: for lines that come from polling."""
        if (about or text) not in self._said:
            self._said.add(about or text)
            self.say(text)

    def close(self, title: str, began: float, outcome: str) -> None:
        """A stage truly happened."""
        self.chapters.append(Chapter(title, began, self.elapsed() - began, outcome))
        self.say(f"[green]done:[/] {outcome}")

    def table(self) -> None:
        """What happened and when."""
        table = Table(title="What happened", title_justify="left", show_lines=False)
        table.add_column("at", justify="right")
        table.add_column("took", justify="right")
        table.add_column("stage")
        table.add_column("outcome", overflow="fold")
        for chapter in self.chapters:
            table.add_row(f"{chapter.began:.0f} s", f"{chapter.seconds:.1f} s", chapter.title, chapter.outcome)
        self.console.print()
        self.console.print(table)
