"""How far a download is: bytes, rate, time left. What was on the disk before tells nothing of the network."""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.quantity import format_duration, format_size

__all__ = ["ROOMY", "Transferred"]

ROOMY = 80  # Columns, which hold name, bar and counts; with fewer there is no bar, below 60 no rate.
_NARROW = 60


@dataclass(frozen=True, slots=True)
class Transferred:
    """Bytes of one body or of several.

    Of those `received`, in order or ahead of it, `resumed` were on the disk before.
    `total` is None where no size was announced; it is a lower bound where `is_open`.
    """

    received: int = 0
    resumed: int = 0
    total: int | None = None
    is_open: bool = False

    @property
    def there(self) -> int:
        """The bytes that are on this machine."""
        return max(self.received, self.resumed)

    def rate(self, seconds: float) -> float:
        """Bytes a second over the network."""
        return max(self.received - self.resumed, 0) / max(seconds, 0.001)

    def counts(self, seconds: float, unpacked: int = 0, *, columns: int = ROOMY) -> str:
        """Bytes, rate, time left where it can be told, and the bytes unpacked unless they are 0."""
        rate, more = self.rate(seconds), "+" * self.is_open
        parts = [format_size(self.there)]
        if columns >= _NARROW or not self.total:
            parts.append(f"{format_size(int(rate))}/s")
        if self.total:
            parts[0] += f" of {format_size(self.total)}{more}"
            if rate >= 1:
                left = max(self.total - self.there, 0) / rate
                parts.append(f"{format_duration(left)}{more} left")
        if unpacked:
            parts.append(f"unpacked {format_size(unpacked)}")
        return "  ".join(parts)
