"""The controller process: files that run beside Ryu or os-ken, without the rest of shadowsim."""
