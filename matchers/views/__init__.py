"""Query views: one upload -> the codes under which its original may be listed."""

from matchers.views.codes import ViewCodes, view_codes, view_codes_of_grey
from matchers.views.near import METHOD, NearMatches, Refined, near_matches, refine
from matchers.views.profiles import Profile, check_profile, view_name

__all__ = [
    "METHOD",
    "NearMatches",
    "Profile",
    "Refined",
    "ViewCodes",
    "check_profile",
    "near_matches",
    "refine",
    "view_codes",
    "view_codes_of_grey",
    "view_name",
]
