"""What a network is: frozen values, with no I/O and no clock."""
