"""Pictures and figures: pure functions that return uint8 arrays or matplotlib figures. Knows no model and no store."""
