"""Patches of ministack 1.5.33, one fault each, over its private functions: apply() replaces them."""
