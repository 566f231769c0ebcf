#error this test does not build
