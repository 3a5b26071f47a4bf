"""What an item is and what it resembles: pure functions, no Beam, no gRPC, no clock, no network."""
