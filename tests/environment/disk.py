"""A disk that fails and loses what was not synced: a VFS of SQLite, through ctypes, around that of the system.

`sqlite3` has no interface for a VFS, but it shares the library `libsqlite3` with ctypes. The wrapper replaces the
functions of each opened file that write, truncate and sync. It is the default VFS from `Disk.install` to `uninstall`.
"""

import ctypes
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SQLITE_IOERR_WRITE: Final = 778
SQLITE_IOERR_FSYNC: Final = 1034
SQLITE_READONLY: Final = 8
SQLITE_FULL: Final = 13
FAULTS: Final = (SQLITE_FULL, SQLITE_READONLY, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC)

# A power cut keeps or drops each of these blocks of what was not synced.
BLOCK: Final = 512
_POINTER: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int
_OPEN: Final = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _POINTER, _INT, _POINTER)
_DELETE: Final = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _INT)
_WRITE: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, ctypes.c_int64)
_TRUNCATE: Final = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_int64)
_SYNC: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _INT)
_FILE_CONTROL: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _INT, _POINTER)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", _INT),
        ("file_size", _INT),
        ("max_path", _INT),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("delete", _POINTER),
        ("others", _POINTER * 14),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", _INT),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _POINTER),
        ("truncate", _POINTER),
        ("sync", _POINTER),
        ("others", _POINTER * 13),
    )


class Disk:
    """The disk of all SQLite files that this process opens; `synced` is a folder with what a power cut would leave."""

    def __init__(self, synced: Path | None = None) -> None:
        # The error of every write and sync; 0: the disk works.
        self.fault = 0
        self._synced = synced
        self._paths: dict[int, Path] = {}
        self._unsynced: dict[Path, list[Callable[[int], object]]] = {}
        self._lock = threading.RLock()
        self._library: Any = ctypes.CDLL("libsqlite3.so.0")
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        # The tables and functions that SQLite points to; Python must not free them.
        self._kept: list[Any] = []
        self._methods: dict[int, _Methods] = {}
        self._vfs = _Vfs()

    def install(self) -> "Disk":
        """Make this disk that of every file opened from now on."""
        system = self._library.sqlite3_vfs_find(None).contents
        ctypes.pointer(self._vfs)[0] = system
        open_file, delete = _OPEN(system.open), _DELETE(system.delete)

        def opened(vfs: int, name: bytes | None, file: int, flags: int, out: int) -> int:
            code = open_file(vfs, name, file, flags, out)
            if code == 0 and name is not None:
                self._wrap(file, Path(os.fsdecode(name)))
            return code

        def deleted(vfs: int, name: bytes, sync: int) -> int:
            if self._synced is not None:
                (self._synced / Path(os.fsdecode(name)).name).unlink(missing_ok=True)
            return delete(vfs, name, sync)

        self._vfs.name = b"failing"
        self._vfs.open, self._vfs.delete = self._function(_OPEN, opened), self._function(_DELETE, deleted)
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        return self

    def uninstall(self) -> None:
        """Give later files the system's own disk."""
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))

    def _wrap(self, file: int, path: Path) -> None:
        with self._lock:
            self._paths[file], self._unsynced[path] = path, []
            if self._synced is not None:
                shutil.copyfile(path, self._synced / path.name)
            methods = ctypes.cast(file, ctypes.POINTER(_POINTER))
            address = methods[0]
            assert address is not None
            if address not in self._methods:
                self._methods[address] = self._failing(ctypes.cast(address, ctypes.POINTER(_Methods)).contents)
            methods[0] = ctypes.addressof(self._methods[address])

    def _failing(self, system: _Methods) -> _Methods:
        made = _Methods()
        ctypes.pointer(made)[0] = system
        write, truncate, sync = _WRITE(system.write), _TRUNCATE(system.truncate), _SYNC(system.sync)

        def written(file: int, data: int, size: int, offset: int) -> int:
            with self._lock:
                if self.fault and self.fault != SQLITE_IOERR_FSYNC:
                    return self.fault
                content = ctypes.string_at(data, size)
                self._remember(file, lambda synced: os.pwrite(synced, content, offset))
                return write(file, data, size, offset)

        def truncated(file: int, size: int) -> int:
            with self._lock:
                if self.fault and self.fault != SQLITE_IOERR_FSYNC:
                    return self.fault
                self._remember(file, lambda synced: os.ftruncate(synced, size))
                return truncate(file, size)

        def synchronized(file: int, flags: int) -> int:
            with self._lock:
                if self.fault:
                    return self.fault if self.fault == SQLITE_IOERR_FSYNC else SQLITE_IOERR_FSYNC
                self._sync(file)
                return sync(file, flags)

        made.write, made.truncate = self._function(_WRITE, written), self._function(_TRUNCATE, truncated)
        made.sync = self._function(_SYNC, synchronized)
        return made

    def _remember(self, file: int, change: Callable[[int], object]) -> None:
        if self._synced is not None:
            self._unsynced[self._paths[file]].append(change)

    def _sync(self, file: int) -> None:
        if self._synced is None:
            return
        path = self._paths[file]
        synced = os.open(self._synced / path.name, os.O_WRONLY | os.O_CREAT, 0o600)
        for change in self._unsynced[path]:
            change(synced)
        os.close(synced)
        self._unsynced[path].clear()

    def _function(self, kind: Any, function: Any) -> int:
        made = kind(function)
        self._kept.append(made)
        address = ctypes.cast(made, _POINTER).value
        assert address is not None
        return address


def cut_power(folder: Path, synced: Path, chance: random.Random) -> None:
    """Replace the files of a killed process by those that a power cut leaves: each unsynced block is there or is not."""
    for file in synced.iterdir():
        new, old = (folder / file.name).read_bytes(), file.read_bytes()
        size = chance.choice((len(new), len(old)))
        kept = bytearray()
        for begin in range(0, size, BLOCK):
            block = chance.choice((new, old))[begin : begin + BLOCK]
            kept += block.ljust(min(BLOCK, size - begin), b"\0")
        (folder / file.name).write_bytes(kept)
    for file in folder.glob("*-wal"):
        if not (synced / file.name).exists():
            file.unlink()
