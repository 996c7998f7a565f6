"""A package, so that helpers beside the tests can be imported, also by the engine core that a test starts."""
