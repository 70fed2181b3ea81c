"""Every way that we know to hurt a reader of weight files: name → bytes. `CANARY` is what code in them would touch."""

from __future__ import annotations

import io
import json
import pickle
import runpy
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FOREIGN = runpy.run_path(str(Path(__file__).with_name("foreign.py")))
Global, Call, Persistent, dumps = (FOREIGN[name] for name in ("Global", "Call", "Persistent", "dumps"))
storage, tensor, state_value = (FOREIGN[name] for name in ("storage", "tensor", "state_value"))
torch_zip, torch_legacy, zip_of, npy = (FOREIGN[name] for name in ("torch_zip", "torch_legacy", "zip_of", "npy"))

Files = dict[str, bytes]
GOOD = {"a.weight": np.arange(6, dtype="<f4").reshape(2, 3), "a.bias": np.ones(3, "<f4")}


def all_files(canary: Path) -> Files:
    """Suffixes are part of the names; none of these may be read, run or believed."""
    found: Files = {}
    for part in (
        routes(canary),
        arrays_in_pickles(),
        tensors(),
        archives(),
        plain(),
        hdf5(),
        safetensors(),
        no_weights(),
    ):
        for name, data in part:
            assert name not in found, name
            found[name] = data
    return found


def command(canary: Path) -> tuple[str]:
    return (f"touch {canary}",)


