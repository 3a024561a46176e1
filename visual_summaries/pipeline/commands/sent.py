"""Which files go with a command to a cluster: what git tracks, what the command names, what is asked for; no secrets.

Nothing is sent because it happens to lie in the folder.
"""

import ast
import os
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.data.archives.address import SUFFIXES
from visual_summaries.pipeline.data.found import is_image_file

# What the dashboard of a cluster takes at most.
LARGEST_PACKAGE = 100 * 2**20
SHOWN = 20
# As they are called in lower case. Anything in these folders, or of these names, is never sent by itself.
SECRET_FOLDERS = {".aws", ".azure", ".config", ".docker", ".gcloud", ".git", ".gnupg", ".kube", ".ray", ".ssh"}
SECRET_NAMES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials"),
    *(".npmrc", ".pypirc", ".boto", ".s3cfg", "auth_token", "credentials", "credentials.json"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "kubeconfig", "*.kubeconfig"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
)
KEY = re.compile(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY")
# Of service accounts, of users who logged in, of applications.
KEY_IN_JSON = re.compile(rb'"(private_key|refresh_token|client_secret|aws_secret_access_key)"\s*:', re.IGNORECASE)
LARGEST_KEY = 2**16

SECRET = "looks like a secret"
OUTSIDE = "a link that leads outside"
UNREADABLE = "cannot be read"
NOT_UTF8 = "its name is not UTF-8"


@dataclass
class Chosen:
    """The files that are sent, relative to `root`, with their bytes; and what is not, with the reason."""

    root: Path
    files: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def holds(self, path: str) -> bool:
        """Whether a file, or anything of a folder, is sent."""
        name = _normal(path)
        return name in self.files or any(name == "." or one.startswith(f"{name}/") for one in self.files)

    def holds_program(self) -> bool:
        """Whether this program is among the files, so that the cluster runs what is here."""
        return self.holds("visual_summaries/__main__.py")

    def described(self) -> str:
        """One line: how many files and which, folders with their number of files; then what was left behind."""
        tops = Counter(name.partition("/")[0] + ("/" if "/" in name else "") for name in self.files)
        names = [f"{top} ({count})" if top.endswith("/") else top for top, count in sorted(tops.items())]
        noun = "file" if len(self.files) == 1 else "files"
        text = f"sent {len(self.files)} {noun}, {_size(sum(self.files.values()))}{': ' if names else ''}{_some(names)}"
        if self.left:
            behind = _some([f"{name} ({reason})" for name, reason in sorted(self.left.items())])
            text += f"; left behind: {behind}; --send FILE sends one all the same"
        return text

    def pack(self, package: Path) -> None:
        """Write the files into a zip file, the same bytes for the same files.

        Raises:
            ConfigurationError: they are too large, or one cannot be read.
        """
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self.files):
                try:
                    entry = zipfile.ZipInfo(name)
                    entry.external_attr = (0o100000 | (self.root / name).stat().st_mode & 0o777) << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, (self.root / name).read_bytes())
                except OSError as error:
                    raise ConfigurationError(f"cannot send {name}: {error.strerror or error}") from None
                if package.stat().st_size > LARGEST_PACKAGE:
                    raise ConfigurationError(self._too_large())

    def _too_large(self) -> str:
        largest = sorted(self.files, key=lambda name: -self.files[name])[:3]
        return (
            f"what would be sent is {_size(sum(self.files.values()))}, and a cluster takes {_size(LARGEST_PACKAGE)} at "
            "most: put photographs and weights where every node sees them, and name them by their absolute path or "
            f"address; the largest are {', '.join(f'{name} ({_size(self.files[name])})' for name in largest)}"
        )

    def _admit(self, name: str, insisted: bool = False) -> None:
        """Take a file, unless it is a link to the outside or looks like a secret."""
        real = Path(os.path.realpath(self.root / name))
        try:
            name.encode()
            if not real.is_relative_to(self.root):
                self.left[name] = OUTSIDE
            elif real.is_file():
                inside = real.relative_to(self.root).as_posix()
                if not insisted and (is_secret_name(name) or is_secret_name(inside) or _holds_key(real)):
                    self.left[name] = SECRET
                else:
                    self.files[name] = real.stat().st_size
                    self.left.pop(name, None)
        except UnicodeEncodeError:
            self.left[os.fsencode(name).decode(errors="replace")] = NOT_UTF8
        except OSError:
            self.left[name] = UNREADABLE


