"""SM2, SM3 and SM4 behind one provider interface, and the keys that they use.

``provider`` is the interface, ``soft`` its implementation in software; ``keys`` says what a key store is,
``file_keys`` keeps one in a file under a passphrase, ``envelope`` seals what the database holds.
"""
