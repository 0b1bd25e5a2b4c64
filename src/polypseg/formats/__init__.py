"""Annotation formats of other programs: each is read to typed regions of a frame, and written from them.

annotations.py   a region, a frame, and what an error says of them
outlines.py      polygons, run lengths and masks, each from the other
finding.py       which format lies in a folder
images.py        which image file an annotation means
xml.py           the safe reader of XML
coco.py, label_studio.py, cvat.py, labelme.py, via.py, yolo.py, label_maps.py
                 the readers (label_maps: Pascal VOC, nnU-Net)
writing.py       a new data set in one of the formats
"""
