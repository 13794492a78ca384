"""What each adapter does beyond what the conformance kit asks of all."""
