"""The containers of moving pictures that are read, by the names that FFmpeg gives them."""

_SUFFIXES = {
    "apng": ".apng",
    "asf": ".wmv",
    "asf_o": ".wmv",
    "avi": ".avi",
    "dhav": ".dav",
    "dv": ".dv",
    "f4v": ".f4v",
    "film_cpk": ".cpk",
    "flic": ".fli",
    "flv": ".flv",
    "gif": ".gif",
    "live_flv": ".flv",
    "matroska": ".mkv",
    "mpeg": ".mpg",
    "mpegts": ".ts",
    "ogg": ".ogv",
    "smjpeg": ".mjpg",
    "vivo": ".viv",
    "yuv4mpegpipe": ".y4m",
}
# The rest have their own name as their suffix.
_OTHERS = """
    mov mp4 m4a 3gp 3g2 mj2 webm nut ivf mxf gxf rm ivr wtv nsv swf
    cine kux lvf lxf mlv mods moflex mtv mxg nuv pmp pva r3d ser ty usm xmv
    4xm anm bethsoftvid bfi bink c93 dfa dsicin dxa ea gdv hnm idcin ipmovie jv mm mv paf psxstr rl2 roq rpl siff smk
    smush thp tiertexseq tmv vividas vmd wc3movie wsvqa yop
"""
_AUDIO = "aac ac3 aiff amr flac mp3 w64 wav"  # only to say what they are
# Left out, of all that FFmpeg reads: formats that refer to other files or URLs (hls, dash, concat, imf, sdp, rtsp, sap,
# webm_dash_manifest), devices, still images (the pipes, image2, ico, fits, iff), text drawn as pictures (tty, bin, adf,
# idf, xbin), and streams without a header of their own, because noise or a JPEG can be mistaken for them (h264, hevc,
# mpegvideo, m4v, mjpeg, mpjpeg, obu, rawvideo and the like, and formats that only a suffix tells).
CONTAINERS = ",".join([*_SUFFIXES, *_OTHERS.split(), *_AUDIO.split()])

# The oldest QuickTime files name no brand.
_MOV_BRANDS = {"": "mov", "qt ": "mov", "3g2": "3g2", "3gp": "3gp", "avi": "avif", "f4v": "f4v", "mjp": "mj2"}


def short_name(format_name: str, *, brand: str, start: bytes) -> str:
    """One name for the container; FFmpeg tells only the family. `start` is the beginning of the file."""
    if format_name.startswith("mov"):
        return _MOV_BRANDS.get(brand[:3], "mp4")
    if format_name.startswith("matroska"):
        return "webm" if b"webm" in start else "matroska"
    return format_name


def suffix_of(container: str) -> str:
    return _SUFFIXES.get(container, f".{container}")
