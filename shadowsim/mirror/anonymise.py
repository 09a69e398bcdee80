"""IPv4 addresses to others that share prefixes exactly as the originals do.

The scheme is that of Crypto-PAn; its random function is keyed BLAKE2s of the standard library
instead of AES. The scheme needs a pseudorandom function and nothing else of the cipher, and the
packages on PyPI that bring the original (yacryptopan, pycryptopan) bring a compiled cipher with
them and are hardly kept up. The price is that pseudonyms are not those of the reference program,
and need not be: the key is drawn anew for every run and kept nowhere.
"""

from __future__ import annotations

import hashlib


def anonymise(address: int, key: bytes) -> int:
    """The Crypto-PAn construction (Xu et al., ICNP 2002) with keyed BLAKE2s as its random function.

    Two addresses that agree in their first n bits, and differ in the next, do so afterwards too.
    """
    flips = 0
    for length in range(32):
        prefix = address >> (32 - length) if length else 0
        digest = hashlib.blake2s(prefix.to_bytes(4, "big") + bytes([length]), key=key).digest()
        flips = flips << 1 | digest[0] & 1
    return address ^ flips
