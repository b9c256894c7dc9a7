"""A model for sharing, in a folder or one zip: networks, preprocessing, averaging and provenance.

`bundle.json` holds everything but the weights, which are safetensors files with their SHA-256 in `bundle.json`. An
optional `card.md` is a page for people. No file can execute code, and zips are read in place. Run folders and folders
of members can also be opened as models.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mapping_stroke.errors import BundleError
from mapping_stroke.files import remove, require_space, written_whole
from mapping_stroke.networks.archive import SUFFIX, add_entry, has_entry, read_entry
from mapping_stroke.networks.cards import BundleCard, BundleMember, weights_path
from mapping_stroke.networks.member_folder import WEIGHTS_FILE, find_members, read_card
from mapping_stroke.networks.nnunet_results import describe_import
from mapping_stroke.networks.spec import Weights, count_parameters
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.networks.weights import find_problems, most_bytes, weights_from_bytes, weights_to_bytes

BUNDLE_FILE = "bundle.json"
PAGE_FILE = "card.md"
LARGEST_CARD_BYTES = 10_000_000
BUNDLED = Path(__file__).parents[1] / "models"
"""Folder of the models that come with the installation."""
_Put = Callable[[str, bytes], None]


@dataclass(frozen=True)
class Bundle:
    """A model on disk."""

    path: Path
    card: BundleCard

    @property
    def sha256(self) -> str:
        """Hash of everything that affects results: networks, preprocessing, averaging, thresholds, space; hexadecimal.

        It is the same for a folder, a zip and a run folder with the same networks; names of files and of the model,
        and its provenance, do not count.
        """
        members = [_decisive(member) for member in self.card.members]
        postprocess = self.card.postprocess and asdict(self.card.postprocess)
        how = {"average": self.card.average, "fast_cover": self.card.fast_cover}
        scans = {"space": self.card.space, "shows": self.card.shows}
        # left out if unknown, or as in older models, so that these keep their hash
        known: dict[str, str] = {name: value for name, value in scans.items() if value != "unknown"}
        if self.card.mirror != "asked":
            known["mirror"] = self.card.mirror
        decisive = {**how, **known, "postprocess": postprocess, "members": members}
        return hashlib.sha256(json.dumps(plain_json(decisive), sort_keys=True).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of the zip, or of the weights in a folder, without missing files."""
        if self.path.is_file():
            return self.path.stat().st_size
        files = [self.path / member.weights for member in self.card.members]
        return sum(file.stat().st_size for file in files if file.is_file())

    def read_weights(self, member: BundleMember) -> Weights:
        """One member's weights, checked against their SHA-256 and the member's network.

        Raises:
            BundleError: The file is missing, too large, changed, or does not fit the network.
        """
        return weights_from_bytes(self._read(member), member.card.network, f"{self.path}: {member.weights}")

    def read_stored(self, member: BundleMember) -> Weights:
        """`read_weights` in their stored types, for writing the same bytes again."""
        name = f"{self.path}: {member.weights}"
        return weights_from_bytes(self._read(member), member.card.network, name, as_stored=True)

    def find_problems(self, member: BundleMember) -> list[str]:
        """Problems of one member's weights, including NaN and infinity, one line each; empty if there are none."""
        try:
            content = self._read(member)
        except BundleError as error:
            return [str(error)]
        return find_problems(content, member.card.network, f"{self.path}: {member.weights}")

    def read_page(self) -> str:
        """The model card for people (Markdown); empty if the model holds none.

        Raises:
            BundleError: It cannot be read, or is not text.
        """
        if not has_entry(self.path, PAGE_FILE):
            return ""
        try:
            return read_entry(self.path, PAGE_FILE, LARGEST_CARD_BYTES).decode()
        except UnicodeDecodeError as error:
            raise BundleError(f"{self.path}: {PAGE_FILE} is not UTF-8 text; copy or pack the model again") from error

    def _read(self, member: BundleMember) -> bytes:
        content = read_entry(self.path, member.weights, most_bytes(member.card.network))
        if hashlib.sha256(content).hexdigest() != member.weights_sha256:
            raise BundleError(
                f"{self.path}: {member.weights}: its SHA-256 differs from the card's; copy or pack the model again"
            )
        return content


def bundled_models() -> list[Path]:
    """The models of this installation, sorted; their names without suffix can be given as a model."""
    return sorted(BUNDLED.glob(f"*{SUFFIX}"))


def open_bundle(model: str | Path) -> Bundle:
    """Open a model; only its card is read, `Bundle.read_weights` reads and checks the weights.

    Args:
        model: A folder or zip with `bundle.json`, a run folder, any folder of trained members, or the name of a model
            of this installation, such as `default`. As text, such a name takes precedence over a folder or file of the
            same name, which can be given as `./default` or `Path("default")`.

    Raises:
        BundleError: There is no model, its card or archive is damaged or of another format version, or it is a model of
            nnU-Net (the message then gives the command for importing it).
    """
    path = _find_model(model)
    if not is_packed(path):
        return Bundle(path, _card_of_members(path))
    if path.is_file() and not has_entry(path, BUNDLE_FILE) and (of_nnunet := describe_import(path)):
        raise BundleError(of_nnunet)
    text = read_entry(path, BUNDLE_FILE, LARGEST_CARD_BYTES)
    try:
        return Bundle(path, BundleCard.from_bytes(text))
    except BundleError as error:
        raise BundleError(f"{path}: {BUNDLE_FILE}: {error}") from error


