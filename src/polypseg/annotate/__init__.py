"""Frames on their way to a data set: without what tells the patient, labelled, corrected.

surround.py          the picture's shape in a frame, and what lies around it
burnt_in.py          lines of text that were drawn into a frame
anonymise.py         images and masks without names, metadata and surround
anonymise_video.py   the same for a video
records.py           the report and the key
metadata.py          which metadata an image file carries
blanking.py          one frame, blanked
dicom_frames.py      frames of DICOM files
dicom_study.py       a folder of DICOM files as a data set
dicom_segmentation.py
                     masks as DICOM SEG
dicom_tags.py        a DICOM file of which only the picture remains
"""
