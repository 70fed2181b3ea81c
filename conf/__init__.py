"""Configuration files; a package so that the wheel ships them and Hydra finds them as `pkg://maskrcnn.conf`."""
