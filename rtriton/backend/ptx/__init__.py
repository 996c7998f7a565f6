"""The PTX backend: an instruction table, modules of typed instructions, their text, an assembler and an emulator."""
