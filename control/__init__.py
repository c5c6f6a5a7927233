"""The control side: order requests and their templates, the checks before an order, and halts."""
