"""Frames on their way to a data set: without what tells the patient, labelled, corrected.

surround.py          the picture's shape in a frame, and what lies around it
burnt_in.py          lines of text that were drawn into a frame
anonymise.py         images and masks without names, metadata and surround
anonymise_video.py   the same for a video
records.py           the report and the key
"""
