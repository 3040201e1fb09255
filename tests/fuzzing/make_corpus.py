"""Write the stored inputs of the fuzzer: `python -m tests.fuzzing.make_corpus`. All faces are drawn."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import helper
from PIL import Image, features

from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.emotions import EMOTIONS
from tests.clips import write_clip
from tests.conftest import build_model
from tests.fuzzing.targets import CORPUS
from tests.pictures.making import chunk, with_chunks


def keep(target: str, name: str, content: bytes | str) -> None:
    """Write an input of a target; compress it if the name ends in .packed."""
    content = content.encode() if isinstance(content, str) else content
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".packed") else content)


def faces() -> list[tuple[str, int, np.ndarray]]:
    """Return seven train and seven valid faces with eight grey levels, which compress well."""
    drawn = synthetic_splits(seed=0, counts=(7, 7, 7))
    usages = {Split.TRAIN: "Training", Split.VALID: "PublicTest"}
    return [
        (usage, int(label), image[0] // 32 * 32)
        for split, usage in usages.items()
        for image, label in zip(drawn[split].images, drawn[split].labels, strict=True)
    ]


def csv() -> str:
    rows = [f"{label},{' '.join(map(str, pixels.ravel()))},{usage}" for usage, label, pixels in faces()]
    return "\n".join(["emotion,pixels,Usage", *rows]) + "\n"


def zipped(name: str, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "" if content else "../../etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def keep_tables() -> None:
    whole = csv()
    keep("fer-csv", "a-whole.csv.packed", whole)
    first = "\n".join(whole.splitlines()[:2])
    keep("fer-csv", "line.csv.packed", f"\ufeff{first.replace('emotion,pixels,Usage', 'emotion, pixels, Usage')}\r\n")
    keep("fer-csv", "quoted.csv.packed", first.replace("\n0,", '\n"0",').encode("utf-16"))
    votes = [f"{usage},,{','.join(['1'] * 10)}" for usage, _, _ in faces()]
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    keep("votes-csv", "whole.csv", "\n".join([header, *votes]) + "\n")
    content = whole.encode()
    keep("archives", "fer.zip", zipped("fer2013/fer2013.csv", content))
    keep("archives", "bzip2.zip", zipped("fer2013.csv", content, zipfile.ZIP_BZIP2))
    keep("archives", "lzma.zip", zipped("icml_face_data.csv", content, zipfile.ZIP_LZMA))
    keep(
        "archives",
        "bomb.zip",
        zipped("fer2013.csv", b"emotion,pixels,Usage\n" + b"0,0,Training\n" * (10 << 20), zipfile.ZIP_BZIP2),
    )
    keep("archives", "fer.csv.gz", gzip.compress(content, mtime=0))
    keep("archives", "bomb.csv.gz", gzip.compress(b"emotion,pixels,Usage\n0," + b"1 " * (10 << 20), mtime=0))
    members = [("README", b"read me", tarfile.REGTYPE), ("a/fer2013.csv", content, tarfile.REGTYPE)]
    members += [("b.csv", b"", tarfile.SYMTYPE), ("c.csv", b"", tarfile.LNKTYPE)]
    keep("archives", "fer.tar.gz", gzip.compress(tarred(*members), mtime=0))
    keep("archives", "short.tar.gz", gzip.compress(tarred(("x.csv", b"a,b\n1,2\n", tarfile.REGTYPE)), mtime=0))


def keep_folders() -> None:
    lines = [f"{split}/{emotion}/1.png=face" for split in ("train", "valid") for emotion in EMOTIONS]
    keep("class-folders", "splits.txt", "\n".join(lines))
    keep("class-folders", "one.txt", "\n".join(f"{name}/{n}.png=face" for name in EMOTIONS for n in range(3)))
    numbers = [f"train/{number}/{n}.png=face" for number in range(1, 8) for n in range(3)]
    listed = "\1".join(f"{number} {name}" for number, name in enumerate(EMOTIONS, 1))
    keep("class-folders", "numbers.txt", "\n".join([*numbers, f"classes.txt={listed}"]))
    table = json.dumps({name: number for number, name in enumerate(EMOTIONS)})
    odd = ["happiness/1.png=face", "Contempt/.hidden=face", "sad/2.jpg=no picture", "empty/=", "7/1.png=face"]
    keep("class-folders", "odd.txt", "\n".join([*odd, f"labels.json={table}", "readme.md=text"]))


def keep_documents() -> None:
    member = {"run": "run", "sha256": "DIGEST", "weight": 1.0}
    ensemble = {"schema": 2, "method": "mean", "members": [member], "temperature": 1.0, "crowd": None}
    keep("ensembles", "one.json", json.dumps(ensemble))
    keep("ensembles", "two.json", json.dumps({**ensemble, "members": [{**member, "weight": 0.5}] * 2}))
    keep("configurations", "options.json", json.dumps({"model": "cnn", "epochs": 3, "lr": 0.1, "augment": True}))
    lines: list[dict[str, Any]] = [
        {"schema": 1, "path": "a.png", "status": "ok", "width": 64, "height": 48, "faces": []},
        {"schema": 1, "path": "b.png", "path_b64": "YQ==", "status": "corrupt", "message": "cannot be read"},
        {"schema": 1, "path": "new.png", "status": "not_found", "message": "no such file"},
    ]
    keep("append-lines", "three.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    keep("append-lines", "cut.jsonl", "".join(json.dumps(line) + "\n" for line in lines)[:-20])
    keep("append-parts", "job.json", json.dumps({"schema": 1, "model": "default", "top": 0}))
    rows = {"path": ["a.png", "a.png", "b\n"], "path_b64": [None, None, "Ygo="], "face": [1, 2, None]}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"compression": "none", "use_dictionary": False},
        "zstd": {"compression": "zstd"},
    }
    for name, options in kinds.items():
        buffer = io.BytesIO()
        pq.write_table(pa.table(rows), buffer, **options)
        keep("append-parts", f"{name}.parquet", buffer.getvalue())
    keep("append-parts", "numbers.parquet", _table({"path": [1, 2], "path_b64": [None, None]}))
    keep("append-parts", "empty.parquet", _table({"path": ["", None], "path_b64": [None, "no base64"]}))
    keep("file-lists", "lines.txt", b"a.png\nb c.jpg\r\n\ncaf\xe9.png\n./-x\n")
    keep("file-lists", "nul.txt", b"a.png\0b\n.png\0\0c")


def _table(rows: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer)
    return buffer.getvalue()


def keep_models() -> None:
    model = build_model()
    for place, initializer in enumerate(model.graph.initializer):  # zero weights compress to almost nothing
        values = np.zeros([*initializer.dims], np.float32)
        model.graph.initializer[place].CopyFrom(onnx.numpy_helper.from_array(values, initializer.name))
    whole = {"emotify.members": '["a"]', "emotify.models": '["fnn"]', "emotify.weights": "[1.0]"}
    whole |= {"emotify.views": "one", "emotify.temperature": "1.5", "emotify.pooling": "logarithms"}
    whole |= {"emotify.reference": json.dumps({"pixels": "", "answers": {"labels": []}})}
    helper.set_model_props(model, {"emotify.schema": "1", "emotify.classes": json.dumps(EMOTIONS), **whole})
    keep("models", "small.onnx.packed", model.SerializeToString())


def keep_pictures() -> None:
    face = next(pixels for _, label, pixels in faces() if label == EMOTIONS.index("happy"))
    image = Image.fromarray(face)
    colour = image.convert("RGB")
    forms: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("face.png", image, "PNG", {}),
        ("rgb.jpg", colour, "JPEG", {"quality": 60}),
        ("progressive.jpg", colour, "JPEG", {"progressive": True, "exif": _exif(colour)}),
        ("cmyk.jpg", colour.convert("CMYK"), "JPEG", {}),
        ("palette.png", colour.convert("P"), "PNG", {"transparency": 0}),
        ("sixteen.png", Image.fromarray(face.astype(np.uint16) * 257), "PNG", {}),
        ("lossless.webp", colour, "WEBP", {"lossless": True}),
        ("lossy.webp", colour.convert("RGBA"), "WEBP", {"exif": _exif(colour)}),
        ("frames.gif", image, "GIF", {"save_all": True, "append_images": [image.rotate(90)]}),
        ("grey.bmp", image, "BMP", {}),
        ("bits.bmp", image.convert("1"), "BMP", {}),
        ("raw.tif", image, "TIFF", {}),
        ("lzw.tif", colour, "TIFF", {"compression": "tiff_lzw", "save_all": True, "append_images": [colour]}),
        ("deflate.tif", image, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", colour, "TIFF", {"compression": "jpeg"}),
        ("float.tif", Image.fromarray(face.astype(np.float32)), "TIFF", {"compression": "packbits"}),
        ("grey.pgm", image, "PPM", {}),
        ("bits.pbm", image.convert("1"), "PPM", {}),
        *([("face.avif", colour, "AVIF", {})] if features.check("avif") else []),
    ]  # fmt: skip
    for name, form, kind, options in forms:
        buffer = io.BytesIO()
        form.save(buffer, kind, **options)
        keep("pictures", name, buffer.getvalue())
    png = (CORPUS / "pictures" / "face.png").read_bytes()
    texts = [
        chunk(b"tEXt", b"Comment\0hello"),
        chunk(b"zTXt", b"a\0\0" + bz2.compress(b"x")),
        chunk(b"eXIf", _exif(colour)[6:]),
    ]
    keep("pictures", "chunks.png", with_chunks(png, *texts, chunk(b"iCCP", b"a\0\0x"), chunk(b"acTL", bytes(8))))
    keep("pictures", "plain.ppm", b"P3\n# a comment\n16 16\n255\n" + b"9 99 255 " * 256)


def _exif(image: Image.Image) -> bytes:
    exif = image.getexif()
    exif[0x0112] = 6  # rotated orientation
    exif[0x010E] = "drawn"
    return exif.tobytes()


def keep_clips() -> None:
    face = next(pixels for _, label, pixels in faces() if label == EMOTIONS.index("happy"))
    frames = [np.repeat(np.roll(face, 4 * number, axis=1)[:, :, None], 3, axis=2) for number in range(6)]
    codecs = {"h264.mp4": "libx264", "vp9.mp4": "libvpx-vp9", "mpeg4.mov": "mpeg4", "vp8.webm": "libvpx"}
    codecs |= {"mpeg4.avi": "mpeg4", "mpeg2.ts": "mpeg2video", "mpeg1.mpg": "mpeg1video", "flash.flv": "flv"}
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in codecs.items():
            rate = 25 if codec.startswith("mpeg") else 10
            keep("clips", name, write_clip(Path(folder) / name, frames, rate=rate, codec=codec).read_bytes())


if __name__ == "__main__":
    keep_tables()
    keep_folders()
    keep_documents()
    keep_models()
    keep_pictures()
    keep_clips()
    print(f"{sum(path.stat().st_size for path in CORPUS.rglob('*') if path.is_file()):,} bytes below {Path(CORPUS)}")
