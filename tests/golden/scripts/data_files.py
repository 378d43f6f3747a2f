"""Files of other tools and what they hold, for the readers and transforms of data/.

Writes tests/golden/data/files/: .npy and .npz by NumPy 2.4.6, PNG and JPEG by Pillow 13.0.0 with their pixels as .npy,
and affine transforms of a picture (torchvision's definition of the matrix, written with NumPy, resampled with torch
2.13.0's grid_sample). Seed 0.
"""
import pathlib

import numpy as np
import torch
from PIL import Image

out = pathlib.Path(__file__).parent.parent / "data" / "files"
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)

# NumPy: every type holds (arange(6) % 2) or arange(6) as 2 x 3.
types = ["?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16", ">i4", ">f8", ">c8"]
arrays = {}
for code in types:
    array = np.arange(6).reshape(2, 3).astype(code)
    np.save(out / "one.npy", array)
    arrays[code.replace("<", "").replace(">", "big_").replace("?", "bool")] = array
(out / "one.npy").unlink()
arrays["fortran"] = np.asfortranarray(np.arange(24, dtype="f4").reshape(2, 3, 4))
arrays["scalar"] = np.array(3.5)
arrays["empty"] = np.zeros((0, 4), "f4")
arrays["row"] = np.arange(5.0)
np.savez(out / "stored.npz", **arrays)
np.savez_compressed(out / "deflated.npz", **arrays)
np.save(out / "fortran.npy", arrays["fortran"])
np.save(out / "big_endian.npy", arrays["big_f8"])
np.save(out / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
np.save(out / "records.npy", np.zeros(2, dtype=[("a", "<i4"), ("b", "<f8")]))
np.save(out / "text.npy", np.array(["a", "bc"]))
with open(out / "version2.npy", "wb") as f:
    np.lib.format.write_array(f, np.arange(4, dtype="<i8"), version=(2, 0))

# Pictures: smooth, so that JPEG has something to keep.
y, x = np.mgrid[0:24, 0:32]
rgb = np.stack([x * 8, y * 10, (x + y) * 4], -1).clip(0, 255).astype("u1")
rgba = np.concatenate([rgb, np.full((24, 32, 1), 255, "u1")], -1)
files = {
    "rgb.png": Image.fromarray(rgb), "gray.png": Image.fromarray(rgb[..., 0]), "rgba.png": Image.fromarray(rgba),
    "palette.png": Image.fromarray(rgb).quantize(16), "rgb.jpg": Image.fromarray(rgb), "gray.jpg": Image.fromarray(rgb[..., 1]),
    "progressive.jpg": Image.fromarray(rgb),
}
for name, image in files.items():
    options = {"quality": 90, "progressive": name.startswith("prog")} if name.endswith("jpg") else {}
    image.save(out / name, **options)
    read = Image.open(out / name)
    np.save(out / (name + ".rgb.npy"), np.asarray(read.convert("RGB")).transpose(2, 0, 1))


# Affine: degrees, shift in pixels (x, y), scale, shear along x in degrees.
def affine(image, degrees, shift, scale, shear):
    a, s = np.radians(degrees), np.radians(shear)
    rotation = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    sheared = np.array([[1, -np.tan(s), 0], [0, 1, 0], [0, 0, 1]])
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
    inverse = np.linalg.inv(move @ rotation @ sheared @ np.diag([scale, scale, 1]))
    h, w = image.shape[-2:]
    xs, ys = np.meshgrid(np.arange(w) + 0.5 - w / 2, np.arange(h) + 0.5 - h / 2)
    points = np.stack([xs, ys, np.ones_like(xs)], -1) @ inverse.T
    grid = torch.from_numpy(points[..., :2] / [w / 2, h / 2])[None]
    return torch.nn.functional.grid_sample(image[None].double(), grid, "bilinear", "zeros", align_corners=False)[0]


picture = torch.from_numpy(rng.random((2, 9, 14)))
cases = [(30, (0, 0), 1, 0), (-75, (0, 0), 1.3, 0), (0, (0, 0), 1, 20), (10, (0, 0), 0.7, -30), (180, (0, 0), 1, 0)]
np.savez(out / "affine.npz", picture=picture.numpy(), cases=np.array([[d, sc, sh] for d, _, sc, sh in cases], "f8"),
         results=np.stack([affine(picture, *c).numpy() for c in cases]))
