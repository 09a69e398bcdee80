"""Takes a change, or the blamed part of it, back: by a plan made and rehearsed beforehand."""
