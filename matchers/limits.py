"""Every limit and threshold of the matchers, once, each with its source."""

from __future__ import annotations

from typing import Final

# --- what is opened -------------------------------------------------------------------------

MAX_ENCODED_BYTES: Final = 64 * 1024 * 1024
"""Largest still image read. Phones write 2-25 MB; 64 MiB leaves room for uncompressed TIFF."""

MAX_LARGE_BYTES: Final = 1024 * 1024 * 1024
"""Largest video or container read. An hour of film at 2 Mbit/s is 900 MB."""

MAX_LARGE_BYTES_AT_ONCE: Final = MAX_LARGE_BYTES
"""Bytes of items beyond `MAX_ENCODED_BYTES` that all threads of a process hold together. Whoever
would read one more waits; smaller items do not wait for them."""

MAX_PIXELS: Final = 150_000_000
"""Largest width * height decoded; most phone sensors reach 108 MP. Checked on the header, before
any pixel is decoded (hostile headers claim 65000 x 65000 in 34 kB)."""

MAX_PIXELS_AT_ONCE: Final = MAX_PIXELS
"""Pixels that all threads of a process may hold decoded together: hostile uploads come in numbers,
and this bounds memory whatever the number of cores. Decoders hold 3 to 17 bytes a pixel (measured:
16-bit grey 6, RGB 7, HEIC 8, alpha 10 to 15, float 12, an animated WebP 17, which is 2.5 GB at the
limit); twelve photographs of 12 MP fit at once."""

MAX_SPARE_BYTES: Final = 256 * 1024 * 1024
"""Memory of decoded pictures that a process keeps for the next ones: seven of 12 megapixels."""

MAX_SIDE_PIXELS: Final = 65_500
"""Largest width or height: libjpeg's own limit (JPEG_MAX_DIMENSION)."""

MAX_JPEG_SCANS: Final = 100
"""Most scans of a JPEG: each costs a pass over the whole picture, and a hostile file repeats them
(600 kB took 58 s). Encoders write about ten; thumbnails and multi-picture files add some."""

MAX_EXIF_BYTES: Final = 1024 * 1024
"""Longest EXIF block. One JPEG segment holds 64 KiB of it, and cameras keep to that; the largest
seen elsewhere are thumbnails and maker notes of some hundred kB."""

MAX_METADATA_TAGS: Final = 10_000
"""Most tags in the directories of a TIFF or EXIF block that are read. Files hold some hundred; a
directory may point to others, and those into one another."""

MAX_METADATA_NUMBERS: Final = 600_000
"""Most numbers in the directories of a TIFF or EXIF block: each becomes a Python object. A TIFF of
65,500 rows in 4 planes that keeps each row by itself has 524,000 (offset and length)."""

MAX_SEGMENTS: Final = 1_000
"""Most segments before the first scan of a JPEG, 64 KiB each, and most chunks of a PNG beside its
pixels: a colour profile has at most 255, a depth map in XMP some tens. A million empty segments
(4 MiB) took 136 MB."""

MAX_PNG_CHUNKS: Final = 100_000
"""Most chunks of a PNG, those of its pixels and of an animation's frames included. libpng writes 8
KiB each, so that the longest file read has 8,192; a million empty ones (12 MB) took 7 s."""

MAX_STRAY_BYTES: Final = 65_536
"""Most bytes between a JPEG's segments, which viewers pass over one by one."""

MAX_GIF_EXTENSION_BYTES: Final = 256 * 1024
"""Most bytes between a GIF's palette and its first picture: loop, comment, XMP. Pillow joins the
pieces of a comment one by one (4 MiB took 55 s)."""

MAX_GIF_PIECES: Final = 10_000
"""Most blocks those bytes are in. An encoder fills them with 255 bytes each; XMP is written bare,
so that its letters are taken for lengths, from 32 up."""

MAX_ICON_PICTURES: Final = 256
"""Most pictures in an icon file. Programs keep a dozen (16 to 256 pixels, in 4, 8 and 32 bits)."""

MAX_URL_BYTES: Final = 8_192
"""Longest URL canonicalised. RFC 9110 section 4.1 asks for at least 8000 octets."""

# --- PDQ ------------------------------------------------------------------------------------

PDQ_BITS: Final = 256
PDQ_BYTES: Final = PDQ_BITS // 8

PDQ_RADIUS_BITS: Final = 31
"""Default radius of a PDQ set: "match" in the reference (ThreatExchange pdq/README.md)."""

PDQ_MIN_QUALITY: Final = 50
"""Default lowest quality at which a PDQ code is looked up: the reference discards <= 49."""