def chosen_files(
    folder: str | Path, named: Iterable[str] = (), modules: Iterable[str] = (), sent: Iterable[str] = ()
) -> Chosen:
    """What is sent of a folder: what git tracks in it; and what of the following lies in it.

    Args:
        named: files that settings name, and folders, of which photographs and archives of them are sent. Other paths,
            absolute ones and those of other folders, are not looked at.
        modules: that networks come from. A module is sent with the modules and packages of the folder that it imports.
        sent: files and folders that a person asks for. A file is sent whatever it is; of a folder neither secrets
            nor what is hidden.

    Raises:
        ConfigurationError: one of `sent` is not there, or not in the folder.
    """
    chosen = Chosen(Path(folder).resolve())
    for name in _tracked(chosen.root):
        chosen._admit(name)
    for path in named:
        if not os.path.isabs(path) and _inside(chosen.root, path):
            for name in _below(chosen.root, path):
                file = chosen.root / name
                if not (chosen.root / path).is_dir() or is_image_file(file) or name.lower().endswith((*SUFFIXES,)):
                    chosen._admit(name)
    for name in _imported(chosen.root, modules):
        chosen._admit(name)
    for path in sent:
        if not (chosen.root / path).exists():
            raise ConfigurationError(f"--send {path}: there is no such file or folder here")
        if os.path.isabs(path) or not _inside(chosen.root, path):
            raise ConfigurationError(f"--send {path}: it is not in the folder that the command is given in")
        for name in _below(chosen.root, path):
            chosen._admit(name, insisted=name == _normal(path))
    return chosen


def is_secret_name(path: str) -> bool:
    """Whether a file, by its name or its folders', is known to hold keys or passwords."""
    *folders, name = PurePosixPath(path.lower()).parts
    # Private keys of ssh are named after their kind, or by who made them.
    own_key = name.startswith("id_") and "." not in name
    known = any(fnmatchcase(name, pattern) for pattern in SECRET_NAMES)
    return own_key or known or bool(SECRET_FOLDERS & {*folders})


def _holds_key(path: Path) -> bool:
    if path.stat().st_size > LARGEST_KEY:
        return False
    content = path.read_bytes()
    return bool(KEY.match(content) or (path.suffix.lower() == ".json" and KEY_IN_JSON.search(content)))


def _tracked(root: Path) -> list[str]:
    """What git tracks in a folder; nothing where it is no checkout, or git is not there."""
    # A monitor that the folder's own settings name would be started.
    command = ["git", "-C", str(root), "-c", "core.fsmonitor=false", "ls-files", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return []
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else []


def _inside(root: Path, path: str) -> bool:
    """Whether a relative path leads into the folder, in its text and through all links."""
    return _normal(path).partition("/")[0] != ".." and Path(os.path.realpath(root / path)).is_relative_to(root)


def _normal(path: str) -> str:
    return PurePosixPath(os.path.normpath(path)).as_posix()


def _below(root: Path, path: str) -> Iterator[str]:
    """A file, or the files of a folder that are not hidden, without those of linked folders."""
    if not (root / path).is_dir():
        yield _normal(path)
        return
    for parent, folders, files in os.walk(root / _normal(path)):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent, name).relative_to(root).as_posix()


def _imported(root: Path, modules: Iterable[str]) -> list[str]:
    """The Python files of the folder that modules, by their dotted names, are made of, and those that they import."""
    found: dict[str, None] = {}
    waiting = [module.partition(".")[0] for module in modules]
    seen = set()
    while waiting:
        top = waiting.pop()
        if top in seen or not top.isidentifier():
            continue
        seen.add(top)
        of_package = _below(root, top) if (root / top).is_dir() and _inside(root, top) else ()
        own = [f"{top}.py", *(name for name in of_package if name.endswith(".py"))]
        for name in own:
            if (root / name).is_file() and name not in found:
                found[name] = None
                waiting += _imports(root / name)
    return list(found)


def _imports(path: Path) -> set[str]:
    """The first names of what a Python file imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _size(count: int) -> str:
    if count < 10**6:
        return f"{max(1, round(count / 1000)) if count else 0} kB"
    return f"{count / 10**6:.1f} MB"


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f", … and {more} more" if more > 0 else "")
