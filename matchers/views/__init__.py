"""The views of a picture that are looked up, so that an edit does not hide it."""

from matchers.views.profiles import PROFILES, Profile, ViewCodes, in_profile, view_codes, view_name

__all__ = ["PROFILES", "Profile", "ViewCodes", "in_profile", "view_codes", "view_name"]
