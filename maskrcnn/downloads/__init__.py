"""Files from the network: progress, resume, checksum, one cache folder. The only room that opens a connection.

Files appear in the cache complete and checked or not at all; what was cut off lies beside them as `NAME.part`.
"""

from maskrcnn.downloads.archives import extract_member
from maskrcnn.downloads.cache import Checks, cache_folder, digest, one_at_a_time, writing_to
from maskrcnn.downloads.coco import CATEGORIES, CocoServer, annotation_name, safe_names
from maskrcnn.downloads.files import Wanted, fetch, fetch_all
from maskrcnn.downloads.keras_files import KERAS_APPLICATIONS, keras_application_weights

__all__ = [
    "CATEGORIES",
    "KERAS_APPLICATIONS",
    "Checks",
    "CocoServer",
    "Wanted",
    "annotation_name",
    "cache_folder",
    "digest",
    "extract_member",
    "fetch",
    "fetch_all",
    "keras_application_weights",
    "one_at_a_time",
    "safe_names",
    "writing_to",
]
