"""Cables and streams of one network to moved packets: a process without privileges.

`client` starts it and tells it which files are which; everything that changes often is told and
counted on the board. Words of `Board.control`: 0 stop (told); 1 frames injected; 2 frames that
arrived but that the far end did not take; 3 frames dropped because too many were under way (also
among the dropped ones of their link); 4 datagrams and connections received that brought what no
stream had sent; 5 connections made anew.
"""
