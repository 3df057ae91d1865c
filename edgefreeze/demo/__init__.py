"""The main job on this machine: train on real digits, deploy through the target x86, read the tables."""
