"""What lies where beside a data directory, and how it is written so that a kill -9 or a power cut leaves old or new.

Everything of one member is `data_dir` and names that begin with `data_dir + '.'`, so that a volume can be moved whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from herder.drivers.processes import Account
from herder.model.errors import UNREADABLE, NoData, Refused
from herder.ports.driver import MemberSpec

SOCKET_PATH_MAX = 91
"""Bytes a socket's directory may have: sun_path holds 107, and `/.s.PGSQL.65535` needs 15 (one spare)."""


class Owner(msgspec.Struct, frozen=True):
    """Whose data this is; written last into a directory, so its presence says that the directory is complete."""

    service: str
    member: str


class Rejoin(msgspec.Struct, frozen=True):
    """How far a rejoin has come, for the next call when this one is killed. step: 'keeping', 'rewinding', 'copying'."""

    step: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one member."""

    data: Path

    @classmethod
    def of(cls, spec: MemberSpec) -> Layout:
        return cls(Path(spec.data_dir))

    def beside(self, suffix: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{suffix}")

    @property
    def log_dir(self) -> Path:
        """The engine's log; also the cwd of pg_basebackup and pg_rewind, by which stray ones are found."""
        return self.beside("log")

    @property
    def log(self) -> Path:
        return self.log_dir / "postgres.log"

    @property
    def new(self) -> Path:
        return self.beside("new")

    @property
    def old(self) -> Path:
        return self.beside("old")

    @property
    def rejoin(self) -> Path:
        return self.beside("rejoin.json")

    @property
    def owner(self) -> Path:
        return self.data / "herder.json"

    @property
    def sync_conf(self) -> Path:
        return self.data / "herder.sync.conf"

    @property
    def stream_conf(self) -> Path:
        return self.data / "herder.stream.conf"

    @property
    def standby_signal(self) -> Path:
        return self.data / "standby.signal"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def socket_dir(self) -> Path:
        """Beside the data where the path is short enough, else a name made from it in /tmp."""
        near = self.beside("run")
        if len(os.fsencode(near)) <= SOCKET_PATH_MAX:
            return near
        return Path("/tmp") / f"herder-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"  # noqa: S108  0700, owner checked

    def at(self, data: Path) -> Layout:
        """The same member with its data at another place (a copy being made)."""
        return Layout(data)


def sync_dir(path: Path) -> None:
    """Make a directory durable: a rename or a new name in it is durable only then."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str, account: Account, mode: int = 0o600) -> None:
    """Write a file so that it is old or new after any crash: temporary name, fsync, rename, fsync of the directory."""
    beside = path.with_name(path.name + ".tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.write(descriptor, text.encode())
        os.fchmod(descriptor, mode)
        if account.uid is not None and account.gid is not None:
            os.fchown(descriptor, account.uid, account.gid)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_dir(path.parent)


def write_if_changed(path: Path, text: str, account: Account) -> bool:
    """`write`, unless the file says so already; returns whether it was written. Saves two fsyncs on a quick start."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    write(path, text, account)
    return True


def remove(path: Path) -> None:
    """Remove a file or a tree durably; what is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
    else:
        return
    if path.parent.is_dir():
        sync_dir(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename durably."""
    source.rename(target)
    sync_dir(target.parent)


def prepare(layout: Layout, account: Account) -> None:
    """Make the directories beside the data. Refused when somebody else made our directory in /tmp."""
    account.make_dir(layout.log_dir)
    account.make_dir(layout.socket_dir)
    status = layout.socket_dir.lstat()
    expected = os.geteuid() if account.uid is None else account.uid
    if status.st_uid != expected or layout.socket_dir.is_symlink():
        raise Refused(f"{layout.socket_dir} belongs to somebody else", "remove it; the engine's socket goes there")


def write_owner(layout: Layout, spec: MemberSpec, account: Account) -> None:
    """Say whose data this is, as the last thing that makes a directory complete."""
    write(layout.owner, msgspec.json.encode(Owner(spec.service, spec.member)).decode() + "\n", account)


def complete(layout: Layout, spec: MemberSpec) -> bool:
    """Is `data_dir` a complete one of this member?

    Refused when it is another member's, or a cluster that herder did not make: it is never cleared away (rule S5).
    False also for rubbish without a pg_control, which holds no data that could be read.
    """
    try:
        owner = msgspec.json.decode(layout.owner.read_bytes(), type=Owner)
    except (FileNotFoundError, NotADirectoryError):
        if (layout.data / "global" / "pg_control").exists():
            raise Refused(
                f"{layout.data} holds a PostgreSQL cluster that herder did not make", "move it away by hand"
            ) from None
        return False
    except UNREADABLE:
        raise Refused(f"{layout.owner} is damaged", "look at the directory; restore it or move it away") from None
    if owner != Owner(spec.service, spec.member):
        raise Refused(
            f"{layout.data} belongs to member {owner.member} of {owner.service}", "two members share a directory"
        )
    return True


def require(layout: Layout, spec: MemberSpec) -> None:
    """Raise NoData unless there is a complete directory of this member, with the file that an engine reads first."""
    if not complete(layout, spec):
        raise NoData(f"there is no data in {layout.data}", "look for its volume")
    if not (layout.data / "global" / "pg_control").is_file():
        raise NoData(f"there is no pg_control in {layout.data}: no engine can read what is left", "look for its volume")


def read_rejoin(layout: Layout) -> Rejoin | None:
    """The rejoin that was begun and not ended, if any."""
    try:
        return msgspec.json.decode(layout.rejoin.read_bytes(), type=Rejoin)
    except FileNotFoundError:
        return None


def write_rejoin(layout: Layout, step: str) -> None:
    write(layout.rejoin, msgspec.json.encode(Rejoin(step)).decode() + "\n", Account())


def tree_files(root: Path) -> list[str]:
    """Every file and directory below and including `root`."""
    found = [str(root)]
    for directory, names, files in os.walk(root):
        found += [f"{directory}/{name}" for name in (*names, *files)]
    return found


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link: what it points at is none of this tree
            return None
        raise


def sync_tree(root: Path) -> None:
    """Make a whole tree durable.

    One thread: after the first fsync the rest mostly find the journal committed, and threads only fought for the
    interpreter (4 threads took 1.2 s on a busy machine for 1,270 files that were clean already). Not syncfs: it waits
    for every other tenant's dirty pages too. Not begun with POSIX_FADV_DONTNEED: 0.1 s mostly, but 3.7 s at times.
    """
    for path in tree_files(root):
        descriptor = _open(path)
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
