"""Formats of image files: how their names end, and how they begin."""

from pathlib import PurePath

# Raster formats only: among Pillow's others are some that start programs (EPS) or hold no photographs.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# torchvision.datasets.folder.IMG_EXTENSIONS, and how else files of these formats are called.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"),
    *(".jpe", ".jfif", ".mpo", ".apng", ".gif", ".pbm", ".pnm", ".pfm", ".avif", ".avifs"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
# Cameras write TIFF files of their own, whose first picture is a small copy.
RAW = (
    *(".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw"),
    *(".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
# What lies beside photographs; in a bucket each look would be a request.
BESIDE = (
    *(".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".log", ".cls"),
    ".toml",
    *(".npy", ".npz", ".mat", ".pkl", ".pt", ".pth", ".safetensors", ".h5", ".hdf5", ".parquet", ".tar", ".gz"),
    *(".zip", ".py", ".ipynb", ".pdf", ".svg", ".mp4", ".mov", ".avi", ".mkv", ".wav", ".mp3", ".part", ".tmp"),
    *(".heic", ".heif", ".jxl", ".psd", ".tga", ".exr", ".dcm"),
)
# Of a file, enough to know what it is.
BEGINNING = 32

# The last two are of writers that swapped the number that follows the order of bytes.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")
JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_BITMAP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_READ = (
    ("JPEG", (b"\xff\xd8\xff",)),
    ("PNG", (b"\x89PNG\r\n\x1a\n",)),
    ("GIF", (b"GIF87a", b"GIF89a")),
    ("TIFF", TIFF),
    ("JPEG 2000", JPEG2000),
)
# Of pictures that other programs read. What brings no mark of its own is not known.
_NOT_READ = (
    ("JPEG XL", (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    ("JPEG-LS", (b"\xff\xd8\xff\xf7",)),
    ("JPEG XR", (b"II\xbc\1",)),
    ("Photoshop", (b"8BPS",)),
    ("QOI", (b"qoif",)),
    ("DDS", (b"DDS ",)),
    ("OpenEXR", (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", (b"#?RADIANCE", b"#?RGBE")),
    ("FITS", (b"SIMPLE  =",)),
    ("GIMP", (b"gimp xcf",)),
    ("Sun raster", (b"\x59\xa6\x6a\x95",)),
    ("SGI", (b"\x01\xda\0\1", b"\x01\xda\1\1")),
    ("BPG", (b"BPG\xfb",)),
    ("HDF5", (b"\x89HDF\r\n\x1a\n",)),
    ("ICO", (b"\0\0\1\0",)),
    ("PAM", (b"P7\n",)),
    ("PCX", (b"\n\5\1",)),
)


def is_named_image(name: str) -> bool:
    """Whether a file's name ends as those of photographs do."""
    return name.lower().endswith(EXTENSIONS)


def read_format(beginning: bytes) -> str | None:
    """The format that a file is of by its first `BEGINNING` bytes, if it is one that is read; it may be damaged."""
    for name, starts in _READ:
        if beginning.startswith(starts):
            return name
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return "WebP"
    if beginning.startswith(b"BM") and int.from_bytes(beginning[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    if beginning[:1] == b"P" and beginning[1:2] in b"123456fF" and beginning[2:3] in (b" ", b"\t", b"\r", b"\n"):
        return "PNM"
    if beginning[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return None


def other_format(content: bytes) -> str | None:
    """The name of a picture format that is not read, if a file is of one."""
    for name, starts in _NOT_READ:
        if content.startswith(starts):
            return name
    if content[-18:-2] == b"TRUEVISION-XFILE":
        return "TGA"
    if content[128:132] == b"DICM":
        return "DICOM"
    return None


def may_be_image(name: str) -> bool:
    """Whether it is worth looking into a file whose name does not end as a photograph's."""
    return PurePath(name).suffix.lower() not in RAW + BESIDE
