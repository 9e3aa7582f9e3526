"""Amounts of money in the provider's replies: dollars, exact, never a float."""

from decimal import Decimal

from rushes.wavespeed.answers import Call, error_for
from rushes.wavespeed.replies import Reply


def read_money(reply: Reply, keys: tuple[str, ...]) -> Decimal:
    """Return the first of these amounts that is present and not zero; zero if no other is present."""
    data = reply.data if reply.is_success and isinstance(reply.data, dict) else {}
    amounts = [amount for key in keys if (amount := _read_amount(data.get(key))) is not None]
    if not amounts:
        raise error_for(Call.ASK, reply)
    return next((amount for amount in amounts if amount), amounts[0])


def _read_amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() else None
