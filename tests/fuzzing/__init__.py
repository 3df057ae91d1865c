"""Fuzzing of every parser that reads what another wrote, guided by what the code does with each input (atheris).

    python -m tests.fuzzing                        each parser for two minutes (make fuzz)
    python -m tests.fuzzing manifest --seconds 600
    pytest tests/fuzzing                           what was found interesting before, once more, for every change

The corpus of each parser is kept in corpus/NAME.zip: a run starts from it and puts back what reaches new code.
"""
