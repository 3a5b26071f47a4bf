"""The views of a picture that are looked up, so that an edit does not hide it."""

from matchers.views.codes import ViewCodes, view_codes, view_codes_of_grey
from matchers.views.near import METHOD, NearMatches, Refined, near_matches, refine
from matchers.views.profiles import PROFILES, Profile, check_profile, in_profile, view_name

__all__ = [
    "METHOD",
    "PROFILES",
    "NearMatches",
    "Profile",
    "Refined",
    "ViewCodes",
    "check_profile",
    "in_profile",
    "near_matches",
    "refine",
    "view_codes",
    "view_codes_of_grey",
    "view_name",
]
