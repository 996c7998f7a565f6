"""The backends: each turns laid-out tile IR into code for one kind of machine."""
