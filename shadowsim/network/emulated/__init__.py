"""A scenario on real packets: Mininet, Open vSwitch and Ryu, in processes of their own."""
