"""How training cases are mixed with one another, and how often: rows of data."""

from dataclasses import dataclass

from mapping_stroke.errors import ConfigError


@dataclass(frozen=True)
class Mixing:
    """What is mixed before patches are cut (carving), and after (blending).

    Source: Zhang et al. 2021, *CarveMix*, arXiv:2108.06883; Zhang et al. 2018, *mixup*, arXiv:1710.09412.
    """

    name: str
    carve_probability: float = 0.0
    """Share of the patches that are cut from a case into which the lesions of another case were pasted."""
    blend_alpha: float = 0.0
    """Patches of a batch are blended in shares drawn from Beta(alpha, alpha); 0 for no blending."""

    def __post_init__(self) -> None:
        if not 0 <= self.carve_probability <= 1:
            raise ConfigError(f"mixing {self.name}: carve_probability is {self.carve_probability}, expected 0 to 1")
        if self.blend_alpha < 0:
            raise ConfigError(f"mixing {self.name}: blend_alpha is {self.blend_alpha}, expected 0 or more")


NO_MIXING = Mixing("none")
CARVEMIX = Mixing("carvemix", carve_probability=0.5)
MIXUP = Mixing("mixup", blend_alpha=0.2)
MIXINGS = {mixing.name: mixing for mixing in (NO_MIXING, CARVEMIX, MIXUP)}
