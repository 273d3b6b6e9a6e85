"""The real service as processes: `harmonicdet up`, the real trainer, HTTP."""
