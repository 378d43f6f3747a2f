// Nothing but the precompiled header that this target is for.
