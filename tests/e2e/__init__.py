"""Two people in a browser. A package, so that its browser ends before the tests of the next folder begin."""
