"""Bad input at scale: properties that hold for whatever hypothesis comes up with."""
