"""python -m charrnn is the program charrnn."""

from charrnn.cli.main import main

main()
