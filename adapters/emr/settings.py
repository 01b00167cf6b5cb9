"""Say what a site may set about its patient record; every number that a site would argue about is here."""

from __future__ import annotations

import msgspec

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the patient-record adapter; the defaults suit a site that sends everything itself."""

    fhir_servers: tuple[str, ...] = ()
    """Base URLs that may be read. A ``fhirServer`` that is not listed is never contacted (no SSRF)."""

    connect_seconds: float = 0.5
    read_seconds: float = 2.0
    fetch_seconds: float = 3.0
    """The whole time for all missing prefetch keys of one request, pages included."""

    max_pages: int = 5
    """Pages of one search that are followed through ``link[next]``."""

    max_bytes: int = 8_000_000
    """Largest single answer that is read from the record."""

    max_request_bytes: int = 4_000_000
    """Largest request body that is accepted."""

    weight_days_child: int = 30
    weight_days_adult: int = 180
    """A weight older than this is no longer the patient's weight (dose arithmetic, weight doses)."""

    height_days_adult: int = 3650
    height_days_child: int = 90
    renal_days: int = 365
    """A creatinine or eGFR older than this says nothing about today."""

    pregnancy_days: int = 294
    """A pregnancy observation older than 42 weeks is history."""

    empty_allergies_mean_none: bool = False
    """FHIR: no AllergyIntolerance is *not recorded*, not *none*. A site whose record makes the question
    mandatory before ordering may set this."""

    unitless_dose_counts_units: bool = False
    """Read ``doseQuantity`` without a unit as tablets, capsules … (Synthea writes so)."""

    code_systems: tuple[tuple[str, str], ...] = ()
    """Further drug code systems of the site: (uri, rxnorm | atc | nhsa)."""
