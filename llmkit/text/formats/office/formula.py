"""Office formulas in one line: ``a^2+b^2=c^2``, ``∑_(k=0)^n``."""

from __future__ import annotations

from typing import Any


def formula(node: Any, depth: int = 0) -> str:
    """The formula below an OMML element in linear form."""
    if not isinstance(node.tag, str) or depth > 100:
        return ""
    name = node.tag.rpartition("}")[2]
    if name == "t":
        return node.text or ""
    parts = {child.tag.rpartition("}")[2]: child for child in node if isinstance(child.tag, str)}

    def part(key: str) -> str:
        return formula(parts[key], depth + 1) if key in parts else ""

    base = part("e")
    if name == "f":
        return f"{_grouped(part('num'))}/{_grouped(part('den'))}"
    if name in ("sSup", "sSub", "sSubSup", "nary"):
        low, high = part("sub"), part("sup")
        bounds = (f"_{_grouped(low)}" if low else "") + (f"^{_grouped(high)}" if high else "")
        if name == "nary":
            return f"{_property(parts.get('naryPr'), 'chr', '∫')}{bounds} {base}"
        return f"{_grouped(base)}{bounds}"
    if name == "rad":
        return f"{_grouped(part('deg')) if part('deg') else ''}√{_grouped(base)}"
    if name == "d":
        inner = ", ".join(formula(child, depth + 1) for child in node if child.tag.endswith("}e"))
        return f"{_property(parts.get('dPr'), 'begChr', '(')}{inner}{_property(parts.get('dPr'), 'endChr', ')')}"
    if name in ("limLow", "limUpp"):
        return f"{base}_{_grouped(part('lim'))}"
    return "".join(formula(child, depth + 1) for child in node)


def _grouped(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 1 or text.isalnum() or (text[0], text[-1]) == ("(", ")") else f"({text})"


def _property(properties: Any, key: str, default: str) -> str:
    if properties is None:
        return default
    found = next((child for child in properties if child.tag.endswith(f"}}{key}")), None)
    if found is None:
        return default
    return next((value for name, value in found.attrib.items() if name.endswith("val")), default)
