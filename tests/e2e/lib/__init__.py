"""What the end-to-end and the specification tests share: certificates, brokers, and a client that can misbehave."""
