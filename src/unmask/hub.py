"""Models of the Hugging Face Hub: what MODEL is, a repository's folder, and a folder's repository.

The network is used where a name of the Hub was given, and nowhere else.  huggingface_hub, an extra,
speaks the protocol and keeps what it fetched; what is fetched is chosen and verified here.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from unmask import __version__, checkpoint
from unmask.documents import read_json

PART = r"(?![^/@]*(?:--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
NAME = re.compile(rf"({PART}/{PART})(?:@(?!.*\.\.)([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
COMMIT = re.compile("[0-9a-f]{40}")
WEIGHTS = "model.safetensors"
# of a file, by how its name ends, the most bytes that are fetched; other files never are
MOST = {".json": 2**26, ".txt": 2**26, ".md": 2**22, ".safetensors": 2**40}
EXTRA = "pip install 'unmask[hub]'"
LOGIN = "log in (hf auth login, or HF_TOKEN in the environment)"


class Found(NamedTuple):
    """Where the files of a model are."""

    folder: Path
    place: Path  # where people look: of a run its own folder, not that of a checkpoint
    name: str = ""  # user/name@COMMIT, where it is of the Hub

    @property
    def called(self) -> str:
        """What names these weights from now on: a branch of the Hub may move."""
        return self.name or str(self.place)


class UnreachableError(ValueError):
    """There is no connection to the Hub, or none is wanted."""


def find(said: str | Path) -> Found:
    """The model that MODEL names: a folder, a run's, or `user/name[@revision]` of the Hub.

    A folder that is there comes first.  Where a folder `user` is there, and no revision is said,
    the name is of this machine: a misspelt folder does not go out to the network.  ValueError,
    before any other work, where nothing is found.
    """
    said = str(said)
    named = NAME.fullmatch(said)
    if named is None or Path(said).exists():
        return Found(checkpoint.resolve(said), Path(said))
    repository, revision = named.groups()
    if revision is None and Path(said).parent.exists():
        try:
            return Found(checkpoint.resolve(said), Path(said))
        except ValueError as error:
            raise ValueError(f"{error}; the model of the Hub is called {said}@main") from None
    return fetch(repository, revision or "main")


def fetch(repository: str, revision: str) -> Found:
    """A repository's model at a branch, tag or commit, fetched where it is not kept already.

    A commit that is kept needs no network; a branch or tag is asked for and, where there is no
    connection, taken as it was when last asked for.  All digests are verified.  ValueError for
    what is not there, is no model of this package, is too large or is not what it was.
    """
    hub = library(f"there is no folder {repository}, and to fetch a model of that name")
    with answered(hub, repository, revision):
        kept = kept_copy(hub, repository, revision)
    if kept is not None and COMMIT.fullmatch(revision):
        return verified(kept, repository)
    say(f"asking {hub.constants.ENDPOINT} for {repository}@{revision}")
    try:
        with answered(hub, repository, revision):
            about = hub.HfApi().model_info(
                repository, revision=revision, files_metadata=True, timeout=30
            )
    except UnreachableError as error:
        if kept is None:
            raise ValueError(f"{error}; no copy of {repository}@{revision} is kept here") from None
        say(f"{error}: taking the copy that is kept, commit {kept.name}")
        return verified(kept, repository)
    with answered(hub, repository, revision):
        found = verified(fetched(hub, repository, about), repository)
    # last of all, what it was called leads to it without a network, too; if it has moved
    # meanwhile, it goes on leading to an older whole copy
    with suppress(UnreachableError), answered(hub, repository, revision):
        now = hub.HfApi().model_info(repository, revision=revision, timeout=30)
        if now.sha == about.sha:
            hub.hf_hub_download(repository, checkpoint.CONFIG, revision=revision)
    return found


def fetched(hub: Any, repository: str, about: Any) -> Path:
    """The folder of a commit, whose files are as the Hub states them; `about`: a ModelInfo."""
    stated = {one.rfilename: one for one in about.siblings or []}
    name = f"{repository}@{about.sha}"
    if not {checkpoint.CONFIG, WEIGHTS} <= set(stated):
        raise not_ours(name)

    def kept(file: str) -> bool:
        at = hub.try_to_load_from_cache(repository, file, revision=about.sha)
        return isinstance(at, str)

    def get(files: Iterable[str]) -> Path:
        sizes = {file: size_of(name, stated, file) for file in files}
        missing = {file: size for file, size in sizes.items() if not kept(file)}
        if missing:
            check_space(hub, name, sum(missing.values()))
            listed = ", ".join(f"{file} ({size:,} bytes)" for file, size in missing.items())
            say(f"fetching {listed} of {name}")
        for file in files:
            path = Path(hub.hf_hub_download(repository, file, revision=about.sha))
            check_stated(path, stated[file], name)
        return path.parent

    digests = files_of(get([checkpoint.CONFIG]), name)
    for file, sha in digests.items():
        large = stated[file].lfs if file in stated else None
        if file != checkpoint.CONFIG and large is not None and large.sha256 != sha:
            raise altered(file, name)
    return get(digests)


def kept_copy(hub: Any, repository: str, revision: str) -> Path | None:
    """The folder of an earlier fetch, if it is complete."""
    at = hub.try_to_load_from_cache(repository, checkpoint.CONFIG, revision=revision)
    if not isinstance(at, str):
        return None
    folder = Path(at).parent
    try:
        complete = all((folder / file).is_file() for file in files_of(folder, repository))
    except ValueError:
        return None  # what is wrong with it is told by whoever fetches it
    return folder if complete else None


def files_of(folder: Path, name: str) -> dict[str, str]:
    """SHA-256 of the files that a fetched config.json says belong to the model, itself among them.

    ValueError for a config.json of other models, or names that no model of this package has.
    """
    content = read_json(folder / checkpoint.CONFIG)
    if not isinstance(content, dict) or "format" not in content:
        raise not_ours(name)
    digests = checkpoint.read_config(folder)["sha256"]
    check_names(digests, name)
    return digests


def check_names(files: Iterable[str], name: str) -> None:
    """ValueError for files that no model of this package has."""
    for file in files:
        if not re.fullmatch(PART, file) or Path(file).suffix not in MOST:
            raise ValueError(
                f"{name} lists a file {file[:80]!r}, and on the Hub models have only plain names "
                f"that end in {', '.join(MOST)}: take another model"
            )


def size_of(name: str, stated: Mapping[str, Any], file: str) -> int:
    """Bytes of a file, as the Hub states them.  ValueError if it does not, or they are too many."""
    if file not in stated:
        raise ValueError(
            f"{name} lacks {file}, which its {checkpoint.CONFIG} lists: it is not whole"
        )
    size = stated[file].size
    most = MOST[Path(file).suffix]
    if type(size) is not int or not 0 <= size <= most:
        raise ValueError(f"{name}: {file} has {size} bytes, and at most {most:,} are fetched")
    return size


def check_space(hub: Any, name: str, size: int) -> None:
    """ValueError where the disk has no room for so many bytes."""
    place = Path(hub.constants.HF_HUB_CACHE)
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise ValueError(
            f"{name} has {size:,} bytes and {there} room for {free:,}: make room, or name another "
            "folder in HF_HOME"
        )


def check_stated(path: Path, stated: Any, name: str) -> None:
    """ValueError unless a file has the digest that the Hub states; a wrong one is not kept."""
    if stated.lfs is not None:
        same = checkpoint.digest(path) == stated.lfs.sha256
    else:
        content = path.read_bytes()
        blob = b"blob %d\0" % len(content) + content
        same = hashlib.sha1(blob).hexdigest() == stated.blob_id
    if not same:
        drop(path)
        raise ValueError(
            f"{path.name} of {name} arrived altered: its digest is not what the Hub states; "
            "it was removed: try again"
        )


def drop(path: Path) -> None:
    """Remove a file from the cache, so that it is fetched again: the link, and what it leads to."""
    path.resolve().unlink()
    path.unlink(missing_ok=True)


def altered(file: str, name: str) -> ValueError:
    return ValueError(
        f"{file} of {name} is damaged or altered: its SHA-256 is not the one in "
        f"{checkpoint.CONFIG}; try again, and if the Hub has it so, take another revision"
    )


def verified(folder: Path, repository: str) -> Found:
    """A fetched folder, whose files have the digests that its config.json states.

    ValueError, and the file is not kept, for one that has another.
    """
    name = f"{repository}@{folder.name}"
    for file, sha in files_of(folder, name).items():
        if file != checkpoint.CONFIG and checkpoint.digest(folder / file) != sha:
            drop(folder / file)
            raise altered(file, name)
    return Found(folder, folder, name)


def not_ours(name: str) -> ValueError:
    repository = name.partition("@")[0]
    return ValueError(
        f"{name} is not a model of unmask; one of transformers becomes one by `hf download "
        f"{repository} --local-dir FOLDER` and `unmask import huggingface FOLDER OUT` (unmask "
        "import lists other sources); --perplexity of quality takes that FOLDER itself"
    )


def library(needed: str) -> Any:
    """The package huggingface_hub, `needed` for something.  ValueError without it."""
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise ValueError(f"{needed}, huggingface_hub is needed: {EXTRA}") from None
    version = huggingface_hub.__version__
    if int(version.partition(".")[0]) < 2:
        raise ValueError(f"{needed}, huggingface_hub {version} is too old: {EXTRA}")
    return huggingface_hub


def say(what: str) -> None:
    print(what, file=sys.stderr)


@contextmanager
def answered(hub: Any, repository: str, revision: str = "") -> Iterator[None]:
    """While the Hub is asked: ValueError, in a sentence, for what it answers instead."""
    errors, where = hub.errors, hub.constants.ENDPOINT
    try:
        yield
    except errors.GatedRepoError:
        why = f"{where}/{repository} asks for consent to its terms: give it there, and {LOGIN}"
    except errors.RepositoryNotFoundError:
        why = (
            f"{where} has no model {repository} that you may read: check the name, or that there "
            f"is such a folder here; for a private model, {LOGIN}"
        )
    except errors.RevisionNotFoundError:
        why = f"{repository} has no revision {revision} at {where}: name a branch, tag or commit"
    except errors.HFValidationError:
        why = f"{repository} is no name of the Hub: it is user/name of letters, digits, -, _ and ."
    except json.JSONDecodeError:
        why = f"{where} does not answer as the Hub does: HF_ENDPOINT says that it is one"
    except errors.HfHubHTTPError as error:
        why = refused(error, repository, where)
    except (errors.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        why = " ".join(str(error).split())[:100]
        how = "HF_HUB_OFFLINE is set" if offline else f"there is no connection ({why})"
        raise UnreachableError(f"{where} cannot be asked for {repository}: {how}") from None
    else:
        return
    raise ValueError(why)


def refused(error: Any, repository: str, where: str) -> str:
    """What another answer of the Hub means."""
    status = error.response.status_code
    if status in (401, 403):
        return f"{where} refuses access to {repository} ({status}): {LOGIN} with rights to it"
    said = " ".join(str(error.server_message or "").split())[:200]
    return f"{where} answers {status} for {repository}{f' ({said})' if said else ''}: try again"


def check_login(repository: str) -> None:
    """ValueError where nothing can be pushed, for want of a token or of a connection."""
    hub = library("to push")
    with answered(hub, repository):
        if hub.constants.is_offline_mode():
            raise hub.errors.OfflineModeIsEnabled
        if hub.get_token() is None:
            raise ValueError(f"to push to {repository}, {LOGIN}")


def push(
    repository: str, page: str, files: Mapping[str, Path | bytes], *, private: bool
) -> tuple[str, str]:
    """Commit files to a repository, which is made if it is not there, and its page, README.md.

    Returns the commit and its address.  ValueError where the repository is private and should not
    be, or the other way round, and for what the Hub refuses.
    """
    hub = library("to push")
    with answered(hub, repository):
        api = hub.HfApi()
        say(f"pushing to {hub.constants.ENDPOINT}/{repository}")
        try:
            hub.ModelCard(page).validate()  # before a repository is made for nothing
        except ValueError as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(f"the Hub refuses what the page says as metadata: {said}") from None
        api.create_repo(repository, private=private, exist_ok=True)
        if bool(api.model_info(repository, timeout=30).private) != private:
            there, flag = ("public", "--public") if private else ("private", "--private")
            raise ValueError(
                f"{repository} is there already and {there}: say {flag}, or change it on its page"
            )
        content = {"README.md": page.encode()} | dict(files)
        added = [hub.CommitOperationAdd(name, file) for name, file in content.items()]
        try:
            made = api.create_commit(repository, added, commit_message=f"unmask {__version__}")
        except RuntimeError as error:  # of a large file, which is sent by itself
            raise ValueError(f"{' '.join(str(error).split())[:200]}: push again") from None
    return made.oid, made.commit_url