def routes(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that run code, by every opcode that can, as a bare pickle and in both of torch's containers."""
    text = f"touch {canary}".encode()
    string = b"X" + len(text).to_bytes(4, "little") + text
    start, system = b"\x80\x02", b"cposix\nsystem\n"
    raw = {
        "global": start + system + string + b"\x85R.",
        "stack_global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + string + b"\x85R.",
        "inst": start + b"(" + string + b"iposix\nsystem\n.",
        "obj": start + b"(" + system + string + b"o.",
        "newobj": start + system + string + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + system + string + b"\x85}\x92.",
        "ext1": start + b"\x82\x01.",
        "ext2": start + b"\x83\x01\x00.",
        "ext4": start + b"\x84\x01\x00\x00\x00.",
        "persid": start + b"Pposix.system\n.",
        "next_buffer": b"\x80\x05\x97.",
        "readonly_buffer": b"\x80\x05K\x01\x98.",
        "build_name": start + system + b"}b.",
        "build_dict": start + b"}}b.",
        "reduce_data": start + b"K\x01" + string + b"\x85R.",
        "reduce_list": start + b"ccollections\nOrderedDict\n]R.",
        "in_a_key": start + b"}" + system + string + b"\x85RK\x01s.",
        "popped": start + system + string + b"\x85R0}.",
        "memoized": start + system + b"q\x00" + string + b"\x85q\x01h\x00h\x01R.",
        "protocol_0": b"cposix\nsystem\n(S'" + text + b"'\ntR.",
        "set": b"\x80\x04\x8f(K\x01\x90.",
        "frozenset": b"\x80\x04(K\x01\x91.",
    }
    for module, name in (
        ("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
        ("builtins", "__import__"), ("__builtin__", "eval"), ("runpy", "run_path"), ("pickle", "loads"),
        ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "ndarray.tofile"), ("numpy.testing", "runstring"),
        ("numpy.core.multiarray", "fromfile"), ("torch", "load"), ("torch.hub", "load"), ("torch.jit", "load"),
        ("torch.storage", "_load_from_bytes"), ("torch._utils", "_rebuild_sparse_tensor"), ("ctypes", "CDLL"),
        ("torch.nn.modules.conv", "Conv2d"), ("torch.serialization", "load"), ("collections", "OrderedDict.fromkeys"),
        ("collections", "defaultdict"), ("operator", "attrgetter"), ("functools", "partial"), ("types", "CodeType"),
        ("copyreg", "_reconstructor"), ("_codecs", "decode"), ("argparse", "Namespace"), ("pathlib", "PosixPath"),
        ("maskrcnn.weights.files", "read_weights"), ("collections\x00", "OrderedDict"), ("", ""),
    ):  # fmt: skip
        raw[f"name_{module}.{name}".replace("\x00", "0")] = dumps({"a": Call(Global(module, name), command(canary))}, 4)
    encode = Global("_codecs", "encode")
    from_type = Global("torch._tensor", "_rebuild_from_type_v2")
    for name, value in {
        "codec": Call(encode, ("x", "zlib")),
        "bytes_with_size": Call(Global("builtins", "bytes"), (2**40,)),
        "marked_name": Call(Global("numpy", "ndarray"), ((2**40,),)),
        "call_of_storage": Call(Global("torch", "FloatStorage"), (2**40,)),
        "ordered_of_text": Call(Global("collections", "OrderedDict"), ("ab",)),
        "ordered_twice": Call(Global("collections", "OrderedDict"), ((), ())),
        "build_dtype": Call(Global("numpy", "dtype"), ("f4", False, True), {"__class__": 1}),
        "build_array": Call(
            Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b"), {"x": 1}
        ),
        "type_of_name": Call(from_type, (Global("torch", "Size"), Global("torch", "Tensor"), ((1,),), {})),
        "size_of_text": Call(Global("torch", "Size"), (("x",),)),
    }.items():
        raw[f"call_{name}"] = dumps({"a": value})
    for name, data in raw.items():
        yield f"route_{name}.pkl", data
        yield f"route_{name}_zip.pth", torch_zip(data, {})
        yield f"route_{name}_legacy.pth", torch_legacy(data, {})


def arrays_in_pickles() -> Iterator[tuple[str, bytes]]:
    """Machines that take too long, too much, or the wrong thing."""
    nested = b"\x80\x02)" + b"".join(b"\x85" + b"2\x86" * 60 for _ in range(1)) + b"K\x01s."
    yield "pickle_tuple_key.pkl", b"\x80\x02}" + b")" + b"2\x86" * 60 + b"K\x01s."
    yield "pickle_tuple_key_2.pkl", nested
    yield "pickle_without_stop.pkl", b"\x80\x02}"
    yield "pickle_of_nothing.pkl", b"\x80\x02."
    yield "pickle_two_values.pkl", b"\x80\x02}}."
    yield "pickle_unset_memo.pkl", b"\x80\x02h\x05."
    yield "pickle_far_memo.pkl", b"\x80\x02}r\xff\xff\xff\x7f" + b"j\xfe\xff\xff\x7f."
    yield "pickle_protocol_9.pkl", b"\x80\x09}."
    yield "pickle_unknown_opcode.pkl", b"\x80\x02\xff."
    yield "pickle_unmarked.pkl", b"\x80\x02u."
    yield "pickle_append_to_dict.pkl", b"\x80\x02}K\x01a."
    yield "pickle_odd_items.pkl", b"\x80\x02}(K\x01u."
    yield "pickle_bytes8.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."
    yield "pickle_bytes.pkl", b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b"x."
    yield "pickle_text8.pkl", b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x."
    yield "pickle_text.pkl", b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x."
    yield "pickle_bytearray8.pkl", b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x."
    yield "pickle_long4.pkl", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x."
    yield "pickle_long4_negative.pkl", b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x."
    yield "pickle_long_number.pkl", b"\x80\x02\x8b" + struct.pack("<i", 100_000) + b"\x01" * 100_000 + b"."
    yield "pickle_decimal_number.pkl", b"\x80\x02L" + b"9" * 50_000 + b"L\n."
    yield "pickle_many_steps.pkl", b"\x80\x02" + b"N0" * 300_000 + b"N."
    yield "pickle_deep_lists.pkl", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
    yield "pickle_deep_marks.pkl", b"\x80\x02" + b"(" * 500_000 + b"t."
    yield "pickle_list.pkl", dumps([1, 2])
    yield "pickle_text_only.pkl", dumps("weights")
    yield "pickle_no_tensors.pkl", dumps({"model": {"a": 1}, "epoch": 3})
    yield "pickle_number_names.pkl", dumps({1: array_call(np.ones(2, "<f4")), 2: array_call(np.ones(2, "<f4"))})
    yield "pickle_itself.pkl", b"\x80\x02]q\x00h\x00a."
    cut = dumps({"model": {"a": array_call(np.ones(50, "<f4"))}})
    for k in range(1, 8):
        yield f"pickle_cut_{k}.pkl", cut[: len(cut) * k // 8]
    for name, changed in {
        "objects": {"code": "O8"},
        "texts": {"code": "U4"},
        "records": {"code": "V8"},
        "times": {"code": "M8"},
        "fields": {"dtype_state": (3, "|", None, ("a",), {"a": 1}, -1, -1, 0)},
        "subarray": {"dtype_state": (3, "|", ("f4", (2,)), None, None, -1, -1, 0)},
        "too_few_bytes": {"data": b"1234"},
        "too_many_bytes": {"data": b"1" * 400},
        "negative_shape": {"shape": (-2, -25)},
        "float_shape": {"shape": (50.0,)},
        "truth_shape": {"shape": (True, 50)},
        "huge_shape": {"shape": (2**40, 2**40)},
        "many_axes": {"shape": (1,) * 70},
        "list_data": {"data": [1, 2]},
        "wide_text": {"data": "\u1234" * 50},
        "no_data": {"data": None},
    }.items():
        yield f"array_{name}.pkl", dumps({"a": array_call(np.ones(50, "<f4"), **changed)})


def array_call(values: np.ndarray, **changed: Any) -> Any:
    """How NumPy pickles an array."""
    dtype = Call(
        Global("numpy", "dtype"),
        (changed.get("code", values.dtype.str[1:]), False, True),
        changed.get("dtype_state", (3, "<", None, None, None, -1, -1, 0)),
    )
    state = (1, changed.get("shape", values.shape), dtype, False, changed.get("data", values.tobytes()))
    make = Global("numpy.core.multiarray", "_reconstruct")
    return Call(make, (Global("numpy", "ndarray"), (0,), b"b"), state)


def tensors() -> Iterator[tuple[str, bytes]]:
    """Tensors that are not where they say, in both containers."""
    block = storage("FloatStorage", "0", 6)
    cases: dict[str, tuple[Any, dict[str, bytes]]] = {}
    data = {"0": np.arange(6, dtype="<f4").tobytes()}
    for name, arguments in {
        "beyond": (block, 0, (3, 3), (3, 1)),
        "offset": (block, 5, (2,), (1,)),
        "negative_offset": (block, -1, (2,), (1,)),
        "huge_offset": (block, 2**62, (2,), (1,)),
        "negative_size": (block, 0, (-2, 3), (3, 1)),
        "negative_stride": (block, 5, (2,), (-1,)),
        "huge_stride": (block, 0, (2,), (2**62,)),
        "huge_size": (block, 0, (2**62,), (1,)),
        "expanded": (block, 0, (2**20, 2**20), (0, 0)),
        "other_axes": (block, 0, (2, 3), (1,)),
        "many_axes": (block, 0, (1,) * 60, (0,) * 60),
        "text_size": (block, 0, ("2",), (1,)),
        "no_storage": ("0", 0, (2,), (1,)),
    }.items():
        cases[name] = (tensor(*arguments), data)
    for name, kind, count in (
        ("complex", "ComplexFloatStorage", 3), ("quantized", "QInt8Storage", 6), ("count", "FloatStorage", 7),
        ("huge_count", "FloatStorage", 2**62), ("negative_count", "FloatStorage", -1), ("kind", "Tensor", 6),
    ):  # fmt: skip
        cases[f"storage_{name}"] = (tensor(storage(kind, "0", count), 0, (2,), (1,)), data)
    cases["missing_storage"] = (tensor(storage("FloatStorage", "9", 6), 0, (2,), (1,)), data)
    cases["strange_id"] = (tensor(Persistent(("module", "x", "y", "z", 1)), 0, (2,), (1,)), data)
    cases["text_id"] = (tensor(Persistent("storage"), 0, (2,), (1,)), data)
    cases["outside_key"] = (tensor(storage("FloatStorage", "../../0", 6), 0, (2,), (1,)), data)
    for name, (value, blocks) in cases.items():
        yield f"tensor_{name}.pth", torch_zip(dumps({"a": value}), blocks)
    view = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 6, ("v", 4, 9)))
    legacy = {name: value for name, (value, _) in cases.items() if name not in ("count", "missing_storage")}
    for name, value in {**legacy, "view": tensor(view, 0, (2,), (1,))}.items():
        yield f"tensor_{name}_legacy.pth", torch_legacy(dumps({"a": value}), data)
    value, blocks = state_value(GOOD, legacy=True)
    whole = torch_legacy(dumps(value), blocks)
    for k in range(1, 12):
        yield f"legacy_cut_{k}.pth", whole[: len(whole) * k // 12]
    yield "legacy_big_endian.pth", torch_legacy(dumps(value), blocks, little_endian=False)
    yield "legacy_other_version.pth", whole.replace(dumps(1001), dumps(1002), 1)


def archives() -> Iterator[tuple[str, bytes]]:
    """Zip archives that would write outside, swell, or are something else."""
    value, blocks = state_value(GOOD)
    good = torch_zip(dumps(value), blocks)
    for k in range(1, 12):
        yield f"zip_cut_{k}.pth", good[: len(good) * k // 12]
    for name, member in {
        "parent": "archive/../../outside", "absolute": "/tmp/outside", "windows": "archive\\..\\outside",
        "drive": "C:/outside", "top_parent": "../archive/x", "two_tops": "other/x", "dot": "archive/data/../../../x",
    }.items():  # fmt: skip
        yield f"zip_{name}.pth", with_member(good, member)
    yield "zip_twice.pth", with_member(good, "archive/data/0")
    yield "zip_script.pth", with_member(good, "archive/constants.pkl")
    yield "zip_byteorder.pth", good.replace(b"little", b"middle")
    yield "zip_encrypted.pth", flagged(good)
    yield "zip_bzip2.pth", torch_zip(dumps(value), blocks, compression=zipfile.ZIP_BZIP2)
    yield "zip_lzma.pth", torch_zip(dumps(value), blocks, compression=zipfile.ZIP_LZMA)
    yield "zip_flipped.pth", flipped(good)
    yield "zip_empty.pth", zip_of({})
    yield "zip_text.pth", zip_of({"readme.txt": b"hello"})
    yield "zip_jar.pth", zip_of({"META-INF/MANIFEST.MF": b"x", "a.class": b"y"})
    yield "zip_bomb_data.pth", bomb("archive/data/0", dumps(value))
    yield "zip_bomb_pickle.pth", bomb("archive/data.pkl", b"")
    yield "zip_bomb.npz", bomb("a.npy", b"")
    yield "zip_declared.pth", declared(good, 2**31)
    yield "zip_overlapping.pth", overlapping()
    yield "zip_directory.pth", good[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**31, 0, 0)


def with_member(archive: bytes, name: str) -> bytes:
    held = io.BytesIO(archive)
    with zipfile.ZipFile(held, "a") as opened:
        info = zipfile.ZipInfo("x")
        info.filename = name
        opened.writestr(info, b"x")
    return held.getvalue()


def flagged(archive: bytes) -> bytes:
    """The encryption bit of every member is set."""
    data = bytearray(archive)
    for mark, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        position = data.find(mark)
        while position >= 0:
            data[position + at] |= 1
            position = data.find(mark, position + 4)
    return bytes(data)


def flipped(archive: bytes) -> bytes:
    """A bit of the numbers has changed: the checksum tells."""
    data = bytearray(archive)
    data[data.index(GOOD["a.weight"].tobytes()) + 9] ^= 1
    return bytes(data)


def bomb(name: str, pickled: bytes) -> bytes:
    """One member of 4 GiB of zeros in 4 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(2**26)) + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(bytes(2**20)) + packer.flush()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        if pickled:
            archive.writestr("archive/data.pkl", pickled)
        archive.writestr(name, packed + repeated)
    data = bytearray(held.getvalue())
    for mark, method, size in ((b"PK\1\2", 10, 24), (b"PK\3\4", 8, 22)):
        position = data.rfind(mark)
        data[position + method : position + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        data[position + size : position + size + 4] = struct.pack("<L", 2**32 - 2)
    return bytes(data)


def declared(archive: bytes, size: int) -> bytes:
    """The last member says that it is larger than the file."""
    data = bytearray(archive)
    position = data.rfind(b"PK\1\2")
    data[position + 20 : position + 28] = struct.pack("<2L", size, size)
    return bytes(data)


def overlapping() -> bytes:
    """A thousand members that share the same bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a0.npy", npy(np.zeros(250_000, "<f4")))
        for k in range(1, 1000):
            info = zipfile.ZipInfo(f"a{k}.npy")
            info.file_size = info.compress_size = archive.filelist[0].file_size
            info.CRC, info.header_offset = archive.filelist[0].CRC, 0
            archive.filelist.append(info)
            archive._didModify = True
    return held.getvalue()


def plain() -> Iterator[tuple[str, bytes]]:
    """Archives of NumPy with something else in them."""
    good = npy(np.ones(5, "<f4"))
    objects = npy(np.array([Path("x")], object), allow_pickle=True)
    yield "npz_objects.npz", zip_of({"a.npy": objects})
    yield "npz_texts.npz", zip_of({"a.npy": npy(np.array(["x"]))})
    yield "npz_complex.npz", zip_of({"a.npy": npy(np.ones(2, complex))})
    yield "npz_records.npz", zip_of({"a.npy": npy(np.zeros(2, [("x", "f4")]))})
    yield "npz_stranger.npz", zip_of({"a.npy": good, "b.txt": b"x"})
    yield "npz_short.npz", zip_of({"a.npy": good[:-4]})
    yield "npz_long.npz", zip_of({"a.npy": good + b"1234"})
    yield "npz_no_array.npz", zip_of({"a.npy": b"hello"})
    yield "npz_shape.npz", zip_of({"a.npy": good.replace(b"(5,)", b"(9,)")})
    yield "npz_negative.npz", zip_of({"a.npy": good.replace(b"(5,)", b"-5, ")})
    yield "npz_code.npz", zip_of({"a.npy": good.replace(b"(5,)", b"f(5)")})
    yield "npz_version.npz", zip_of({"a.npy": good[:6] + b"\x09" + good[7:]})
    yield "npz_parent.npz", with_member(zip_of({"a.npy": good}), "../b.npy")
    yield "npz_cut.npz", zip_of({"a.npy": good})[:90]
    yield "one_array.npy", good


def hdf5() -> Iterator[tuple[str, bytes]]:
    """HDF5 files that lead elsewhere or declare too much."""

    def made(edit: Callable[[h5py.File], Any]) -> bytes:
        held = io.BytesIO()
        with h5py.File(held, "w") as file:
            edit(file)
        return held.getvalue()

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((5,), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (5,))
        file.create_virtual_dataset("v", layout)

    def cycle(file: h5py.File) -> None:
        group = file.create_group("a")
        group["again"] = file["/"]

    def filtered(file: h5py.File) -> None:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((5,))
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((5,))
        h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plan)

    good = made(lambda file: file.create_dataset("a/kernel:0", data=np.ones(5, "f4")))
    yield "h5_external_link.h5", made(lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")))
    yield "h5_soft_link.h5", made(lambda file: file.__setitem__("x", h5py.SoftLink("/nowhere")))
    yield "h5_virtual.h5", made(virtual)
    yield (
        "h5_external_data.h5",
        made(lambda file: file.create_dataset("x", (5,), "f4", external=[("/etc/passwd", 0, 20)])),
    )
    yield "h5_cycle.h5", made(cycle)
    yield "h5_filter.h5", made(filtered)
    yield "h5_huge.h5", made(lambda file: file.create_dataset("x", (2**45,), "f4", chunks=(2**20,)))
    yield (
        "h5_many_huge.h5",
        made(lambda file: [file.create_dataset(f"x{k}", (2**26,), "f4", chunks=(2**20,)) for k in range(20)]),
    )
    yield "h5_empty.h5", made(lambda file: None)
    yield "h5_texts.h5", made(lambda file: file.create_dataset("x", data="hello"))
    for k in range(1, 6):
        yield f"h5_cut_{k}.h5", good[: len(good) * k // 6]
    yield "h5_signature.h5", good[:8] + b"\xff" * 200


def safetensors() -> Iterator[tuple[str, bytes]]:
    """Headers that lie."""

    def made(header: Any, data: bytes = bytes(16)) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    good = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    for name, changed in {
        "dtype": {"dtype": "F8_E4M3"},
        "no_dtype": {"dtype": None},
        "shape": {"shape": [5]},
        "negative": {"shape": [-4]},
        "huge": {"shape": [2**50], "data_offsets": [0, 2**52]},
        "offsets": {"data_offsets": [16, 0]},
        "gap": {"data_offsets": [8, 24]},
        "three_offsets": {"data_offsets": [0, 16, 32]},
        "beyond": {"shape": [400], "data_offsets": [0, 1600]},
    }.items():
        yield f"safetensors_{name}.safetensors", made({"a": {**good, **changed}})
    yield "safetensors_overlap.safetensors", made({"a": good, "b": good})
    yield "safetensors_list.safetensors", made(b'{"a": [1]}')
    yield "safetensors_no_json.safetensors", made(b"{nothing}")
    yield "safetensors_deep.safetensors", made(b'{"a":' * 50_000)
    yield "safetensors_empty.safetensors", made({})
    yield "safetensors_long_header.safetensors", struct.pack("<Q", 2**38) + b'{"a": 1}'
    yield "safetensors_cut.safetensors", made({"a": good})[:60]


def no_weights() -> Iterator[tuple[str, bytes]]:
    """Files that are something else, whatever they are called."""
    page = b"<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>"
    for suffix in ("pth", "pkl", "h5", "npz", "safetensors", "keras"):
        yield f"page.{suffix}", page
        yield f"empty.{suffix}", b""
        yield f"text.{suffix}", b"hello, weights\n" * 50
    yield "page_blank.pth", b"\n\n  " + page
    yield "pointer.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 178090079\n"
    yield "xml.pth", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
    yield "json.pth", b'{"error": "not found"}'
    yield "zeros.pth", bytes(4096)
    yield "ones.pkl", b"\xff" * 4096
    yield "elf.pth", b"\x7fELF" + bytes(500)
    yield "image.pth", b"\x89PNG\r\n\x1a\n" + bytes(500)
    yield "gzip.pth", b"\x1f\x8b" + bytes(500)
    yield "tar.pth", bytes(257) + b"ustar" + bytes(300)
    yield "numbers.pkl", pickle.dumps(3.5)