PDQ_MIN_SIDE_PIXELS: Final = 5
"""The reference core gives a side below this a zero hash of quality 0
(pdqhashing.cpp, MIN_HASHABLE_DIM)."""

PDQ_PLANE_SIDE: Final = 64
"""Side of the plane that PDQ transforms (pdqhashing.h, BUFFER_W_H)."""

PDQ_FAST_MIN_CELLS: Final = 256
"""Fast mode decodes a JPEG 2, 4 or 8 times smaller while its shorter side keeps this many samples:
no bit is lost by that on average; below 200 it costs up to 12 (docs/pdq.md)."""

PDQ_FAST_REACH: Final = 0.5
"""Distance from the median at which fast mode takes a coefficient for undecided."""

PDQ_FAST_MAX_CROWDING: Final = 6
"""More undecided coefficients than this send a picture from the fast way to the exact one."""

PDQ_FAST_MIN_QUALITY: Final = 50
"""So does a lower quality: smooth pictures, whose code hangs on little."""

MAX_INDICATOR_ID_BYTES: Final = 200
"""Longest indicator id: it has its place in a sealed candidate of constant size."""

# --- lookup ---------------------------------------------------------------------------------

MOST_HITS: Final = 10
"""Indicators of a set that are told of one part of an item: the best, and what is left where people
have rejected that one."""

MAX_RADIUS_BITS: Final = 64
"""Largest radius `HammingIndex.search` accepts. Unrelated photographs start near 86 bits apart
(measured on 499,500 pairs), so a larger radius is never a match."""

# --- containers -----------------------------------------------------------------------------

MAX_CONTAINER_DEPTH: Final = 4
"""Most containers inside one another that are opened. A document with an attached workbook, in an
archive of archives, is four."""

MAX_ENTRIES: Final = 10_000
"""Most entries of an item in all its levels: a few years of a phone's pictures. Each becomes some
hundred bytes of outcome, and an archive's list of them takes about 1 kB an entry while it is open
(zipfile, py7zr)."""

MAX_EXPANDED_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Most bytes that may come out of one item in all its levels, never held at once: half a minute of
inflating at the 150 MB/s that one core gives."""

MAX_EXPANSION_RATIO: Final = 200
"""Most bytes that may come out of a container for each of its own. Office documents reach 20, flat
scans 100; a bomb begins at 1,000 (42.zip: 10^11)."""

FREE_EXPANDED_BYTES: Final = 64 * 1024 * 1024
"""What may come out of any container, however small: a few kB of archive honestly hold one blank
page at 600 dots an inch (35 MB)."""

MAX_ENTRY_BYTES: Final = 256 * 1024 * 1024
"""Largest entry handed out, since it is held in memory, one for each level. Four times the largest
still; some minutes of a phone's video."""

MAX_WINDOW_BYTES: Final = 256 * 1024 * 1024
"""Largest dictionary a decompressor may ask for: what 7-Zip's strongest setting uses on a 64-bit
machine. xz's strongest is 64 MiB, zstd's without --ultra --long 8 MiB; files can ask for 4 GiB."""

MAX_TAR_RECORD_BYTES: Final = 64 * 1024
"""Longest extended header of a tar entry that is read (names, times, extended attributes, whose
values Linux holds to 64 KiB)."""

MAX_MANIFEST_BYTES: Final = 1024 * 1024
"""How far an OpenDocument's list of its own entries is searched for a password's marks: about 300
bytes an entry, 500 where each is encrypted, and the mark stands in the first of them."""

MAX_PDF_CONTENT_BYTES: Final = 16 * 1024 * 1024
"""Longest drawing instructions of one page that are searched for inline pictures: they become
Python objects, about ten times as large. Pages of maps reach some MiB."""

MAX_PDF_WARNINGS: Final = 10_000
"""Most complaints about one PDF before it is given up: qpdf keeps their texts."""

MAX_LZW_RATIO: Final = 2_560
"""What LZW can expand at most: one 12-bit code stands for up to 3,840 bytes."""

# --- views ----------------------------------------------------------------------------------

VIEWS_SHORTER_SIDE_PIXELS: Final = 512
"""A picture is made smaller by a whole factor before borders are looked for, while its shorter
side keeps this many pixels: eight to a cell of PDQ's plane, and a cut is still found to 0.2 %."""

REFINE_RADIUS_BITS: Final = 47
"""Radius at which the profile "refine" looks for candidates: the last one that is cheap to search
(docs/index.md: 16 chunks, two flips each)."""

REFINE_MAX_CANDIDATES: Final = 64
"""Most candidates of an item and a set that a crop box is fitted to, nearest first. One takes about
half a millisecond; photographs have none, or one. A flat picture could have thousands, and would
cost minutes."""

# --- video and animations -------------------------------------------------------------------

