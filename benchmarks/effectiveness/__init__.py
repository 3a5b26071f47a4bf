"""What is found, what is missed and what is confused: `make effectiveness`.

gather.py           pictures that nothing was tuned on, out of Debian packages
pictures.py         folders of pictures, each file once
edits.py            what people do to a picture: pure, seeded
uploads.py          a picture and all its edits
ours.py  peers.py   how near an upload comes to its own original, by profile and by other hashers
natural.py          a long list: crops of the same pictures
false_matches.py    how near pictures come to those that they are not
kept.py             picture by picture, over all cores, in a cache
measure.py          all of that as counts, unit by unit
bounds.py           intervals, the bound behind a zero, tail models
shares.py  tables.py  error_tables.py  peer_tables.py  plots.py  page.py    the page
"""
