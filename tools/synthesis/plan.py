"""What a conversion will do, in lines for the user."""

from collections.abc import Iterator, Sequence

from pack.video.output.parts import Parts
from pack.video.output.tracks import Track
from pack.video.reader import VideoInfo
from tools.cli import plural
from tools.synthesis.layouts import Layout


def plan(
    video: VideoInfo, layout: Layout, network: str, tracks: Sequence[Track], parts: Parts, total: int
) -> Iterator[str]:
    """Lines that say what will be done; `network` names the one that fills, "" for none, `total` counts frames."""
    frames = plural(total, "frame") if total else "frames"  # their number may be unknown
    yield f"{video.path} -> {parts.out}: {frames} of {video.width}x{video.height}"
    for joined in video.joined:
        yield f"  among them those of another recording that is joined ({joined}), fitted to this size"
    done = "is kept" if parts.encoding.hdr else "becomes SDR"
    hdr = f"; HDR ({video.hdr.name}) {done}" if video.hdr else ""
    yield f"  picture: {layout.words}; {parts.encoding.codec}, crf {parts.encoding.quality}{hdr}"
    if network:
        yield f"  network: {network}"
    for track in tracks:
        yield f"  {track}"
    if parts.complete:
        yield "  all frames are done, the parts are joined"
    elif parts.finished:
        yield f"  {plural(parts.finished, 'frame')} are done, {max(total - parts.finished, 0)} are left"
