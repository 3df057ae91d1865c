"""What docker/lab is made of. Python >= 3.11, standard library only.

models.py      which boards there are: data
shell.py       running a program, and the one error that ends a command
host.py        what the machine must offer: docker's daemon, the emulator, a Debian mirror
images.py      a Debian base per suite and architecture, the device image upon it
state.py       the lab's folder: keys, known_hosts, ssh_config, lab.json
containers.py  one running board: create, start, wait, remove
cli.py         the command line
"""
