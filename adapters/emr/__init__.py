"""Translate the hospital's patient record (FHIR R4) into facts, and read it where the caller left gaps."""
