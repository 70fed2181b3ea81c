"""The checks of the data doctor, one module a subject; `maskrcnn.data.doctor` runs them in order."""
