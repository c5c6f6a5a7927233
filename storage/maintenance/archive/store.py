"""Where an archive is kept: a folder, or a bucket of a store that speaks S3.

A file is written under a temporary name, and gets its own name when it is complete.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from storage.database import first_line
from storage.files import sync_folder
from storage.query.parquet import imported

if TYPE_CHECKING:
    from collections.abc import Iterator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SCHEME: Final = "s3://"
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_COPIED_BYTES: Final = 5 * 2**30
"""The largest object that S3 copies in one request."""
_PIECE_BYTES: Final = 8 * 2**20
_CONNECT_SECONDS, _REQUEST_SECONDS = 10.0, 60.0


class DestinationError(ValueError):
    """Raised for a destination that is neither a folder nor ``s3://BUCKET/PREFIX``."""


class StoreError(RuntimeError):
    """Raised when the store fails. The message is one line and names the destination."""


class Store(Protocol):
    """Files by their path, which has slashes.

    All methods block, and raise ``OSError``: see :func:`in_store`.
    """

    url: str
    """The destination, absolute and without credentials."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Sizes in bytes of all files below a folder, by path; empty if there is no such folder."""
        ...

    def create(self, path: str) -> IO[bytes]:
        """Opens a file for writing."""
        ...

    def complete(self, stream: IO[bytes]) -> None:
        """Closes a file that was written; when this returns it survives a power cut."""
        ...

    def rename(self, path: str, new_path: str) -> None:
        """Gives a file another name; a file of that name is replaced, and never missing in between."""
        ...

    def open(self, path: str) -> IO[bytes]:
        """Opens a file for reading at any place."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file, if it exists."""
        ...


async def in_store(store: Store, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs blocking work with a store in a thread. Raises :class:`StoreError` for its ``OSError``."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:  # not as it is: the database's errors are of this class, too
        raise StoreError(f"cannot use {store.url}: {error.strerror or first_line(error)}") from error


def store_at(destination: str) -> Store:
    """The store of a destination: a folder, or ``s3://BUCKET/PREFIX``.

    Raises :class:`DestinationError`, and :class:`~storage.query.parquet.ParquetMissingError` for S3 without
    pyarrow.
    """
    if destination.lower().startswith(_SCHEME):
        return S3Store(destination[len(_SCHEME) :])
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", destination):
        scheme = destination.partition(":")[0]
        raise DestinationError(f"{scheme}:// is not supported: give a folder or s3://BUCKET/PREFIX")
    return FolderStore(Path(destination))


class FolderStore:
    """Implements :class:`Store` in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.url = str(self._folder)

    def sizes(self, folder: str) -> dict[str, int]:
        """Implements :meth:`Store.sizes`."""
        return {
            path.relative_to(self._folder).as_posix(): path.stat().st_size
            for path in (self._folder / folder).rglob("*")
            if path.is_file()
        }

    def create(self, path: str) -> IO[bytes]:
        """Implements :meth:`Store.create`."""
        file = self._folder / path
        for missing in reversed(list(_missing(file.parent))):
            missing.mkdir(exist_ok=True)
            sync_folder(missing.parent)
        return file.open("wb")

    def complete(self, stream: IO[bytes]) -> None:
        """Implements :meth:`Store.complete`."""
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()

    def rename(self, path: str, new_path: str) -> None:
        """Implements :meth:`Store.rename`."""
        (self._folder / path).replace(self._folder / new_path)
        sync_folder((self._folder / new_path).parent)

    def open(self, path: str) -> IO[bytes]:
        """Implements :meth:`Store.open`."""
        return (self._folder / path).open("rb")

    def remove(self, path: str) -> None:
        """Implements :meth:`Store.remove`."""
        (self._folder / path).unlink(missing_ok=True)


class S3Store:
    """Implements :class:`Store` in a bucket, by pyarrow.

    Endpoint, region and credentials come from the environment and the files that the tools of AWS read:
    ``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ``AWS_SHARED_CREDENTIALS_FILE``, ….
    """

    def __init__(self, place: str) -> None:
        """``place``: bucket, slash, prefix. Raises as :func:`store_at`."""
        bucket, _, prefix = place.partition("/")
        if not _BUCKET.fullmatch(bucket) or "?" in prefix:
            # Not shown: people put credentials into such URLs.
            raise DestinationError(
                "the destination is not s3://BUCKET/PREFIX: keys, endpoint and region come from the"
                " environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION) or"
                " from the files of the AWS tools"
            )
        self._root = "/".join([bucket, *filter(None, prefix.split("/"))])
        self.url = _SCHEME + self._root
        fs = imported("pyarrow.fs")
        self._selector = fs.FileSelector
        self._file_type = fs.FileType.File
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._s3: Any = fs.S3FileSystem(
            endpoint_override=endpoint,  # pyarrow reads all else from there on its own
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
        )

    def sizes(self, folder: str) -> dict[str, int]:
        """Implements :meth:`Store.sizes`."""
        below = self._selector(self._key(folder), recursive=True, allow_not_found=True)
        return {
            info.path.removeprefix(f"{self._root}/"): info.size
            for info in self._s3.get_file_info(below)
            if info.type == self._file_type
        }

    def create(self, path: str) -> IO[bytes]:
        """Implements :meth:`Store.create`."""
        stream: IO[bytes] = self._s3.open_output_stream(self._key(path))
        return stream

    def complete(self, stream: IO[bytes]) -> None:
        """Implements :meth:`Store.complete`."""
        stream.close()

    def rename(self, path: str, new_path: str) -> None:
        """Implements :meth:`Store.rename`; S3 has no such operation, so the file is copied."""
        (info,) = self._s3.get_file_info([self._key(path)])
        if info.size > _COPIED_BYTES:
            self._copy(path, new_path)
        else:
            self._s3.copy_file(self._key(path), self._key(new_path))
        (copied,) = self._s3.get_file_info([self._key(new_path)])
        if copied.size != info.size:
            raise OSError(f"{self.url}/{new_path} has {copied.size} bytes after {info.size} were copied")
        self.remove(path)

    def _copy(self, path: str, new_path: str) -> None:
        with self.open(path) as source, self.create(new_path) as copy:
            while piece := source.read(_PIECE_BYTES):
                copy.write(piece)

    def open(self, path: str) -> IO[bytes]:
        """Implements :meth:`Store.open`."""
        stream: IO[bytes] = self._s3.open_input_file(self._key(path))
        return stream

    def remove(self, path: str) -> None:
        """Implements :meth:`Store.remove`."""
        with suppress(FileNotFoundError):
            self._s3.delete_file(self._key(path))

    def _key(self, path: str) -> str:
        return f"{self._root}/{path}"


def _missing(folder: Path) -> Iterator[Path]:
    """The folders that do not exist, the innermost first."""
    for path in (folder, *folder.parents):
        if path.exists():
            return
        yield path
