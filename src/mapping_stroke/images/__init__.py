"""Reading and writing images: NIfTI, MGH, MetaImage, NRRD, DICOM."""
