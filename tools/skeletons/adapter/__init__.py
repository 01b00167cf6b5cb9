"""__SYSTEM__: translates what that system says into facts; it never decides."""
