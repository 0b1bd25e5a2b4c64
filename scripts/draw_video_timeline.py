"""Draws docs/images/video_timeline.png: a synthetic video of which a part was overwritten with zeros.

python scripts/draw_video_timeline.py MODEL
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))


def main(model: str) -> None:
    from video import make_video

    from polypseg.predict.predictor import load
    from polypseg.predict.video.work import VideoOptions, predict_video
    from polypseg.report.timeline import timeline

    with tempfile.TemporaryDirectory() as folder:
        source = make_video(Path(folder) / "synthetic.mp4", (288, 384), 250)
        content = bytearray(source.read_bytes())
        begins = content.find(b"mdat") + 4
        length = int.from_bytes(content[begins - 8 : begins - 4], "big") - 8
        first, last = (begins + int(share * length) for share in (0.5, 0.53))
        content[first:last] = bytes(last - first)
        source.write_bytes(content)
        summary = predict_video(source, Path(folder) / "example.mp4", load(model), VideoOptions(withhold_frames=6))
        print(timeline(summary.table, ROOT / "docs" / "images" / "video_timeline.png"))
        print(*summary.notes(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
