"""Words in, pictures out: the bundle ``StableDiffusion``, its ``Settings`` and its ``Run``."""
