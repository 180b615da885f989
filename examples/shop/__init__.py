"""The demo: the back office of an online shop, on a real RabbitMQ and real orders."""
