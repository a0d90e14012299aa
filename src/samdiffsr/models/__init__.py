"""The networks: RRDB encoder and SRDiff's denoising U-Net."""
