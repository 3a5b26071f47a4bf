<<<<<<< HEAD
"""The views of a picture that are looked up, so that an edit does not hide it."""

from matchers.views.profiles import PROFILES, Profile, ViewCodes, in_profile, view_codes, view_name

__all__ = ["PROFILES", "Profile", "ViewCodes", "in_profile", "view_codes", "view_name"]
=======
"""Query views: one upload -> the codes under which its original may be listed."""

from matchers.views.codes import ViewCodes, view_codes, view_codes_of_grey
from matchers.views.profiles import Profile, check_profile, view_name
from matchers.views.near import METHOD, NearMatches, Refined, near_matches, refine

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
>>>>>>> f596e915c30d11262fd07132e885ba84fb955b19
