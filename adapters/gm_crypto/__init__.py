"""SM2, SM3 and SM4 behind one interface."""
