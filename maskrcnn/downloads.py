"""Files from the network: progress, resume, checksum, one cache folder. The only module that opens a connection.

Files appear in the cache complete and checked or not at all; what was cut off lies beside them as `NAME.part`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maskrcnn.errors import UserError
from maskrcnn.progress import ProgressLine

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 3
"""Connections opened for one file, as long as each brings something new."""

KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/"
EFFICIENTNET_FILES = "https://storage.googleapis.com/keras-applications/"
ORDERING = "_weights_tf_dim_ordering_tf_kernels"
"""Part of the names of the older files."""
KERAS_APPLICATIONS: dict[str, tuple[str, str]] = {
    "ConvNeXtBase": (
        "convnext/convnext_base_notop.h5",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    "ConvNeXtLarge": (
        "convnext/convnext_large_notop.h5",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    "ConvNeXtSmall": (
        "convnext/convnext_small_notop.h5",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    "ConvNeXtTiny": (
        "convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "ConvNeXtXLarge": (
        "convnext/convnext_xlarge_notop.h5",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
    "DenseNet121": (f"densenet/densenet121{ORDERING}_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
    "DenseNet169": (f"densenet/densenet169{ORDERING}_notop.h5", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "DenseNet201": (f"densenet/densenet201{ORDERING}_notop.h5", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    "EfficientNetB0": ("efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    "EfficientNetB1": ("efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
    "EfficientNetB2": ("efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "EfficientNetB3": ("efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
    "EfficientNetB4": ("efficientnetb4_notop.h5", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "EfficientNetB5": ("efficientnetb5_notop.h5", "38879255a25d3c92d5e44e04ae6cec6f"),
    "EfficientNetB6": ("efficientnetb6_notop.h5", "9ecce42647a20130c1f39a5d4cb75743"),
    "EfficientNetB7": ("efficientnetb7_notop.h5", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    "EfficientNetV2B0": ("efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "EfficientNetV2B1": ("efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
    "EfficientNetV2B2": ("efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "EfficientNetV2B3": ("efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
    "EfficientNetV2L": ("efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
    "EfficientNetV2M": ("efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
    "EfficientNetV2S": ("efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    "InceptionResNetV2": (
        f"inception_resnet_v2/inception_resnet_v2{ORDERING}_notop.h5",
        "d19885ff4a710c122648d3b5c3b684e4",
    ),
    "InceptionV3": (f"inception_v3/inception_v3{ORDERING}_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    "MobileNet": ("mobilenet/mobilenet_1_0_224_tf_no_top.h5", ""),
    "MobileNetV2": (f"mobilenet_v2/mobilenet_v2{ORDERING}_1.0_224_no_top.h5", ""),
    "MobileNetV3Large": (
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "MobileNetV3Small": (
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "NASNetLarge": ("nasnet/NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"),
    "NASNetMobile": ("nasnet/NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
    "ResNet101": (f"resnet/resnet101{ORDERING}_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
    "ResNet101V2": (f"resnet/resnet101v2{ORDERING}_notop.h5", "c0ed64b8031c3730f411d2eb4eea35b5"),
    "ResNet152": (f"resnet/resnet152{ORDERING}_notop.h5", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "ResNet152V2": (f"resnet/resnet152v2{ORDERING}_notop.h5", "ed17cf2e0169df9d443503ef94b23b33"),
    "ResNet50": (f"resnet/resnet50{ORDERING}_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
    "ResNet50V2": (f"resnet/resnet50v2{ORDERING}_notop.h5", "fac2f116257151a9d068a22e544a4917"),
    "VGG16": (f"vgg16/vgg16{ORDERING}_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "VGG19": (f"vgg19/vgg19{ORDERING}_notop.h5", "253f8cb515780f3b799900260a226db6"),
    "Xception": (f"xception/xception{ORDERING}_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
}
"""Class of `keras.applications` → file of the ImageNet weights without classifier, and its MD5 or SHA-256.

