"""`mapping models card`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Card:
    """Write a model's card, for people: what it is and is for, its terms, how well it does and where it fails."""

    model: Positional[str]
    """As for `show`."""
    evaluation: Path
    """Folder of `mapping models evaluate` of the same model."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Page to write, Markdown; the picture of the failures is written beside it."""
    about: Path | None = None
    """Your own text, Markdown with places such as `{{ loads }}` that the values fill; without it a plain one."""
    embed: bool = False
    """Keep the card in the model, too; `mapping models show MODEL --card` prints it."""

    def run(self) -> int:
        """Write the page."""
        from mapping_stroke.experiment.model_card import write_card

        write_card(self.model, self.evaluation, self.output, self.about, embed=self.embed)
        return 0
