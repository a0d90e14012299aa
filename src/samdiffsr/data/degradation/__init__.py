"""The blind degradation of Real-ESRGAN (Wang et al., 2021, arXiv 2107.10833), in exact arithmetic.

Blur, resize, noise and JPEG, twice, with a sinc filter at the end. Written from the paper's section 3 and the
parameters of its section 4.1. `draw` makes the random choices for one image, `steps` carries them out.

The same pixels, name, scale and recipe give the same bytes on every machine. All arithmetic on pixels is of
integers, or of float64 that hold integers below 2^53. Kernels and tables come from `decimal`, which rounds
correctly. Random bits are those of Philox, whose stream numpy keeps. JPEG is its lossy half alone (`jpeg`),
so no codec's version matters. An image is rounded to 8 bits after every step.
"""
