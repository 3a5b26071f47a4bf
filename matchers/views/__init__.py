"""Query views: one upload -> the codes under which its original may be listed."""

from matchers.views.codes import ViewCodes, view_codes, view_codes_of_grey
from matchers.views.profiles import Profile, check_profile, view_name

__all__ = [
    "Profile",
    "ViewCodes",
    "check_profile",
    "view_codes",
    "view_codes_of_grey",
    "view_name",
]
