"""rabbitjobs: reliable background jobs on RabbitMQ."""
