"""Native space: a raw T1w scan brought to MNI152 space, and results brought back.

`placed` and `seen` are what others need: `place_scan` finds where a scan lies, `see_scan` what of it a model is shown.
`search` does it: rough places from several starts (`dataset.template_fit`) that `affine` refines; `bias` and `brain`
say what is seen there, `quality` whether it will do. `shown` keeps faces out of pictures.
"""
