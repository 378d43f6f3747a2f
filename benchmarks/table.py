"""Tables of measurements: runs of the peers as medians with quartiles, and ratios to a reference."""
import statistics


def spread(values):
    """Median and quartiles as text."""
    if len(values) < 2:
        return f"{values[0]:.4g}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4g} ({low:.4g}-{high:.4g})"


def print_table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for index, row in enumerate([header, *rows]):
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")
        if index == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