MAX_VIDEO_PIXELS: Final = 8192 * 4320
"""Largest width * height of a video frame: H.264 and HEVC level 6.2 allow 35,651,584 luma samples
(ITU-T H.265 table A.8), an 8K picture. Checked on the header, and again by the decoder."""

VIDEO_FRAMES_HELD: Final = 4
"""What a decoder holds of a video, in pictures of its size at 17 bytes a pixel: 16 reference frames
of 1.5 to 3 bytes (ITU-T H.264 table A-1, MaxDpbFrames)."""

SHUFFLE_SECONDS: Final = 0.5
"""How far back frames' times may go without being a jump: some are a little out of order."""

JUMP_SECONDS: Final = 3_600
"""How long a frame may be shown before the time counts as a jump: a slide may stay for a lesson."""

CLEARER_QUALITY: Final = 5
"""A frame whose PDQ quality is higher by this (or reaches `PDQ_MIN_QUALITY`) is another one,
however near its code: a picture that fades in is not to be judged by its palest frame."""

MAX_CODES: Final = 4_000_000
"""Most codes of one item, of all its frames and views: 172 MB. Four hours of film that moves
without a pause come to 3.6 million under `thorough`."""

MAX_PLANES: Final = 4_000
"""Most planes of one item that near matches can be fitted from, 16 KiB each: the first half hour of
a film that moves without a pause."""

MAX_VIDEO_SECONDS: Final = 4 * 3600
"""Longest video looked at. Longer ones are seen so far, and fail with `too_long`."""

MAX_VIDEO_FRAMES: Final = 1_000_000
"""Most frames (and packets) of a video: four hours at 60 a second are 864,000."""

MAX_VIDEO_TRACKS: Final = 8
"""Most video tracks of a file; cameras with several lenses write two to six."""

MAX_STREAMS: Final = 100
"""Most streams of any kind: a film with dubs and subtitles in every EU language has about 60."""

MAX_ANIMATION_FRAMES: Final = 10_000
"""Most frames of an animated picture: five minutes at 30 a second."""

MAX_ANIMATION_PIXELS: Final = 4_000_000_000
"""Most pixels of all its frames together, each frame at the animation's full size: Pillow lays
about 100 million a second, so this bounds it to 40 s."""

STEADY_SECONDS: Final = 0.5
"""All views of a moving scene are looked at this often, so that a picture shown for
`STEADY_SECONDS` and a frame more is seen in every view even if nothing else picks it."""

STILL_SECONDS: Final = 8
"""What stands still is looked at in all views at least this often: a border that comes or goes need
not show in the plain code."""

NEAR_EQUAL_BITS: Final = 6
"""Frames this near the last one kept are the same picture: two decoders of one and the same frame
of the reference's sample clips are up to 6 bits apart (docs/video.md)."""

CUT_BITS: Final = 64
"""A frame further than this from the one before is another scene. Unrelated photographs start near
86 bits, and a hand-held camera moves 25 to 53 bits a frame (docs/video.md)."""

LEAST_CHANGE: Final = 1.0
"""Mean difference, of 255, that two frames of low quality must have to be told apart: the code of
a nearly flat frame is the coder's noise."""

CUTS_AT_ONCE: Final = 100
CUTS_PER_SECOND: Final = 4
"""All views are looked at after that many cuts in a row, and after that many a second in the long
run; further ones count as motion. Edited video has less than one a second."""

MOVING_AT_ONCE: Final = 3_000
MOVING_PER_SECOND: Final = 15
"""So many frames of moving scenes are kept at once, and each second in the long run: every frame of
a clip of some minutes, every second one of a long film that never rests. At 350 bytes a frame an
hour is 20 MB; of frames between two kept ones, 88 % are within 31 bits (docs/video.md)."""

FRAME_LASTS_SECONDS: Final = 1 / 240
"""A frame counts for at least this long where allowances are reckoned, whatever its time says:
phones film slow motion at 240 a second."""

VPDQ_MIN_SHARE_PERCENT: Final = 80
"""Default share of an indicator's frames that must be found: the reference's own example asks for
80 % of the reference video and 0 % of the query (ThreatExchange vpdq/README.md)."""

MIN_VPDQ_FRAMES: Final = 5
"""Fewest frames of one video indicator. With fewer one or two frames would make the share, and any
upload that shows such a picture would be that video: what never moves belongs into a pdq set."""

MAX_VPDQ_FRAMES: Final = 100_000
"""Most frames of one video indicator: an hour at 30 a second that never stands still."""

SPAN_GAP_SECONDS: Final = 1.0
"""Showings closer together are told as one: among the frames of a moving scene some are always
further away than the radius."""
