"""Where shards lie: local paths and s3://, gs://, az:// URLs through pyarrow's file systems.

Promises: a path, a folder, a glob all become a sorted list of files with their sizes and versions.
Does not retry, and does not write.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from triage.errors import WrongInput

_GLOB = re.compile(r"[*?\[]")
_ETAG_SCHEMES = ("s3",)


@dataclass(frozen=True, slots=True)
class Found:
    """One file: `uri` is an absolute local path or a URL."""

    uri: str
    size_bytes: int
    version: str


def open_store(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system that holds `uri`, and the path within it. Raises WrongInput for a scheme nobody serves."""
    if "://" not in uri:
        return fs.LocalFileSystem(), uri
    try:
        # pyarrow knows Azure's storage by its other name.
        store, path = fs.FileSystem.from_uri(re.sub(r"^az://", "abfs://", uri))
    except (ValueError, OSError) as problem:
        raise WrongInput(
            f"cannot be opened: {problem}", where=uri, expected="a local path, or an s3://, gs:// or az:// URL"
        ) from None
    return store, path


def find(pattern: str) -> list[Found]:
    """All files that `pattern` (a file, a folder, a glob with `*`, `?`, `[]` and `**`) names, sorted.

    A folder means every file below it. Names that begin with a dot or an underscore are skipped there, as
    writers use them for work in progress. Raises WrongInput where nothing is found.
    """
    scheme = pattern.split("://", maxsplit=1)[0] + "://" if "://" in pattern else ""
    store, path = open_store(_literal_part(pattern))
    whole = pattern.removeprefix(scheme)
    if not _GLOB.search(whole):
        info = store.get_file_info(path)
        if info.type == fs.FileType.File:
            return [_found(store, info, scheme)]
        if info.type == fs.FileType.NotFound:
            raise WrongInput("no such file or folder", where=pattern, next="check [input] paths")
        matches = [i for i in _below(store, path) if not _in_progress(i.path.removeprefix(path))]
    else:
        accepts = _glob_regex(whole)
        matches = [i for i in _below(store, path) if accepts.fullmatch(i.path)]
    if not matches:
        raise WrongInput(
            "no files there" if not _GLOB.search(whole) else "no file matches",
            where=pattern,
            expected="at least one shard",
            next="check [input] paths",
        )
    return [_found(store, info, scheme) for info in sorted(matches, key=lambda info: str(info.path))]


def stat(uri: str) -> Found:
    """`uri` as the store has it now. Raises FileNotFoundError where it is gone."""
    store, path = open_store(uri)
    info = store.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return _found(store, info, uri.split("://", maxsplit=1)[0] + "://" if "://" in uri else "")


def _literal_part(pattern: str) -> str:
    """The longest leading part of `pattern` without wildcards, cut at a folder."""
    wildcard = _GLOB.search(pattern)
    if wildcard is None:
        return pattern
    head = pattern[: wildcard.start()].rpartition("/")[0]
    return head or ("/" if pattern.startswith("/") else ".")


def _below(store: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
    return [info for info in store.get_file_info(selector) if info.type == fs.FileType.File]


def _in_progress(relative: str) -> bool:
    return any(part[:1] in "._" for part in relative.split("/") if part)


def _glob_regex(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stay within a folder, `**` crosses folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            meaning.get(part) or (fnmatch.translate(part)[4:-3] if part.startswith("[") else re.escape(part))
            for part in parts
        )
    )


def _found(store: fs.FileSystem, info: fs.FileInfo, scheme: str) -> Found:
    version = f"{info.size}-{info.mtime_ns}"
    if scheme.startswith(_ETAG_SCHEMES):
        with store.open_input_stream(info.path) as stream:
            etag = (stream.metadata() or {}).get("ETag")
        version = etag.decode() if etag else version
    uri = scheme + info.path if scheme else str(Path(info.path).absolute())
    return Found(uri, info.size, version)
