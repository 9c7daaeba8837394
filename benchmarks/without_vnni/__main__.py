"""Run a module with an onnxruntime that sees no AVX512, VNNI or AMX: AVX2 kernels on a newer CPU.

    python -m benchmarks.without_vnni benchmarks.runtime_agreement --limit 200

On CPUs without VNNI the u8×s8 kernels of onnxruntime add pairs of products in saturating 16-bit
integers, and files of full-range weights compute something else. A newer CPU never takes these
kernels. This tool makes it: results and speed are those of an AVX2-only machine. On a CPU without
VNNI it is not needed; run the module directly.

How it works. onnxruntime asks the `cpuid` instruction what the CPU can do, and has no switch to
choose less. So the installed onnxruntime is copied into the user's cache. In the copy each `cpuid`
becomes a trap, found by disassembly, and a small preloaded library (`cpuid.c`) answers it with the
newer features left out. Only this copy is affected: torch keeps its own speed, and the installed
package stays as it is. The answers are bit-identical to those of an emulated Haswell.

Needs x86-64 Linux, gcc, and objdump (binutils). Nothing is downloaded. The copy is made once per
version of onnxruntime, in `$XDG_CACHE_HOME/tersor` or `~/.cache/tersor`.
"""

import importlib.util
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

CPUID, TRAP = b"\x0f\xa2", b"\xcc\x90"
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+0f a2\s+cpuid", re.MULTILINE)
HANDLER = Path(__file__).with_name("cpuid.c")
LOADABLE = 1


def main(arguments: list[str]) -> None:
    """Replace this process by `python -m MODULE ARGUMENTS` with the patched onnxruntime."""
    if not arguments:
        sys.exit(__doc__)
    folder = patched_copy()
    python_path, preload = os.environ.get("PYTHONPATH"), os.environ.get("LD_PRELOAD")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), python_path))),
        "LD_PRELOAD": " ".join(filter(None, (str(folder / "cpuid.so"), preload))),
    }
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)  # noqa: S606


def patched_copy() -> Path:
    """The folder of the patched package and its handler; made if it is not there yet."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit("without_vnni works on x86-64 Linux only; elsewhere there is nothing to hide")
    missing = [tool for tool in ("gcc", "objdump") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"without_vnni needs {' and '.join(missing)}; install gcc and binutils")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tersor"
    folder = cache / f"onnxruntime-{version('onnxruntime')}-without-vnni"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            whole = Path(temporary) / "whole"
            count = _build(whole)
            whole.rename(folder)
        print(f"patched {count} cpuid instructions in {folder}", file=sys.stderr)
    return folder


def _build(folder: Path) -> int:
    """Copy the package, patch its library, compile the handler; returns the number of patches."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    package = shutil.copytree(Path(spec.origin).parent, folder / "onnxruntime")
    handler = str(folder / "cpuid.so")
    _run("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", handler, str(HANDLER))
    (library,) = package.glob("capi/onnxruntime_pybind11_state*.so")
    addresses = [int(a, 16) for a in INSTRUCTION.findall(_run("objdump", "-d", str(library)))]
    if not addresses:
        sys.exit(f"{library.name} has no cpuid instruction: this onnxruntime asks in another way")
    library.write_bytes(patch(library.read_bytes(), addresses))
    return len(addresses)


def patch(image: bytes, addresses: list[int]) -> bytes:
    """Replace the instructions at virtual addresses of a 64-bit ELF image."""
    patched = bytearray(image)
    segments = _segments(image)
    for address in addresses:
        place = next(
            offset + address - start
            for offset, start, size in segments
            if start <= address < start + size
        )
        assert image[place : place + 2] == CPUID, f"no cpuid at {address:#x}"
        patched[place : place + 2] = TRAP
    return bytes(patched)


def _segments(image: bytes) -> list[tuple[int, int, int]]:
    """File offset, virtual address and size in the file of each loadable segment."""
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    headers = (struct.unpack_from("<IIQQQQ", image, table + size * i) for i in range(count))
    return [
        (offset, address, filesize)
        for kind, _flags, offset, address, _physical, filesize in headers
        if kind == LOADABLE
    ]


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
