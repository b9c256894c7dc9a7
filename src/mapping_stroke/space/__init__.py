"""Native space: a raw T1w scan brought to MNI152 space, and results brought back.

`placed` and `seen` are what others need: `place_scan` finds a scan's brain and place, `see_scan` what of it a model is
shown. `brain` finds the brain, by `extraction` with the network of `brain_network`; `search` registers it: rough places
from few starts (`dataset.template_fit`) that `affine` refines. `quality` and `missing` say whether the result will do,
`bias` what the scanner added. `shown` keeps faces out of pictures.
"""