def is_packed(path: Path) -> bool:
    """Whether a model is a bundle instead of a folder of members."""
    return path.is_file() or (path / BUNDLE_FILE).is_file()


def write_bundle(
    target: Path,
    card: BundleCard,
    weights: Callable[[BundleMember], Weights],
    *,
    page: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a model atomically; the same card and weights give the same bytes.

    Args:
        target: A new folder, or a file whose name ends with `.mapping` for one zip.
        card: The model's card. Paths and hashes of the weights are set here, replacing those of its members.
        weights: Returns the weights of a member of `card`; called once per member, in order, to hold one at a time.
        page: A model card for people, Markdown; empty for none.
        overwrite: Replace an existing model; anything else is never replaced.

    Raises:
        BundleError: The target exists, or weights do not fit their network.
        ResourceError: The disk is full.
    """
    require_free(target, overwrite=overwrite)
    require_space(target.parent, sum(4 * count_parameters(m.card.network) + 100_000 for m in card.members))
    with written_whole(target) as partial:
        with _entries(partial, is_zip=target.suffix == SUFFIX) as put:
            members = tuple(_put_member(put, member, weights(member)) for member in card.members)
            text = json.dumps(replace(card, members=members).to_json(), indent=2, allow_nan=False) + "\n"
            put(BUNDLE_FILE, text.encode())
            if page:
                put(PAGE_FILE, page.encode())
        if target.is_dir():
            remove(target)  # a folder cannot be renamed onto another
    return target


def _find_model(model: str | Path) -> Path:
    path = Path(model)
    bundled = {found.stem: found for found in bundled_models()}
    if isinstance(model, str) and model in bundled:
        return bundled[model]
    if path.exists():
        return path
    if model == "default":
        raise BundleError(
            f"{BUNDLED / 'default'}{SUFFIX}: is missing, so this installation has no bundled model; reinstall "
            "mapping-stroke, or give another model, such as a run folder"
        )
    raise BundleError(f"{path}: no such model; give a {SUFFIX} file, a model folder, or a run folder")


def _put_member(put: _Put, member: BundleMember, weights: Weights) -> BundleMember:
    content = weights_to_bytes(weights, member.card.network, member.card.name)
    name = weights_path(member.card)
    put(name, content)
    return BundleMember(member.card, name, hashlib.sha256(content).hexdigest())


@contextmanager
def _entries(partial: Path, *, is_zip: bool) -> Iterator[_Put]:
    """Yield a function that writes one file of a model into a folder or a zip."""
    if is_zip:
        with zipfile.ZipFile(partial, "w") as archive:
            yield lambda name, content: add_entry(archive, name, content)
        return

    def put(name: str, content: bytes) -> None:
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    yield put


def _decisive(member: BundleMember) -> dict[str, Any]:
    """The properties of a member that affect results; defaults of newer fields are left out, to keep older hashes."""
    values = {**asdict(member.card), "training": None, "weights_sha256": member.weights_sha256}
    if member.card.mirror_axes == (0, 1, 2):
        del values["mirror_axes"]
    if member.card.network.unshuffle == 1:
        del values["network"]["unshuffle"]
    return values


def _card_of_members(folder: Path) -> BundleCard:
    trained = folder / "train"  # of a run folder
    members = []
    for found in find_members(trained if trained.is_dir() else folder):
        card, weights_sha256 = read_card(found)
        place = (found / WEIGHTS_FILE).relative_to(folder).as_posix()
        members.append(BundleMember(card, place, weights_sha256))
    if not members:
        raise BundleError(
            describe_import(folder)
            or f"{folder}: holds no trained member; give a {SUFFIX} file, a model folder, or a run folder in which "
            "`mapping train` has finished"
        )
    try:
        return BundleCard(folder.resolve().name or "model", tuple(members))
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from error


def require_free(target: Path, *, overwrite: bool = False) -> None:
    """Raise the `BundleError` that `write_bundle` would raise for an existing target, before any long work."""
    if not target.exists():
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    if not overwrite:
        raise BundleError(f"{target}: exists already; give another name, or --overwrite to replace a model")
    try:
        card = BundleCard.from_bytes(read_entry(target, BUNDLE_FILE, LARGEST_CARD_BYTES))
    except BundleError as error:
        raise BundleError(f"{target}: is not a model, so it is not replaced; give another name") from error
    if target.is_dir():
        own = {BUNDLE_FILE, PAGE_FILE, *(member.weights for member in card.members)}
        others = [file for file in sorted(target.rglob("*")) if not file.is_dir()]
        for other in (file.relative_to(target).as_posix() for file in others):
            if other not in own:
                raise BundleError(f"{target}: holds {other}, which is not part of a model; give another name")
