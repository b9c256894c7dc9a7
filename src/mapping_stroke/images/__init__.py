"""Reading and writing images: NIfTI, MGH, MetaImage, NRRD and DICOM.

The only package that reads image files. Imports `files`, `lesions`, `console`, `environment` and `errors`.
"""
