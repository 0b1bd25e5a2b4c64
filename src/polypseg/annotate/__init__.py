"""Frames on their way to a data set: without what tells the patient, labelled, corrected.

surround.py          the picture's shape in a frame, and what lies around it
burnt_in.py          lines of text that were drawn into a frame
anonymise.py         images and masks without names, metadata and surround
anonymise_video.py   the same for a video
records.py           the report and the key
metadata.py          which metadata an image file carries
blanking.py          one frame, blanked
project.py           a project that is open: frames, states, saves
beginning.py         a project begins
anonymised_project.py
                     a project of anonymous copies
frames.py            its frames, as addresses and files name them
mask_file.py         masks as a page sends them and as they are kept
proposals.py         what models propose
usefulness.py        which frames to label first
queue.py             a project's frames in that order
reference.py         a stored share of what a model knew
training.py          a model trained again
child.py             a command that ends with its parent
gate.py              whether it may take the served one's place
bundle.py            all labelled frames as a ZIP
dicom_frames.py      frames of DICOM files
dicom_study.py       a folder of DICOM files as a data set
dicom_segmentation.py
                     masks as DICOM SEG
dicom_tags.py        a DICOM file of which only the picture remains
"""