Source: the addresses and hashes that Keras 3.15 itself uses; it has none for MobileNet and MobileNetV2.
"""


@dataclass(frozen=True)
class Checks:
    """What a complete file must be; empty: not known."""

    sha256: str = ""
    md5: str = ""
    size: int | None = None

    def fault(self, path: Path) -> str:
        """What is wrong with the file, found against expected; empty: nothing."""
        if self.size is not None and path.stat().st_size != self.size:
            return f"{path.stat().st_size} bytes, expected {self.size}"
        for algorithm, expected in (("sha256", self.sha256), ("md5", self.md5)):
            if expected and (found := digest(path, algorithm)) != expected.lower():
                return f"{algorithm} {found}, expected {expected}"
        return ""

    @property
    def tell_content(self) -> bool:
        """Whether a file put together from two connections would be known to be right."""
        return bool(self.sha256 or self.md5)


def cache_folder() -> Path:
    """The folder for all that is fetched or generated: MASKRCNN_CACHE, else `maskrcnn` in the user's cache folder."""
    if given := os.environ.get("MASKRCNN_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "maskrcnn" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "maskrcnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskrcnn"


def digest(path: Path, algorithm: str) -> str:
    """The file's hash in lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def fetch(
    url: str,
    *,
    sha256: str = "",
    md5: str = "",
    size: int | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> Path:
    """The file at `url`, from the cache where it is already there and right.

    Args:
        url: http(s); the last part of its path is the file's name in the cache.
        sha256, md5: hexadecimal digests that the file must have. With one of them a transfer that was cut off goes on
            where it stopped (Range), also in a later call.
        size: bytes that it must have.
        cache: the folder; None: `cache_folder()`.
        progress: show a line on stderr, if that is a terminal.

    Raises:
        UserError: without a network, for an answer other than the file, a transfer that is cut off again and again,
            or wrong content, which is then deleted.
    """
    folder = cache if cache is not None else cache_folder()
    target = folder / _file_name(url)
    checks = Checks(sha256, md5, size)
    with _writable(folder), _one_at_a_time(target):
        if target.is_file() and not checks.fault(target):
            return target
        part = target.with_name(target.name + ".part")
        _fill(part, url, target, checks, progress)
        if fault := checks.fault(part):
            part.unlink()
            raise UserError(f"wrong content: {fault}", where=url, hint="try again; the file is deleted")
        os.replace(part, target)
    return target


def keras_application_weights(network: str, *, cache: Path | None = None) -> Path:
    """The ImageNet weights without classifier of a class of `keras.applications`.

    Raises:
        UserError: for a network without published weights, and as `fetch` does.
    """
    if network not in KERAS_APPLICATIONS:
        raise UserError(
            f"no ImageNet weights are published for {network!r}",
            where="weights.backbone",
            hint=f"choose one of {', '.join(KERAS_APPLICATIONS)}",
        )
    path, code = KERAS_APPLICATIONS[network]
    base = KERAS_FILES if "/" in path else EFFICIENTNET_FILES
    is_sha256 = len(code) == 64
    return fetch(base + path, sha256=code if is_sha256 else "", md5="" if is_sha256 else code, cache=cache)


def _file_name(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    if parts.scheme not in ("http", "https") or name in ("", ".", "..") or "\\" in name:
        raise UserError("not an address of a file", where=url, hint="give http(s)://…/NAME")
    return name


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"cannot write ({error.strerror})", where=str(folder), hint="set MASKRCNN_CACHE to another folder"
        ) from error


@contextlib.contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    """Jobs of a sweep that want the same file wait for the first of them."""
    try:
        import fcntl
    except ImportError:  # Windows: two jobs may fetch the same file, and the last one to end wins
        yield
        return
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(part: Path, url: str, target: Path, checks: Checks, progress: bool) -> None:
    """Bring `part` to its full length, over as many connections as make headway."""
    if not checks.tell_content:
        part.unlink(missing_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        total = _transfer(part, url, target, progress)
        after = part.stat().st_size
        if total is None or after == total:
            return
        if attempt == ATTEMPTS or after <= before or not checks.tell_content:
            break
    hint = "run again to go on" if checks.tell_content else "try again"
    raise UserError(f"the connection was cut off after {after} of {total} bytes", where=url, hint=hint)


def _transfer(part: Path, url: str, target: Path, progress: bool) -> int | None:
    """One connection: append what is missing to `part`; the full length that the server names, None if it does not."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "maskrcnn", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT and _begins_at(answer, start)
            start = start if resumed else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            with part.open("ab" if resumed else "wb") as file:
                _copy(answer, file, start, total, target.name if progress else "")
            return total
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            part.unlink()  # longer than the file is now: begin anew
            return _transfer(part, url, target, progress)
        raise UserError(
            f"the server answers {error.code} {error.reason}", where=url, hint=f"put the file at {target} by hand"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, PermissionError | NotADirectoryError):
            raise
        cause = getattr(error, "reason", None) or error
        raise UserError(
            f"cannot be fetched ({cause})", where=url, hint=f"check the network, or put the file at {target} by hand"
        ) from error


def _begins_at(answer: http.client.HTTPResponse, start: int) -> bool:
    return (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], start: int, total: int | None, label: str) -> None:
    """Write the answer to the file, with a progress line in MiB; a cut-off answer just ends early."""
    line = ProgressLine(None if total is None else -(-total // CHUNK_BYTES), f"{label} (MiB)") if label else None
    done = start // CHUNK_BYTES
    with line or contextlib.nullcontext():
        if line:
            line.update(done)
        while chunk := _read(answer):
            file.write(chunk)
            start += len(chunk)
            if line:
                line.update(start // CHUNK_BYTES - done)
                done = start // CHUNK_BYTES


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except (http.client.IncompleteRead, ConnectionError, TimeoutError):
        return b""
