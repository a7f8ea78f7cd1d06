"""Which call is which: sessions by call, and the stream tokens that lead to them."""
